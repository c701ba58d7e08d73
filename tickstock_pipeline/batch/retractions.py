"""Detections that no longer hold, and that the outside was told of: what it is told now.

The messages go into the outbox, and their rows of the integration log are written, in the transaction that retracts.
"""

import math
import platform
import time
from collections.abc import Callable, Sequence
from datetime import datetime

import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.market.calendar import TradingCalendar
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.messaging.channels import PATTERNS_RETRACTED, SOURCE
from tickstock_pipeline.messaging.pattern_event import LiveDetection, RealtimeContext, pattern_retracted
from tickstock_pipeline.patterns.detections import signal_strength
from tickstock_pipeline.storage.detections import RetractedDetection
from tickstock_pipeline.storage.event_log import (
    PATTERN_PUBLISHED,
    PATTERN_RETRACTED,
    FlowStep,
    log_flow_steps,
    logged_flows,
)
from tickstock_pipeline.storage.outbox import Message, put

REANALYSED = "its bars or the definitions have changed"


def enqueue_retractions(
    connection: sa.Connection, calendar: TradingCalendar, timeframe: Timeframe, retracted: Sequence[RetractedDetection]
) -> int:
    """Leave it to the live path to publish that these detections no longer hold; how many were ever published."""
    now = time.time()

    def context(bar_time: int) -> RealtimeContext:
        opened = calendar.instant(timeframe, np.array([bar_time], "datetime64[us]"))[0]
        age_s = now - int(opened.astype("datetime64[us]").astype(np.int64)) / 1e6
        return RealtimeContext(platform.node(), now, 0.0, max(age_s, 0.0) * 1e3)

    messages = tell_retractions(connection, timeframe, retracted, context, REANALYSED)
    put(connection, messages)
    return len(messages)


def tell_retractions(
    connection: sa.Connection,
    timeframe: Timeframe,
    retracted: Sequence[RetractedDetection],
    context: Callable[[int], RealtimeContext],
    reason: str,
) -> list[Message]:
    """Messages about detections that no longer hold; those that nobody was told of are left out.

    Parameters
    ----------
    context : of the bar at a time, in microseconds since 1970
    """
    if not retracted:
        return []
    detections = [_as_told(timeframe, one) for one in retracted]
    told = logged_flows(connection, [one.flow_id for one in detections], PATTERN_PUBLISHED)
    steps, messages = [], []
    for one in detections:
        if one.flow_id in told:
            messages.append(Message(PATTERNS_RETRACTED, pattern_retracted(one, context(one.bar_time), reason)))
            steps.append(
                FlowStep(
                    one.flow_id,
                    "pattern_retracted",
                    PATTERN_RETRACTED,
                    PATTERNS_RETRACTED,
                    one.symbol,
                    one.pattern,
                    one.confidence,
                    {"timeframe": timeframe.value, "reason": reason},
                )
            )
    log_flow_steps(connection, SOURCE, steps)
    return messages


def _as_told(timeframe: Timeframe, stored: RetractedDetection) -> LiveDetection:
    metadata = stored.metadata or {}
    return LiveDetection(
        symbol=stored.symbol,
        timeframe=timeframe,
        pattern=stored.pattern,
        bar_time=_of(stored.bar_time),
        instant=_of(stored.detection_timestamp),
        revision=stored.revision,
        direction=stored.direction,
        confidence=stored.confidence,
        signal_strength=signal_strength(stored.confidence),
        volume_confirmed=bool(metadata.get("volume_confirmed", False)),
        formation_bars=int(metadata.get("formation_bars", 0)),
        price_change=None,
        current_price=float(stored.pattern_data.get("price", math.nan)),
        volume=0,
        context=dict(metadata.get("technical_context", {})),
        levels=dict(stored.levels or {}),
    )


def _of(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)
