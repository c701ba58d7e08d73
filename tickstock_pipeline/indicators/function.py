"""What an indicator function is: allowed parameters, outputs, and the library calls that compute them.

A library stands behind :class:`Call`; the registry lists functions. A function of another library, or of our own, is
one more :class:`IndicatorFunction` whose calls implement the protocol.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tickstock_pipeline.indicators.inputs import Inputs
from tickstock_pipeline.indicators.parameters import (
    DefinitionRow,
    Parameter,
    Parameters,
    check_parameters,
    normalised,
    refuse,
)
from tickstock_pipeline.market.bar import FloatArray

Computation = Callable[[Inputs], Sequence[FloatArray]]
"""Columns of a series → the outputs, (n_bars,) float64 each: new arrays, which the caller may change."""


class Call(Protocol):
    """One call of a library, yielding one or more outputs."""

    def bars_needed(self, parameters: Parameters) -> int:
        """How many bars it takes until all outputs have their first value."""
        ...

    def bound(self, parameters: Parameters) -> Computation:
        """The call with its parameters: columns → outputs, (n_bars,) float64 each; NaN = no value.

        Too few bars give NaN, never an error.
        """
        ...


class Indicator(Protocol):
    """An indicator by name, whatever library computes it."""

    @property
    def calls(self) -> tuple[Call, ...]:
        """What computes it."""
        ...

    @property
    def version(self) -> str | None:
        """What else than the parameters changes its values; None: nothing that the engine's version does not cover."""
        ...

    def check(self, row: DefinitionRow) -> None:
        """Refuse a row whose parameters cannot be: :class:`DefinitionError`."""
        ...

    def arguments(self, parameters: Parameters) -> Parameters:
        """A row's parameters, checked before, as the calls and the digest take them."""
        ...

    def bars_needed(self, parameters: Parameters) -> int:
        """How many bars it takes at least until there are values."""
        ...

    def bars_to_first_value(self, parameters: Parameters) -> int:
        """How many bars are certain to have no value, and one more."""
        ...

    def bound(self, parameters: Parameters) -> tuple[Computation, ...]:
        """The calls with their parameters; their outputs, one after the other, are the indicator's."""
        ...

    def output_names(self, definition_name: str, parameters: Parameters) -> tuple[str, ...]:
        """Names of the outputs of one definition."""
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

    @property
    def version(self) -> str | None:
        """The engine's version covers its library."""
        return None

    def check(self, row: DefinitionRow) -> None:
        """Refuse a row whose parameters are not exactly the function's.

        Raises
        ------
        DefinitionError
            Names the row, the parameter and the allowed values.
        """
        check_parameters("Indicator", row, self.parameters)
        problem = self.rule(row.parameters)
        if problem is not None:
            raise refuse("Indicator", row.name, problem)

    def arguments(self, parameters: Parameters) -> Parameters:
        """A row's parameters, checked before, as the calls and the digest take them."""
        return normalised(parameters, self.parameters)

    def bars_needed(self, parameters: Parameters) -> int:
        """How many bars it takes until all outputs have their first value."""
        arguments = self.arguments(parameters)
        return max(call.bars_needed(arguments) for call in self.calls)

    def bars_to_first_value(self, parameters: Parameters) -> int:
        """How many bars it takes until an output has its first value, maybe before the others."""
        arguments = self.arguments(parameters)
        return min(call.bars_needed(arguments) for call in self.calls)

    def bound(self, parameters: Parameters) -> tuple[Computation, ...]:
        """The calls with their parameters; their outputs, one after the other, are :attr:`outputs`."""
        arguments = self.arguments(parameters)
        return tuple(call.bound(arguments) for call in self.calls)

    def output_names(self, definition_name: str, parameters: Parameters) -> tuple[str, ...]:
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
