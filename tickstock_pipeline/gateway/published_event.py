"""A pattern event or a retraction from its stream, read once and written once for all clients."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from tickstock_pipeline.gateway.subscription import Traits
from tickstock_pipeline.messaging.bar_stream import EntryId, parsed_id
from tickstock_pipeline.messaging.channels import PATTERN_FIELD

EVENT_ID = "event_id"
"""The key that we add to ``data``: where the event is in the order of both streams, for ``last_event_id``."""


class PublishedEvent(NamedTuple):
    """One event.

    Attributes
    ----------
    id : of its entry in the stream
    text : what clients get: the event as published, with :data:`EVENT_ID`
    published_at : Unix seconds
    detection_ms, freshness_ms : as the worker measured them; None: it did not, or the event was made up for later, or
        is a retraction
    """

    id: EntryId
    traits: Traits
    direction: str
    text: str
    published_at: float
    detection_ms: float | None
    freshness_ms: float | None


def read_event(entry_id: bytes, fields: Mapping[bytes, bytes], *, is_retraction: bool = False) -> PublishedEvent:
    """An entry of a stream.

    Parameters
    ----------
    is_retraction : whether it is from the stream of retractions

    Raises
    ------
    ValueError
        If it holds no such event: something else writes to the stream.
    """
    raw = fields.get(PATTERN_FIELD.encode())
    if raw is None:
        raise ValueError("the entry has no event")
    try:
        event = json.loads(raw)
        data = event["data"]
        symbol, pattern, timeframe = (str(data[name]) for name in ("symbol", "pattern", "timeframe"))
        traits = Traits(symbol, pattern, timeframe, float(data["confidence"]), is_retraction)
        published_at = float(event["timestamp"])
        direction = str(data.get("direction", ""))
        context = data.get("realtime_context") or {}
        # a retraction says nothing about how fast detections are
        is_timed = not (context.get("late") or is_retraction)
        data[EVENT_ID] = entry_id.decode()
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise ValueError(f"the entry is no pattern event: {type(error).__name__}") from None
    return PublishedEvent(
        parsed_id(entry_id),
        traits,
        direction,
        json.dumps(event, separators=(",", ":")),
        published_at,
        _number(context.get("detection_latency_ms")) if is_timed else None,
        _number(context.get("data_freshness_ms")) if is_timed else None,
    )


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
