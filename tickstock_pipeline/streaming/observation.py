"""Live work seen from outside, for `/health`, `/metrics` and `tickstock monitor`: what processes show, what waits.

Each part is asked for itself: where Redis does not answer, there is still what the database says.
"""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import redis
from sqlalchemy.exc import DBAPIError

from tickstock_pipeline.errors import MessagingError, StorageError
from tickstock_pipeline.messaging.bar_reader import BarReader, ShardLag
from tickstock_pipeline.messaging.channels import SOURCE
from tickstock_pipeline.messaging.process_states import (
    State,
    feed_state,
    heartbeats,
    kept_pattern_events,
    pattern_listeners,
    shards_in_use,
    worker_states,
)
from tickstock_pipeline.storage import monitoring
from tickstock_pipeline.storage.engine import create_engine

FLOW_MINUTES = 10

_STATEMENT_MS = 5000
_FRESH_S = 1.0
_FLOWS_FRESH_S = 5.0


@dataclass(frozen=True, slots=True)
class StoredView:
    """What the database says."""

    waiting: monitoring.Waiting
    leases: tuple[monitoring.Lease, ...]
    vanished_workers: tuple[str, ...]
    jobs: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ShownView:
    """What is in Redis.

    Attributes
    ----------
    heartbeats : Unix time of each key; None: expired
    lag : by shard
    listeners : connections on the channel of pattern events
    kept_events : in the stream of pattern events
    """

    workers: Mapping[str, State]
    feed: State | None
    heartbeats: Mapping[str, float | None]
    lag: Mapping[int, ShardLag]
    listeners: int
    kept_events: int


@dataclass(frozen=True, slots=True)
class FlowView:
    """Pattern events on their way, by the integration log.

    Attributes
    ----------
    alive_at, alive : the producer's last sign of life within an hour, and what it said
    consumer_at : when the other side last logged something, within an hour
    """

    minutes: tuple[monitoring.FlowMinute, ...]
    checkpoints: tuple[monitoring.Checkpoint, ...]
    summary: monitoring.FlowSummary
    alive_at: datetime | None
    alive: Mapping[str, Any]
    consumer_at: datetime | None


@dataclass(frozen=True, slots=True)
class LiveView:
    """Everything at one moment; None where a server does not answer, with the reason in ``problems``.

    Attributes
    ----------
    at : Unix seconds
    """

    at: float
    stored: StoredView | None = None
    shown: ShownView | None = None
    problems: Mapping[str, str] = field(default_factory=dict)


class Observer:
    """Looks at live work; may be used from several threads. Looks again only after a second.

    Parameters
    ----------
    client : of :func:`tickstock_pipeline.messaging.connection.connect`, for this observer alone
    """

    def __init__(self, dsn: str, client: "redis.Redis") -> None:
        name = "tickstock-observer"
        self._engine = create_engine(
            dsn,
            pool_size=1,
            max_overflow=1,
            connect_args={
                "connect_timeout": 5,
                "application_name": name,
                "options": f"-c statement_timeout={_STATEMENT_MS}",
            },
        )
        self._client = client
        self._reader = BarReader(client, name)
        self._lock = threading.Lock()
        self._view = LiveView(0.0)
        self._flows: tuple[float, FlowView | None] = (0.0, None)

    def close(self) -> None:
        """Close its connections."""
        self._engine.dispose()
        self._client.close()

    def look(self) -> LiveView:
        """What there is, at most a second old."""
        with self._lock:
            if not 0 <= time.time() - self._view.at < _FRESH_S:
                self._view = self._looked()
            return self._view

    def flows(self) -> FlowView | None:
        """Flows of the last minutes, at most some seconds old; None: the database does not answer."""
        with self._lock:
            at, view = self._flows
            if not 0 <= time.time() - at < _FLOWS_FRESH_S:
                try:
                    view = self._flow_view()
                except (StorageError, DBAPIError):
                    view = None
                self._flows = (time.time(), view)
            return view

    def _looked(self) -> LiveView:
        problems: dict[str, str] = {}
        stored: StoredView | None = None
        shown: ShownView | None = None
        try:
            stored = self._stored_view()
        except StorageError as error:
            problems["database"] = error.message
        except DBAPIError as error:
            problems["database"] = f"PostgreSQL refuses a query ({type(error.orig).__name__})"
        try:
            shown = self._shown_view()
        except MessagingError as error:
            problems["redis"] = error.message
        return LiveView(time.time(), stored, shown, problems)

    def _stored_view(self) -> StoredView:
        with self._engine.connect() as connection:
            return StoredView(
                monitoring.waiting(connection),
                tuple(monitoring.leases(connection)),
                tuple(monitoring.vanished_workers(connection)),
                monitoring.jobs_by_state(connection),
            )

    def _shown_view(self) -> ShownView:
        return ShownView(
            worker_states(self._client),
            feed_state(self._client),
            heartbeats(self._client),
            self._reader.lag(shards_in_use(self._client)),
            pattern_listeners(self._client),
            kept_pattern_events(self._client),
        )

    def _flow_view(self) -> FlowView:
        with self._engine.connect() as connection:
            alive = monitoring.last_sign_of_life(connection)
            return FlowView(
                tuple(monitoring.flow_minutes(connection, minutes=FLOW_MINUTES)),
                tuple(monitoring.checkpoints(connection, minutes=FLOW_MINUTES)),
                monitoring.flow_summary(connection, minutes=FLOW_MINUTES),
                None if alive is None else alive[0],
                {} if alive is None else alive[1],
                monitoring.last_word_of_consumer(connection, SOURCE),
            )
