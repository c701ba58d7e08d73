"""The analysis of a series: indicator values and pattern detections, the one definition that batch and live share.

Pure: bars in, results out. What the result at t is depends on the bars up to t, the first bar given (the anchor, which
the calendar decides) and a :class:`DefinitionSet`, whose digest names it in the coverage ledger.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from tickstock_pipeline.errors import DefinitionError
from tickstock_pipeline.indicators import registry as indicator_registry
from tickstock_pipeline.indicators.definition import IndicatorDefinition
from tickstock_pipeline.indicators.engine import IndicatorProgram, ValueTable
from tickstock_pipeline.indicators.inputs import Inputs
from tickstock_pipeline.indicators.parameters import normalised
from tickstock_pipeline.market.bar import Bars, FloatArray
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.patterns import registry as pattern_registry
from tickstock_pipeline.patterns.definition import PatternDefinition
from tickstock_pipeline.patterns.detections import Detections
from tickstock_pipeline.patterns.engine import PatternProgram

ENGINE_VERSION = 1
"""Raised whenever the same definitions give other results on the same bars: everything is then analysed again.

That includes a new release of the C library that changes a value.
"""


_KEPT_BYTES = 32_000_000


@dataclass(frozen=True)
class DefinitionSet:
    """The enabled definitions of one timeframe, checked and sorted by name; see :func:`definition_set`."""

    timeframe: Timeframe
    indicators: tuple[IndicatorDefinition, ...]
    patterns: tuple[PatternDefinition, ...]

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """Names of the indicator values, in the order of their columns."""
        return tuple(output for indicator in self.indicators for output in indicator.outputs)

    @cached_property
    def indicator_program(self) -> IndicatorProgram:
        """What computes the indicators."""
        return IndicatorProgram(self.indicators)

    @cached_property
    def pattern_program(self) -> PatternProgram:
        """What finds the patterns."""
        return PatternProgram(self.patterns)

    @cached_property
    def digest(self) -> str:
        """16 hex digits over what changes a result: not the order of the rows, nor what is for display only."""
        indicators: list[list[object]] = []
        for indicator in sorted(self.indicators, key=lambda row: row.name):
            function = indicator_registry.function_of(indicator)
            arguments = function.arguments(indicator.parameters)
            version = [] if function.version is None else [function.version]
            indicators.append([indicator.name, indicator.function, arguments, indicator.min_bars_required, *version])
        patterns = [
            [
                row.name,
                row.function,
                normalised(row.parameters, pattern_registry.FUNCTIONS[row.function].parameters),
                row.min_bars_required,
                float(row.confidence_threshold),
            ]
            for row in sorted(self.patterns, key=lambda row: row.name)
        ]
        text = json.dumps([ENGINE_VERSION, self.timeframe.value, indicators, patterns], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Analysis:
    """Results of one series.

    Attributes
    ----------
    bars : what was analysed
    values : (n_bars, n_outputs) float64, NaN = no value; ``values[first:end]`` are rows in C order
    outputs : names of the columns
    detections : one entry per pattern definition, maybe empty
    """

    bars: Bars
    values: ValueTable | FloatArray
    outputs: tuple[str, ...]
    detections: tuple[Detections, ...]


def definition_set(
    timeframe: Timeframe, indicators: Iterable[IndicatorDefinition], patterns: Iterable[PatternDefinition]
) -> DefinitionSet:
    """The rows that are enabled and apply to ``timeframe``, checked, sorted by name.

    Raises
    ------
    DefinitionError
        If one of these rows cannot run, or two of them share a name or an output. Other rows are not looked at.
    """
    chosen_indicators = sorted(
        (row for row in indicators if row.enabled and timeframe in row.applicable_timeframes), key=lambda row: row.name
    )
    chosen_patterns = sorted(
        (row for row in patterns if row.enabled and timeframe in row.applicable_timeframes), key=lambda row: row.name
    )
    for indicator in chosen_indicators:
        indicator_registry.validate(indicator)
    for pattern in chosen_patterns:
        pattern_registry.validate(pattern)
    _refuse_duplicates("indicator definitions", [row.name for row in chosen_indicators])
    _refuse_duplicates("indicator outputs", [output for row in chosen_indicators for output in row.outputs])
    _refuse_duplicates("pattern definitions", [row.name for row in chosen_patterns])
    return DefinitionSet(timeframe, tuple(chosen_indicators), tuple(chosen_patterns))


def analyse(bars: Bars, definitions: DefinitionSet) -> Analysis:
    """Analyse a series; nothing at t depends on bars after t.

    Parameters
    ----------
    bars : closed, split-adjusted, oldest first, beginning with the anchor
    definitions : of the same timeframe

    Raises
    ------
    ValueError
        If the timeframes differ or a price is not finite.
    """
    return analyse_many([bars], definitions)[0]


def analyse_many(
    series: Sequence[Bars], definitions: DefinitionSet, firsts: Sequence[int] | None = None
) -> list[Analysis]:
    """Analyse many series; each result is what :func:`analyse` gives, for a quarter less time.

    Parameters
    ----------
    series : as for :func:`analyse`; ten years of daily bars of some ten symbols are a good portion
    firsts : position of the first bar of each whose detections are asked for, those before it are left out; None: of
        all bars. What is before it is warm-up, for which looking for patterns would be lost time.

    Raises
    ------
    ValueError
        If a timeframe differs or a price is not finite.
    """
    for bars in series:
        if bars.timeframe != definitions.timeframe:
            raise ValueError(f"{bars.timeframe} bars of {bars.symbol} with the definitions of {definitions.timeframe}")
    _keep_freed_memory()
    tables, recognised = [], []
    for bars, first in zip(series, firsts or [0] * len(series), strict=True):
        inputs = Inputs(bars)
        tables.append(definitions.indicator_program.run(inputs))
        recognised.append(definitions.pattern_program.recognised(inputs, first))
    return [
        Analysis(bars, values, definitions.outputs, detections)
        for bars, values, detections in zip(series, tables, definitions.pattern_program.found(recognised), strict=True)
    ]


@cache
def _keep_freed_memory() -> None:
    """Have the C library keep memory that results are freed from, for the next ones.

    By default glibc gives it back to the system at once, and a new page costs more than the values written to it: a
    third of the time of an analysis. Once it has seen a large block freed, it keeps up to twice as much.
    """
    np.empty(_KEPT_BYTES // 2, np.int8)


def _refuse_duplicates(what: str, names: Sequence[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DefinitionError(
            f"Two {what} of the same name: {', '.join(repeated)}.", advice="Rename or disable all but one of them."
        )
