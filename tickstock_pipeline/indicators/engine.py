"""Indicator values of a series: one matrix, a column per output."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tickstock_pipeline.indicators.definition import IndicatorDefinition
from tickstock_pipeline.indicators.function import Computation
from tickstock_pipeline.indicators.inputs import Inputs
from tickstock_pipeline.indicators.registry import function_of
from tickstock_pipeline.market.bar import Bars, FloatArray


class ValueTable:
    """Values of all outputs at all bars: computed as columns, read as rows, which are put together when asked for.

    A matrix of them takes as long as half of the computing, and readers want a few of its rows: a year of ten.

    Parameters
    ----------
    columns : one for each output, (n_bars,) float64; NaN = no value
    n_bars : the number of rows
    """

    __slots__ = ("_n_bars", "columns")

    def __init__(self, columns: Sequence[FloatArray], n_bars: int) -> None:
        self.columns = tuple(columns)
        self._n_bars = n_bars

    @property
    def shape(self) -> tuple[int, int]:
        """(n_bars, n_outputs)."""
        return self._n_bars, len(self.columns)

    def __len__(self) -> int:
        return self._n_bars

    def __getitem__(self, bars: slice | int | Sequence[int]) -> FloatArray:
        """A row, (n_outputs,), or the rows of some bars, (n, n_outputs) in C order."""
        if isinstance(bars, int):
            return np.array([column[bars] for column in self.columns], np.float64)
        n_rows = len(range(self._n_bars)[bars]) if isinstance(bars, slice) else len(bars)
        rows = np.empty((n_rows, len(self.columns)), np.float64)
        for place, column in enumerate(self.columns):
            rows[:, place] = column[bars]
        return rows

    def __array__(self, dtype: None = None, copy: bool | None = None) -> FloatArray:
        """All rows."""
        return self[:]


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
    """One definition: its computations, and how many values at the start of theirs are blanked."""

    computations: tuple[Computation, ...]
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
        for definition in definitions:
            function = function_of(definition)
            # The library leaves out what it cannot compute; only a row that asks for more bars has more to blank.
            is_late = definition.min_bars_required > function.bars_to_first_value(definition.parameters)
            blanked = definition.min_bars_required - 1 if is_late else 0
            self._steps.append(_Step(function.bound(definition.parameters), blanked))

    def run(self, inputs: Inputs) -> ValueTable:
        """Values of one series, NaN where there is none."""
        columns: list[FloatArray] = []
        for step in self._steps:
            first = len(columns)
            for computation in step.computations:
                columns += computation(inputs)
            if step.blanked:
                for column in columns[first:]:
                    column[: step.blanked] = np.nan
        if inputs.may_overflow:
            for column in columns:
                # JSON has no infinity
                column[np.isinf(column)] = np.nan
        return ValueTable(columns, len(inputs))


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
    return IndicatorValues(program.outputs, program.run(Inputs(bars))[:])
