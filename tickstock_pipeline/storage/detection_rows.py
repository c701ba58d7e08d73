"""Detections as rows of ``daily_patterns`` in COPY's text format.

A series has only a few detections of a pattern, so rows are made pattern by pattern for all symbols together: what
numpy costs a call is then shared by hundreds of rows.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tickstock_pipeline.market.bar import BoolArray, FloatArray, IntArray, TimeArray
from tickstock_pipeline.patterns.detections import DIRECTION_NAMES, Detections, DirectionArray, signal_strength
from tickstock_pipeline.storage.analysed_window import AnalysedWindow

COLUMNS = (
    "symbol",
    "pattern_type",
    "detection_timestamp",
    "timeframe",
    "bar_time",
    "direction",
    "confidence",
    "pattern_data",
    "levels",
    "metadata",
)

_JSON_BOOLEANS = ("false", "true")


@dataclass(frozen=True, slots=True)
class _Found:
    """Detections of one pattern in many series."""

    symbols: list[str]
    instants: TimeArray
    bar_times: TimeArray
    direction: DirectionArray
    confidence: FloatArray
    formation_bars: IntArray
    volume_confirmed: BoolArray
    close: FloatArray
    levels: dict[str, FloatArray]
    context: dict[str, FloatArray]


def detection_rows(items: Sequence[AnalysedWindow]) -> list[str]:
    """A line for each detection in the windows, in the order of symbol, pattern and time."""
    lines: list[str] = []
    # The names are part of the key: two definitions of one name may not have the same levels.
    by_pattern: dict[tuple[str, ...], list[tuple[AnalysedWindow, Detections]]] = defaultdict(list)
    for item in items:
        stored = item.stored
        for found in item.analysis.detections:
            # oldest first, as the bars are
            first, end = np.searchsorted(found.index, (stored.start, stored.stop)).tolist()
            if end > first:
                by_pattern[found.pattern, *found.levels, "", *found.context].append((item, found[first:end]))
    for (pattern, *_), parts in by_pattern.items():
        lines += _lines(pattern, parts[0][0].analysis.bars.timeframe.value, _together(parts))
    lines.sort()
    return lines


def _together(parts: Sequence[tuple[AnalysedWindow, Detections]]) -> _Found:
    divisors = np.concatenate([item.divisors[found.index] for item, found in parts])
    first = parts[0][1]
    return _Found(
        symbols=[symbol for item, found in parts for symbol in [_escaped(item.symbol)] * len(found)],
        instants=np.concatenate([item.instants[found.index] for item, found in parts]),
        bar_times=np.concatenate([item.analysis.bars.time[found.index] for item, found in parts]),
        direction=np.concatenate([found.direction for _, found in parts]),
        confidence=np.concatenate([found.confidence for _, found in parts]),
        formation_bars=np.concatenate([found.formation_bars for _, found in parts]),
        volume_confirmed=np.concatenate([found.volume_confirmed for _, found in parts]),
        close=np.concatenate([item.analysis.bars.close[found.index] for item, found in parts]) * divisors,
        levels={name: np.concatenate([found.levels[name] for _, found in parts]) * divisors for name in first.levels},
        context={name: np.concatenate([found.context[name] for _, found in parts]) for name in first.context},
    )


def _lines(pattern: str, timeframe: str, found: _Found) -> list[str]:
    names = [DIRECTION_NAMES[sign] for sign in found.direction.tolist()]
    forms = [
        f'"formation_bars": {bars}, "volume_confirmed": {_JSON_BOOLEANS[is_confirmed]}'
        for bars, is_confirmed in zip(found.formation_bars.tolist(), found.volume_confirmed.tolist(), strict=True)
    ]
    pattern = _escaped(pattern)
    return [
        f"{symbol}\t{pattern}\t{instant}\t{timeframe}\t{bar_time}\t{direction}\t{confidence!r}"
        f'\t{{"direction": "{direction}", "price": {price}, {form}}}\t{{{levels}}}'
        f'\t{{"signal_strength": "{signal_strength(confidence)}", {form}, "technical_context": {{{context}}}}}\n'
        for symbol, instant, bar_time, direction, confidence, price, form, levels, context in zip(
            found.symbols,
            np.datetime_as_string(found.instants, timezone="UTC").tolist(),
            np.datetime_as_string(found.bar_times, timezone="UTC").tolist(),
            names,
            found.confidence.tolist(),
            _as_traded(found.close),
            forms,
            _members({name: _as_traded(prices) for name, prices in found.levels.items()}, len(names)),
            _members({name: list(map(repr, values.tolist())) for name, values in found.context.items()}, len(names)),
            strict=True,
        )
    ]


def _members(columns: Mapping[str, Sequence[str | None]], n_rows: int) -> list[str]:
    """The inside of a JSON object a row; None leaves a member out."""
    if not columns:
        return [""] * n_rows
    named = [
        [None if value is None else f"{name}: {value}" for value in values]
        for name, values in ((_escaped(json.dumps(name)), values) for name, values in columns.items())
    ]
    return [", ".join(member for member in row if member is not None) for row in zip(*named, strict=True)]


def _as_traded(prices: FloatArray) -> list[str | None]:
    """Prices as JSON, None for NaN; 12 digits: dividing by a split and multiplying leaves noise after the 15th."""
    return [None if price != price else repr(float(f"{price:.12g}")) for price in prices.tolist()]


def _escaped(text: str) -> str:
    """A text as COPY's text format has it."""
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
