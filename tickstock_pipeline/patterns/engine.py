"""Detections of all patterns in a series, or in many."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np

from tickstock_pipeline.indicators.inputs import Inputs
from tickstock_pipeline.indicators.parameters import Parameters, normalised
from tickstock_pipeline.market.bar import Bars, IntArray
from tickstock_pipeline.patterns.candlestick import CANDLESTICKS, CandlestickDetector
from tickstock_pipeline.patterns.definition import PatternDefinition
from tickstock_pipeline.patterns.detections import Detections
from tickstock_pipeline.patterns.function import Detector
from tickstock_pipeline.patterns.grading import graded, part_of
from tickstock_pipeline.patterns.measures import Measures
from tickstock_pipeline.patterns.registry import FUNCTIONS


class Recognised(NamedTuple):
    """A series, and what the recognisers of the candlesticks marked in it.

    Attributes
    ----------
    inputs : the series' columns
    first : position of the first bar whose detections are asked for
    marks : for each candlestick, (n_bars,) int32
    """

    inputs: Inputs
    first: int
    marks: Sequence[IntArray]


class _Other(NamedTuple):
    """A pattern that is no candlestick."""

    definition: PatternDefinition
    detect: Detector
    parameters: Parameters

    def found(self, measures: Measures) -> Detections:
        """Its detections in one series."""
        definition, found = self.definition, self.detect(measures, self.parameters)
        if len(found):
            is_clear = found.confidence >= definition.confidence_threshold
            found = found[is_clear & (found.index >= definition.min_bars_required - 1)]
        return found if found.pattern == definition.name else replace(found, pattern=definition.name)


class PatternProgram:
    """Definitions with everything looked up that does not depend on the bars; runs on any number of series.

    1. :meth:`recognised` series by series, best right after its indicators, while its columns are in the cache.
    2. :meth:`found` for some ten series at once: the marks of all of them are graded together.

    Parameters
    ----------
    definitions : validated ones
    """

    def __init__(self, definitions: Sequence[PatternDefinition]) -> None:
        self.definitions = tuple(definitions)
        self._candlesticks: dict[int, CandlestickDetector] = {}
        self._others: dict[int, _Other] = {}
        for position, definition in enumerate(definitions):
            if definition.function in CANDLESTICKS:
                self._candlesticks[position] = candlestick_detector(definition)
            else:
                function = FUNCTIONS[definition.function]
                parameters = normalised(definition.parameters, function.parameters)
                self._others[position] = _Other(definition, function.detect, parameters)

    def recognised(self, inputs: Inputs, first: int = 0) -> Recognised:
        """What the recognisers of the candlesticks mark in one series from bar ``first`` on."""
        return Recognised(
            inputs, first, [detector.recognised(inputs, first) for detector in self._candlesticks.values()]
        )

    def found(self, recognised: Sequence[Recognised]) -> list[tuple[Detections, ...]]:
        """For each series one :class:`Detections` per definition, in their order, maybe empty."""
        found = dict(zip(self._candlesticks, self._candlesticks_in(recognised), strict=True))
        results = []
        for place, one in enumerate(recognised):
            measures = Measures(one.inputs, one.first)
            results.append(
                tuple(
                    found[i][place] if i in found else self._others[i].found(measures)
                    for i in range(len(self.definitions))
                )
            )
        return results

    def _candlesticks_in(self, recognised: Sequence[Recognised]) -> list[list[Detections]]:
        """For each candlestick its detections in each series."""
        if not self._candlesticks or not recognised:
            return [[] for _ in self._candlesticks]
        marked = [
            detector.marked([one.marks[place] for one in recognised])
            for place, detector in enumerate(self._candlesticks.values())
        ]
        series = [one.inputs for one in recognised]
        if len(series) == 1:
            return [[detections] for detections in graded(Measures(series[0]), marked)]
        offsets = [0, *accumulate(map(len, series))]
        found = []
        for detections in graded(Measures(Inputs.joined(series)), marked):
            borders = np.searchsorted(detections.index, offsets)
            index = detections.index - np.repeat(offsets[:-1], np.diff(borders))
            found.append(
                [
                    part_of(detections, index, start, end, detections.pattern)
                    for start, end in pairwise(borders.tolist())
                ]
            )
        return found


def candlestick_detector(definition: PatternDefinition) -> CandlestickDetector:
    """What finds the candlestick of ``definition``."""
    return CandlestickDetector(
        CANDLESTICKS[definition.function],
        normalised(definition.parameters, FUNCTIONS[definition.function].parameters),
        definition.name,
        definition.min_bars_required,
        definition.confidence_threshold,
    )


def detect(bars: Bars, definitions: Sequence[PatternDefinition]) -> tuple[Detections, ...]:
    """Detections in ``bars``; those at t depend on the bars up to t only.

    Parameters
    ----------
    bars : split-adjusted, oldest first
    definitions : validated ones

    Returns
    -------
    One :class:`Detections` per definition, in their order, maybe empty. Each detection reaches its definition's
    ``confidence_threshold`` and stands at its ``min_bars_required``-th bar or later.

    Raises
    ------
    ValueError
        If a price is not finite.
    """
    program = PatternProgram(definitions)
    return program.found([program.recognised(Inputs(bars))])[0]
