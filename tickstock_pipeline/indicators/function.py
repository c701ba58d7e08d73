"""What an indicator function is: allowed parameters, outputs, and the library calls that compute them.

A library stands behind :class:`Call`; the registry lists functions. A function of another library, or of our own, is
one more :class:`IndicatorFunction` whose calls implement the protocol.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tickstock_pipeline.indicators.inputs import Inputs
from tickstock_pipeline.indicators.parameters import Parameter, Parameters, normalised
from tickstock_pipeline.market.bar import FloatArray


class Call(Protocol):
    """One call of a library, yielding one or more outputs."""

    def bars_needed(self, parameters: Parameters) -> int:
        """How many bars it takes until all outputs have their first value."""
        ...

    def run(self, inputs: Inputs, parameters: Parameters) -> tuple[FloatArray, ...]:
        """The outputs, (n_bars,) float64 each; NaN = no value. Too few bars give NaN, never an error."""
        ...


def _any_parameters(parameters: Parameters) -> str | None:
    return None


@dataclass(frozen=True, slots=True)
class IndicatorFunction:
    """An indicator by name.

    Attributes
    ----------
    name : what a definition's ``function`` says
    parameters : all of them are required in a definition
    outputs : standard names, in the order in which the calls yield them
    calls : what computes them, batch and live alike
    rule : a condition across parameters that their ranges cannot say: what is wrong, or None
    """

    name: str
    parameters: tuple[Parameter, ...]
    outputs: tuple[str, ...]
    calls: tuple[Call, ...]
    rule: Callable[[Parameters], str | None] = _any_parameters

    def bars_needed(self, parameters: Parameters) -> int:
        """How many bars it takes until all outputs have their first value."""
        arguments = normalised(parameters, self.parameters)
        return max(call.bars_needed(arguments) for call in self.calls)

    def fill(self, inputs: Inputs, parameters: Parameters, out: FloatArray) -> None:
        """Write the outputs into the columns of ``out``, (n_bars, n_outputs) float64."""
        arguments = normalised(parameters, self.parameters)
        column = 0
        for call in self.calls:
            for values in call.run(inputs, arguments):
                out[:, column] = values
                column += 1

    def output_names(self, definition_name: str) -> tuple[str, ...]:
        """Names of the outputs of one definition; those of two definitions of one function do not collide.

        A single output has its definition's name (``sma_20``). Several have their standard names where the definition
        has the function's own name (``macd``: ``macd``, ``macd_signal``, ``macd_hist``), and otherwise these after
        the definition's (``macd_fast``: ``macd_fast_macd``, ``macd_fast_macd_signal``, …).
        """
        if len(self.outputs) == 1:
            return (definition_name,)
        if definition_name == self.name:
            return self.outputs
        return tuple(f"{definition_name}_{output}" for output in self.outputs)
