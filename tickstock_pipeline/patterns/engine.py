"""Detections of all patterns in a series."""

from collections.abc import Sequence
from dataclasses import replace

from tickstock_pipeline.indicators.parameters import normalised
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.patterns.definition import PatternDefinition
from tickstock_pipeline.patterns.detections import Detections
from tickstock_pipeline.patterns.measures import Measures
from tickstock_pipeline.patterns.registry import FUNCTIONS


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
    measures = Measures(bars)
    return tuple(_detect_one(measures, definition) for definition in definitions)


def _detect_one(measures: Measures, definition: PatternDefinition) -> Detections:
    function = FUNCTIONS[definition.function]
    found = function.detect(measures, normalised(definition.parameters, function.parameters))
    kept = (found.confidence >= definition.confidence_threshold) & (found.index >= definition.min_bars_required - 1)
    return replace(found[kept], pattern=definition.name)
