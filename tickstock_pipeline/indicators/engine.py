"""Indicator values of a series: one matrix, a column per output."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tickstock_pipeline.indicators.definition import IndicatorDefinition
from tickstock_pipeline.indicators.inputs import Inputs
from tickstock_pipeline.indicators.registry import FUNCTIONS
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
    inputs = Inputs(bars)
    outputs = tuple(output for definition in definitions for output in definition.outputs)
    values = np.empty((len(bars), len(outputs)), np.float64)
    column = 0
    for definition in definitions:
        width = len(definition.outputs)
        block = values[:, column : column + width]
        FUNCTIONS[definition.function].fill(inputs, definition.parameters, block)
        block[: definition.min_bars_required - 1] = np.nan
        column += width
    # Squares of prices beyond 1e154 overflow; JSON has no infinity.
    values[np.isinf(values)] = np.nan
    return IndicatorValues(outputs, values)
