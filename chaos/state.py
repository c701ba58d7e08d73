"""What the live path shows of itself while it is being killed: who holds the shards, and what is left to do."""

import json
from typing import Any, NamedTuple

import psycopg2
import redis
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from tickstock_pipeline.errors import MessagingError, StorageError
from tickstock_pipeline.messaging.bar_reader import BarReader
from tickstock_pipeline.messaging.bar_stream import parsed_id
from tickstock_pipeline.messaging.channels import PATTERN_FIELD, PATTERN_STREAM
from tickstock_pipeline.messaging.connection import named_errors
from tickstock_pipeline.messaging.process_states import feed_state, shards_in_use

UNREACHABLE = (StorageError, DBAPIError, psycopg2.Error, MessagingError)
"""What a question raises whose server is down."""

_AT_ONCE = 5_000


class PatternEvent(NamedTuple):
    """What identifies a published detection; ``time`` is Unix seconds of its bar."""

    symbol: str
    timeframe: str
    pattern: str
    time: float
    revision: int
    flow_id: str


def holds_all_shards(engine: sa.Engine, worker: str) -> bool:
    """Whether a worker has them all at this moment."""
    with engine.connect() as connection:
        held = connection.execute(
            sa.text("SELECT bool_and(worker = :worker AND expires_at > now()) FROM shard_leases"), {"worker": worker}
        )
        return bool(held.scalar())


def left_to_do(engine: sa.Engine, client: "redis.Redis", feed_since: float, n_symbols: int) -> dict[str, int]:
    """What keeps the live path from rest, and how much of it there is; empty: nothing.

    Parameters
    ----------
    feed_since : Unix seconds; what a feed showed before is not believed
    n_symbols : that the feed must follow
    """
    left = {}
    state = feed_state(client) or {}
    if float(state.get("updated_at", 0)) <= feed_since or state["is_connected"] != "True":
        left["connections to come"] = 1
    else:
        left["symbols not followed"] = n_symbols - int(state["symbols"])
        left["symbols with gaps"] = int(state["gaps_waiting"])
        left[f"problems of gaps: {state['gaps_problem']}"] = int(bool(state["gaps_problem"]))
    lags = BarReader(client, "chaos").lag(shards_in_use(client)).values()
    left["entries not delivered"] = sum(lag.undelivered for lag in lags)
    left["entries not acknowledged"] = sum(lag.pending for lag in lags)
    with engine.connect() as connection:
        for what, query in (
            ("bars without analysis", "SELECT count(*) FROM live_backlog"),
            ("open periods", "SELECT count(*) FROM open_periods"),
            ("unpublished rows", "SELECT count(*) FROM outbox WHERE published_at IS NULL"),
        ):
            left[what] = int(connection.scalar(sa.text(query)) or 0)
    return {what: count for what, count in left.items() if count}


class EventReader:
    """Reads ``pattern_events`` as it grows, since its older end is trimmed."""

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client
        self._last = b"-"
        self._seen: dict[bytes, PatternEvent] = {}

    def read(self) -> None:
        """Read what has come."""
        while True:
            with named_errors():
                start = b"-" if self._last == b"-" else b"(" + self._last
                entries: Any = self._client.xrange(PATTERN_STREAM, min=start, count=_AT_ONCE)
            for entry_id, fields in entries:
                self._seen[entry_id] = _event(fields[PATTERN_FIELD.encode()])
                self._last = entry_id
            if len(entries) < _AT_ONCE:
                return

    def kept(self) -> list[PatternEvent]:
        """What a consumer can still read, and what has been trimmed; not what Redis has forgotten in a crash."""
        self.read()
        with named_errors():
            first: Any = self._client.xrange(PATTERN_STREAM, count=1)
        oldest = parsed_id(first[0][0]) if first else (0, 0)
        self._last = b"-"
        trimmed = {entry_id: event for entry_id, event in self._seen.items() if parsed_id(entry_id) < oldest}
        self._seen = {}
        self.read()
        return [*trimmed.values(), *self._seen.values()]


def _event(raw: bytes) -> PatternEvent:
    data = json.loads(raw)["data"]
    return PatternEvent(
        *(data["symbol"], data["timeframe"], data["pattern"], data["timestamp"], data["revision"], data["flow_id"])
    )
