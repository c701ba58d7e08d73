"""Indicator values of a series: one matrix, a column per output."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tickstock_pipeline.indicators.definition import IndicatorDefinition
from tickstock_pipeline.indicators.function import Computation
from tickstock_pipeline.indicators.inputs import Inputs
from tickstock_pipeline.indicators.registry import function_of
from tickstock_pipeline.market.bar import Bars, FloatArray


@dataclass(frozen=True, slots=True)
class IndicatorValues:
    """Values of all outputs at all bars.

    Attributes
    ----------
    outputs : n_outputs names
    values : (n_bars, n_outputs) float64, C order; NaN = no value
    """

    outputs: tuple[str, ...]
    values: FloatArray


@dataclass(frozen=True, slots=True)
class _Step:
    """One definition: its computations, its columns of the matrix, and how many values at the start are blanked."""

    computations: tuple[Computation, ...]
    first_column: int
    end_column: int
    blanked: int


class IndicatorProgram:
    """Definitions with everything looked up that does not depend on the bars; runs on any number of series.

    Parameters
    ----------
    definitions : validated ones

    Raises
    ------
    DefinitionError
        If a function is unknown.
    """

    def __init__(self, definitions: Sequence[IndicatorDefinition]) -> None:
        self.outputs = tuple(output for definition in definitions for output in definition.outputs)
        self._steps: list[_Step] = []
        column = 0
        for definition in definitions:
            end = column + len(definition.outputs)
            function = function_of(definition)
            # The library leaves out what it cannot compute; only a row that asks for more bars has more to blank.
            is_late = definition.min_bars_required > function.bars_to_first_value(definition.parameters)
            blanked = definition.min_bars_required - 1 if is_late else 0
            self._steps.append(_Step(function.bound(definition.parameters), column, end, blanked))
            column = end

    def run(self, inputs: Inputs, out: FloatArray | None = None) -> FloatArray:
        """Values of one series.

        Parameters
        ----------
        inputs : the series' columns
        out : (n_bars, n_outputs) float64 to write to; None: a new matrix in C order

        Returns
        -------
        ``out``, NaN where there is no value.
        """
        values = np.empty((len(inputs), len(self.outputs)), np.float64) if out is None else out
        for step in self._steps:
            column = step.first_column
            for computation in step.computations:
                for output in computation(inputs):
                    values[:, column] = output
                    column += 1
            if step.blanked:
                values[: step.blanked, step.first_column : step.end_column] = np.nan
        if inputs.may_overflow:
            # JSON has no infinity
            values[np.isinf(values)] = np.nan
        return values


def compute(bars: Bars, definitions: Sequence[IndicatorDefinition]) -> IndicatorValues:
    """Indicator values of ``bars``; those at t depend on the bars up to t only, and on the first bar given.

    Parameters
    ----------
    bars : split-adjusted, oldest first, beginning with the anchor
    definitions : validated ones

    Returns
    -------
    The outputs in the order of the definitions. A definition has no value before its ``min_bars_required``-th bar.

    Raises
    ------
    ValueError
        If a price is not finite.
    DefinitionError
        If a function is unknown.
    """
    program = IndicatorProgram(definitions)
    return IndicatorValues(program.outputs, program.run(Inputs(bars)))
