"""From the candles that a recogniser marked to detections: confidence, levels and context, for many marks at once.

A single mark costs as many array operations as a thousand, so the marks of all candlesticks in all series at hand are
graded together:

1. The series stand one after the other in one :class:`Measures`. A mark has all the bars that decide it within its own
   series, so it makes no difference what stands before that.
2. The components *body* and *shadow* are graded form by form, *trend* and *volume* for all marks together.
3. What stays below its threshold is dropped before levels and context are measured.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tickstock_pipeline.indicators.talib_functions import TalibCall
from tickstock_pipeline.market.bar import FloatArray, IntArray
from tickstock_pipeline.patterns.confidence import confidence, grade, ratio
from tickstock_pipeline.patterns.detections import BULLISH, NEUTRAL, Detections, DirectionArray
from tickstock_pipeline.patterns.measures import Measures

CONFIRMING_VOLUME = 1.5
"""Relative volume from which a detection counts as confirmed by volume."""
TARGET_RISKS = 2.0
"""Distance of the target from the entry, in distances of the stop from the entry."""

Form = tuple[FloatArray, FloatArray]
"""The components *body* and *shadow*, (n,) each."""


@dataclass(frozen=True, slots=True)
class Candlestick:
    """One candlestick pattern.

    Attributes
    ----------
    name : the pattern's
    recogniser : TA-Lib's function
    formation_bars : candles in the formation, three at most
    direction : of every detection; None: the sign of TA-Lib's mark
    form : grades the formations whose last bars are given
    """

    name: str
    recogniser: TalibCall
    formation_bars: int
    direction: int | None
    form: Callable[[Measures, IntArray], Form]


@dataclass(frozen=True, slots=True)
class Marks:
    """Where a recogniser marked one candlestick, and what a detection of it must reach.

    Attributes
    ----------
    pattern : the definition's name
    candlestick : whose formation it is
    at : (n,) int64 positions of the last bars, each with :data:`WINDOW_BARS` bars of its own series, itself included
    direction : (n,) int8 of each
    threshold : least confidence of a detection
    """

    pattern: str
    candlestick: Candlestick
    at: IntArray
    direction: DirectionArray
    threshold: float


def graded(measures: Measures, marked: Sequence[Marks]) -> list[Detections]:
    """Detections of all marks; ``index`` is the position in ``measures``.

    Returns
    -------
    One per entry of ``marked``, in their order, maybe empty. A bar without a range has no candle to judge, so it is no
    detection: TA-Lib calls every quiet minute a doji.
    """
    counts = [len(marks.at) for marks in marked]
    at = np.concatenate([marks.at for marks in marked])
    if not len(at):
        return [_empty(marks) for marks in marked]
    body, shadow = _forms(measures, marked, at)
    direction = np.concatenate([marks.direction for marks in marked])
    is_neutral = _repeated([marks.candlestick.direction == NEUTRAL for marks in marked], counts)
    formation_bars = _repeated([marks.candlestick.formation_bars for marks in marked], counts)
    threshold = _repeated([float(marks.threshold) for marks in marked], counts)

    last = at - formation_bars
    trend = measures.trend_before(last, measures.moved_before(last))
    relative_volume = measures.relative_volume_at(at)
    awaited = np.where(is_neutral, np.abs(trend), -direction * trend)
    degree = confidence(body, shadow, grade(awaited, 0.0, 3.0), grade(relative_volume, 0.5, 2.0))
    extent = measures.range.take(at)
    kept = ((degree >= threshold) & (extent > 0.0)).nonzero()[0]

    at, direction, formation_bars, extent = at[kept], direction[kept], formation_bars[kept], extent[kept]
    relative_volume = relative_volume[kept]
    columns = Detections(
        pattern="",
        index=at,
        direction=direction,
        confidence=degree[kept],
        formation_bars=formation_bars,
        volume_confirmed=relative_volume >= CONFIRMING_VOLUME,
        levels=_levels(measures, at, direction, formation_bars),
        context={
            "trend_atr": trend[kept],
            "relative_volume": relative_volume,
            "body_ratio": ratio(measures.body.take(at), extent),
            "upper_shadow_ratio": ratio(measures.upper_shadow_at(at), extent),
            "lower_shadow_ratio": ratio(measures.lower_shadow_at(at), extent),
        },
    )
    ends = np.searchsorted(kept, np.add.accumulate(counts)).tolist()
    return [
        part_of(columns, at, start, end, marks.pattern, has_levels=marks.candlestick.direction != NEUTRAL)
        for marks, start, end in zip(marked, [0, *ends[:-1]], ends, strict=True)
    ]


def part_of(
    detections: Detections, index: IntArray, start: int, end: int, pattern: str, *, has_levels: bool = True
) -> Detections:
    """The detections from ``start`` to before ``end`` (views); ``index`` is the position of each in its own series."""
    chosen = slice(start, end)
    return Detections(
        pattern,
        index[chosen],
        detections.direction[chosen],
        detections.confidence[chosen],
        detections.formation_bars[chosen],
        detections.volume_confirmed[chosen],
        {name: values[chosen] for name, values in detections.levels.items()} if has_levels else {},
        {name: values[chosen] for name, values in detections.context.items()},
    )


def _repeated(values: Sequence[float | int], counts: Sequence[int]) -> np.ndarray:
    return np.repeat(np.array(values), counts)


def _forms(measures: Measures, marked: Sequence[Marks], at: IntArray) -> Form:
    """The components *body* and *shadow* of all marks, form by form; candlesticks that share one go together."""
    body, shadow = np.empty(len(at)), np.empty(len(at))
    positions: dict[Callable[[Measures, IntArray], Form], list[slice]] = {}
    start = 0
    for marks in marked:
        end = start + len(marks.at)
        if end > start:
            positions.setdefault(marks.candlestick.form, []).append(slice(start, end))
        start = end
    for form, parts in positions.items():
        bodies, shadows = form(
            measures, np.concatenate([at[part] for part in parts]) if len(parts) > 1 else at[parts[0]]
        )
        start = 0
        for chosen in parts:
            end = start + chosen.stop - chosen.start
            body[chosen], shadow[chosen] = bodies[start:end], shadows[start:end]
            start = end
    return body, shadow


def _levels(
    measures: Measures, at: IntArray, direction: DirectionArray, formation_bars: IntArray
) -> dict[str, FloatArray]:
    entry = measures.column("close").take(at)
    high, low = measures.column("high"), measures.column("low")
    second, first = at - np.minimum(formation_bars - 1, 1), at - (formation_bars - 1)
    lowest = np.minimum(np.minimum(low.take(at), low.take(second)), low.take(first))
    highest = np.maximum(np.maximum(high.take(at), high.take(second)), high.take(first))
    stop = np.where(direction == BULLISH, lowest, highest)
    target = entry + TARGET_RISKS * (entry - stop)
    has_risk = entry != stop
    return {
        "entry": entry,
        "stop": np.where(has_risk, stop, np.nan),
        "target": np.where(has_risk & (target > 0.0), target, np.nan),
    }


def _empty(marks: Marks) -> Detections:
    floats = np.empty(0)
    names = () if marks.candlestick.direction == NEUTRAL else ("entry", "stop", "target")
    return Detections(
        marks.pattern,
        np.empty(0, np.int64),
        np.empty(0, np.int8),
        floats,
        np.empty(0, np.int64),
        np.empty(0, np.bool_),
        dict.fromkeys(names, floats),
        dict.fromkeys(
            ("trend_atr", "relative_volume", "body_ratio", "upper_shadow_ratio", "lower_shadow_ratio"), floats
        ),
    )
