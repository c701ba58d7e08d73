"""Events about detections, with the names and types that the consumer reads: detected, retracted, analysis complete."""

import json
import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.messaging.bar_event import timestamp_text
from tickstock_pipeline.messaging.channels import SOURCE

# Of our own making; it must never change, or repeats would no longer be recognised.
_NAMESPACE = uuid.UUID("5e0a2c52-6b0f-5c29-9d1c-0d9a6f0f8b11")


@dataclass(frozen=True, slots=True)
class LiveDetection:
    """A detection on a live bar.

    Attributes
    ----------
    bar_time : of the bar, microseconds since 1970, as in ``Bars.time``
    instant : that stands for the bar, microseconds since 1970: ``detection_timestamp``
    revision : 1, and one more each time that it came back after a retraction
    price_change : from the close before, currency of the listing, as traded on that day; None: there is none
    current_price : close of the bar, as traded
    volume : shares, as traded
    context : what the bars looked like, by name
    levels : price levels by name, as traded
    """

    symbol: str
    timeframe: Timeframe
    pattern: str
    bar_time: int
    instant: int
    revision: int
    direction: str
    confidence: float
    signal_strength: str
    volume_confirmed: bool
    formation_bars: int
    price_change: float | None
    current_price: float
    volume: int
    context: Mapping[str, float]
    levels: Mapping[str, float]

    @property
    def flow_id(self) -> uuid.UUID:
        """The same for the same detection however often it is published; another for its next revision."""
        return flow_id(self.symbol, self.timeframe, self.pattern, self.bar_time, self.revision)


@dataclass(frozen=True, slots=True)
class RealtimeContext:
    """How fast a detection was.

    Attributes
    ----------
    published_at : Unix seconds
    detection_latency_ms : from the bar's arrival at the worker to its detection
    data_freshness_ms : age of the bar, counted from the end of its period
    is_late : it was made up for after its bar had been stored without analysis
    """

    node: str
    published_at: float
    detection_latency_ms: float
    data_freshness_ms: float
    is_late: bool = False


def flow_id(symbol: str, timeframe: Timeframe, pattern: str, bar_time: int, revision: int) -> uuid.UUID:
    """The flow of a detection: a UUID of its symbol, timeframe, pattern, bar and revision.

    Parameters
    ----------
    bar_time : microseconds since 1970
    """
    return uuid.uuid5(_NAMESPACE, f"{symbol}|{timeframe.value}|{pattern}|{bar_time}|{revision}")


def pattern_detected(detection: LiveDetection, context: RealtimeContext) -> str:
    """The event ``pattern_detected``, as JSON."""
    return _event("pattern_detected", detection, context, {})


def pattern_retracted(detection: LiveDetection, context: RealtimeContext, reason: str) -> str:
    """The event ``pattern_retracted``: the same envelope and ``flow_id``, and why, as JSON."""
    return _event("pattern_retracted", detection, context, {"reason": reason})


def analysis_complete(
    symbol: str, timeframe: Timeframe, time: int, *, patterns_detected: int, indicators_calculated: int
) -> str:
    """What is published once for each analysed live bar, as JSON.

    Parameters
    ----------
    time : of the bar, microseconds since 1970
    """
    # a thousand at a time: half of the time that an encoder takes
    return (
        f'{{"symbol": {json.dumps(symbol)}, "timestamp": "{timestamp_text(time)}", "timeframe": "{timeframe.value}",'
        f' "patterns_detected": {patterns_detected}, "indicators_calculated": {indicators_calculated}}}'
    )


def _event(event_type: str, detection: LiveDetection, context: RealtimeContext, more: Mapping[str, Any]) -> str:
    realtime: dict[str, Any] = {
        "detection_latency_ms": round(context.detection_latency_ms, 3),
        "data_freshness_ms": round(context.data_freshness_ms, 3),
        "processing_node": context.node,
    }
    if context.is_late:
        realtime["late"] = True
    pattern_id = flow_id(detection.symbol, detection.timeframe, detection.pattern, detection.bar_time, 0)
    return json.dumps(
        {
            "event_type": event_type,
            "source": SOURCE,
            "timestamp": context.published_at,
            "data": {
                "symbol": detection.symbol,
                "pattern": detection.pattern,
                "confidence": detection.confidence,
                "flow_id": str(detection.flow_id),
                "pattern_id": str(pattern_id),
                "timeframe": detection.timeframe.value,
                "direction": detection.direction,
                "tier": detection.timeframe.tier,
                "price_change": detection.price_change or 0.0,
                "current_price": detection.current_price,
                "volume": detection.volume,
                "timestamp": detection.instant / 1e6,
                "revision": detection.revision,
                "levels": _finite(detection.levels),
                "metadata": {
                    "signal_strength": detection.signal_strength,
                    "volume_confirmed": detection.volume_confirmed,
                    "formation_bars": detection.formation_bars,
                    "technical_context": _finite(detection.context),
                },
                "realtime_context": realtime,
                **more,
            },
        }
    )


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    # JSON has no NaN
    return {name: value for name, value in values.items() if math.isfinite(value)}
