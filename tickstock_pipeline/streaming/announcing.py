"""What the outside is told of stored results: messages for the outbox, and their rows of the integration log.

The messages and the log are written in the transaction of what they tell of; who was told of a detection before is not
told again.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.analysis import DefinitionSet
from tickstock_pipeline.batch import retractions
from tickstock_pipeline.market.bar import FloatArray
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.messaging.channels import ANALYSIS_COMPLETE, PATTERNS, SOURCE
from tickstock_pipeline.messaging.pattern_event import (
    LiveDetection,
    RealtimeContext,
    analysis_complete,
    pattern_detected,
)
from tickstock_pipeline.patterns.detections import DIRECTION_NAMES, Detections, signal_strength
from tickstock_pipeline.storage.analysed_window import AnalysedWindow
from tickstock_pipeline.storage.detections import DetectionKey, RetractedDetection
from tickstock_pipeline.storage.event_log import (
    PATTERN_PUBLISHED,
    FlowStep,
    log_flow_steps,
    logged_flows,
)
from tickstock_pipeline.storage.live_rows import BarKey
from tickstock_pipeline.storage.outbox import Message


class FoundKey(NamedTuple):
    """A detection: symbol, pattern, and the instant that stands for its bar in microseconds since 1970."""

    symbol: str
    pattern: str
    instant: int


@dataclass(frozen=True, slots=True)
class Moment:
    """When and by whom something is told.

    Attributes
    ----------
    node : the worker
    received_at : Unix seconds at which the worker got the bars
    end_of : the end of a bar's period, from its time; both in microseconds since 1970
    """

    node: str
    received_at: float
    end_of: Callable[[int], int]


def found_detections(items: Iterable[AnalysedWindow], revisions: Mapping[FoundKey, int]) -> list[LiveDetection]:
    """The detections of ``items`` that are asked for, in the order of the items and their patterns.

    Parameters
    ----------
    revisions : the detections wanted, and which revision each has
    """
    if not revisions:
        return []
    found = []
    for item in items:
        stored = item.stored
        for detections in item.analysis.detections:
            for place, at in enumerate(detections.index.tolist()):
                if stored.start <= at < stored.stop:
                    instant = _microseconds(item.instants[at])
                    revision = revisions.get(FoundKey(item.symbol, detections.pattern, instant))
                    if revision is not None:
                        found.append(_live(item, detections, place, at, instant, revision))
    return found


def keys_of(items: Iterable[AnalysedWindow], bars: Mapping[str, set[int]]) -> list[FoundKey]:
    """The detections at some bars.

    Parameters
    ----------
    bars : by symbol, times of bars in microseconds since 1970
    """
    keys = []
    for item in items:
        wanted = bars.get(item.symbol, set())
        stored = item.stored
        for detections in item.analysis.detections:
            for at in detections.index.tolist():
                if stored.start <= at < stored.stop and _microseconds(item.analysis.bars.time[at]) in wanted:
                    keys.append(FoundKey(item.symbol, detections.pattern, _microseconds(item.instants[at])))
    return keys


def stored_key(key: DetectionKey) -> FoundKey:
    """The key of a detection as the database gave it."""
    return FoundKey(key.symbol, key.pattern, _of(key.detection_timestamp))


def tell_patterns(
    connection: sa.Connection, detections: Sequence[LiveDetection], moment: Moment, *, is_late: bool = False
) -> list[Message]:
    """Log detections as published, and make their messages."""
    now = time.time()
    steps, messages = [], []
    for one in detections:
        context = _context(one.bar_time, moment, now, is_late)
        messages.append(Message(PATTERNS, pattern_detected(one, context)))
        steps.append(
            FlowStep(
                one.flow_id,
                "pattern_detected",
                PATTERN_PUBLISHED,
                PATTERNS,
                one.symbol,
                one.pattern,
                one.confidence,
                {"timeframe": one.timeframe.value, "worker": moment.node, **({"late": True} if is_late else {})},
            )
        )
    log_flow_steps(connection, SOURCE, steps)
    return messages


def tell_retractions(
    connection: sa.Connection,
    timeframe: Timeframe,
    retracted: Sequence[RetractedDetection],
    moment: Moment,
    reason: str,
) -> list[Message]:
    """Messages about detections that no longer hold; those that nobody was told of are left out."""
    now = time.time()
    return retractions.tell_retractions(
        connection, timeframe, retracted, lambda bar_time: _context(bar_time, moment, now, False), reason
    )


def not_yet_told(connection: sa.Connection, detections: Sequence[LiveDetection]) -> list[LiveDetection]:
    """Those of ``detections`` that no message was ever made of."""
    told = logged_flows(connection, [one.flow_id for one in detections], PATTERN_PUBLISHED)
    return [one for one in detections if one.flow_id not in told]


def tell_complete(
    definitions: DefinitionSet, keys: Sequence[BarKey], values: FloatArray, n_patterns: Sequence[int]
) -> list[Message]:
    """A message for each analysed bar.

    Parameters
    ----------
    keys, values : (n_bars,) and (n_bars, n_outputs)
    n_patterns : detections at each bar
    """
    has_value = ~np.isnan(values)
    counts = np.zeros(len(keys), np.int64)
    column = 0
    for indicator in definitions.indicators:
        width = len(indicator.outputs)
        counts += has_value[:, column : column + width].any(axis=1)
        column += width
    return [
        Message(
            ANALYSIS_COMPLETE,
            analysis_complete(
                symbol, definitions.timeframe, bar_time, patterns_detected=patterns, indicators_calculated=indicators
            ),
        )
        for (symbol, bar_time), patterns, indicators in zip(keys, n_patterns, counts.tolist(), strict=True)
    ]


def _context(bar_time: int, moment: Moment, now: float, is_late: bool) -> RealtimeContext:
    end = moment.end_of(bar_time)
    return RealtimeContext(moment.node, now, (now - moment.received_at) * 1e3, max(now - end / 1e6, 0.0) * 1e3, is_late)


def _live(item: AnalysedWindow, found: Detections, place: int, at: int, instant: int, revision: int) -> LiveDetection:
    bars, divisor = item.analysis.bars, float(item.divisors[at])
    confidence = float(found.confidence[place])
    change = float(bars.close[at] - bars.close[at - 1]) * divisor if at else None
    return LiveDetection(
        symbol=item.symbol,
        timeframe=bars.timeframe,
        pattern=found.pattern,
        bar_time=_microseconds(bars.time[at]),
        instant=instant,
        revision=revision,
        direction=DIRECTION_NAMES[int(found.direction[place])],
        confidence=confidence,
        signal_strength=signal_strength(confidence),
        volume_confirmed=bool(found.volume_confirmed[place]),
        formation_bars=int(found.formation_bars[place]),
        price_change=None if change is None else _rounded(change),
        current_price=_rounded(float(bars.close[at]) * divisor),
        volume=round(int(bars.volume[at]) / divisor),
        context={name: float(values[place]) for name, values in found.context.items()},
        levels={name: _rounded(float(values[place]) * divisor) for name, values in found.levels.items()},
    )


def _rounded(price: float) -> float:
    # as in daily_patterns: dividing by a split and multiplying leaves noise after the 15th digit
    return float(f"{price:.12g}")


def _microseconds(moment: np.datetime64) -> int:
    return int(moment.astype("datetime64[us]").astype(np.int64))


def _of(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)
