"""Detections of all patterns in a series, or in many."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tickstock_pipeline.indicators.inputs import Inputs
from tickstock_pipeline.indicators.parameters import normalised
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.patterns.candlestick import CANDLESTICKS, CandlestickDetector
from tickstock_pipeline.patterns.definition import PatternDefinition
from tickstock_pipeline.patterns.detections import Detections
from tickstock_pipeline.patterns.grading import graded, part_of
from tickstock_pipeline.patterns.measures import Measures
from tickstock_pipeline.patterns.registry import FUNCTIONS


class PatternProgram:
    """Definitions with everything looked up that does not depend on the bars; runs on any number of series.

    Parameters
    ----------
    definitions : validated ones
    """

    def __init__(self, definitions: Sequence[PatternDefinition]) -> None:
        self.definitions = tuple(definitions)
        self._candlesticks: dict[int, CandlestickDetector] = {}
        self._others: dict[int, PatternDefinition] = {}
        for position, definition in enumerate(definitions):
            if definition.function in CANDLESTICKS:
                self._candlesticks[position] = candlestick_detector(definition)
            else:
                self._others[position] = definition

    def run(self, series: Sequence[Inputs]) -> list[tuple[Detections, ...]]:
        """For each series one :class:`Detections` per definition, in their order, maybe empty."""
        if not series:
            return []
        if len(series) == 1:
            measures = Measures(series[0])
            found = dict(zip(self._candlesticks, self._candlesticks_in(measures, series), strict=True))
            return [tuple(found[i] if i in found else self._other(i, measures) for i in range(len(self.definitions)))]
        offsets = [0, *np.add.accumulate([len(inputs) for inputs in series]).tolist()]
        together = self._candlesticks_in(Measures(Inputs.joined(series)), series)
        borders = [np.searchsorted(detections.index, offsets).tolist() for detections in together]
        results = []
        for place, inputs in enumerate(series):
            found = {
                i: part_of(all_, cut[place], cut[place + 1], all_.pattern, origin=offsets[place])
                for i, all_, cut in zip(self._candlesticks, together, borders, strict=True)
            }
            measures = Measures(inputs)
            results.append(
                tuple(found[i] if i in found else self._other(i, measures) for i in range(len(self.definitions)))
            )
        return results

    def _candlesticks_in(self, measures: Measures, series: Sequence[Inputs]) -> list[Detections]:
        """Detections of each candlestick in all of ``series``, at positions in ``measures``: one after the other."""
        if not self._candlesticks:
            return []
        marked = []
        for detector in self._candlesticks.values():
            found = [detector.positions(inputs) for inputs in series]
            if len(found) > 1:
                offset = 0
                for place, inputs in enumerate(series):
                    found[place] = (found[place][0] + offset, found[place][1])
                    offset += len(inputs)
            marked.append(detector.marks(*(np.concatenate(parts) for parts in zip(*found, strict=True))))
        return graded(measures, marked)

    def _other(self, position: int, measures: Measures) -> Detections:
        definition = self._others[position]
        function = FUNCTIONS[definition.function]
        found = function.detect(measures, normalised(definition.parameters, function.parameters))
        kept = (found.confidence >= definition.confidence_threshold) & (found.index >= definition.min_bars_required - 1)
        return replace(found[kept], pattern=definition.name)


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
    return PatternProgram(definitions).run([Inputs(bars)])[0]
