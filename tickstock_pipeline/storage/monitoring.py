"""What the database says of live work at the moment: flows, signs of life, what waits. All of it is cheap to ask."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

FLOW_CHECKPOINTS = ("PATTERN_PUBLISHED", "EVENT_RECEIVED", "EVENT_PARSED", "WEBSOCKET_DELIVERED")
STAGES = ("publish_to_receive", "receive_to_parse", "parse_to_deliver", "total")

_MOST_FLOWS = 5_000
# looking further back for a last sign of life would read the whole log where there is none
_SIGNS_HOURS = 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What one side has logged lately at one checkpoint."""

    source: str
    checkpoint: str
    count: int
    last: datetime


@dataclass(frozen=True, slots=True)
class FlowMinute:
    """Checkpoints logged within one minute; ``counts`` is in the order of :data:`FLOW_CHECKPOINTS`."""

    minute: datetime
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StageLatency:
    """How long one stage took, in milliseconds; None: no flow has come so far."""

    stage: str
    flows: int
    p50: float | None
    p95: float | None
    max: float | None


@dataclass(frozen=True, slots=True)
class FlowSummary:
    """The latest flows: at most some thousands.

    Attributes
    ----------
    published, complete : how many were published, and how many of those reached the last checkpoint
    """

    published: int
    complete: int
    latencies: tuple[StageLatency, ...]


@dataclass(frozen=True, slots=True)
class Lease:
    """Who works on a shard; None: nobody, or it has not been renewed in time."""

    shard: int
    worker: str | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is stored and not done.

    Attributes
    ----------
    outbox, outbox_oldest_s : messages' rows that nobody has published, and the age of the oldest
    backlog : live bars without analysis
    open_periods : coarse bars that are begun
    """

    outbox: int
    outbox_oldest_s: float
    backlog: int
    open_periods: int


@dataclass(frozen=True, slots=True)
class FlowProgress:
    """A checkpoint that a flow has passed."""

    checkpoint: str
    source: str
    at: datetime


def checkpoints(connection: sa.Connection, *, minutes: int) -> list[Checkpoint]:
    """What both sides have logged within the last minutes, by source and checkpoint."""
    rows = connection.execute(
        sa.text("""
            SELECT source_system, checkpoint, count(*), max("timestamp") FROM integration_events
            WHERE "timestamp" >= now() - make_interval(mins => :minutes) AND checkpoint IS NOT NULL
            GROUP BY 1, 2 ORDER BY 1, 2
        """),
        {"minutes": minutes},
    )
    return [Checkpoint(*row) for row in rows]


def flow_minutes(connection: sa.Connection, *, minutes: int) -> list[FlowMinute]:
    """Flow checkpoints of each of the last minutes in which there was one, newest first."""
    rows = connection.execute(
        sa.text("""
            SELECT date_trunc('minute', "timestamp") AS minute, checkpoint, count(*) FROM integration_events
            WHERE "timestamp" >= date_trunc('minute', now()) - make_interval(mins => :minutes)
                AND checkpoint = ANY (:checkpoints)
            GROUP BY 1, 2 ORDER BY 1 DESC
        """),
        {"minutes": minutes, "checkpoints": list(FLOW_CHECKPOINTS)},
    )
    found: dict[datetime, dict[str, int]] = {}
    for minute, checkpoint, count in rows:
        found.setdefault(minute, {})[checkpoint] = count
    return [FlowMinute(minute, tuple(of.get(name, 0) for name in FLOW_CHECKPOINTS)) for minute, of in found.items()]


def flow_summary(connection: sa.Connection, *, minutes: int) -> FlowSummary:
    """Latencies of the flows published within the last minutes, by ``pattern_flow_analysis``."""
    # The view groups the whole log; given the flows, it reads only those.
    flows = connection.scalars(
        sa.text("""
            SELECT flow_id FROM integration_events
            WHERE "timestamp" >= now() - make_interval(mins => :minutes)
                AND checkpoint = 'PATTERN_PUBLISHED' AND flow_id IS NOT NULL
            ORDER BY "timestamp" DESC LIMIT :most
        """),
        {"minutes": minutes, "most": _MOST_FLOWS},
    ).all()
    numbers = ", ".join(
        f"count({stage}_ms), percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY {stage}_ms), max({stage}_ms)"
        for stage in STAGES
    )
    row = connection.execute(
        sa.text(f"""
            SELECT count(*), count(*) FILTER (WHERE is_complete), {numbers}
            FROM pattern_flow_analysis WHERE flow_id = ANY (cast(:flows AS uuid[]))
        """),
        {"flows": [str(flow) for flow in set(flows)]},
    ).one()
    published, complete, *rest = row
    latencies = []
    for stage, (count, quantiles, longest) in zip(STAGES, zip(*[iter(rest)] * 3, strict=True), strict=True):
        p50, p95 = quantiles or (None, None)
        latencies.append(StageLatency(stage, count, p50, p95, longest))
    return FlowSummary(published, complete, tuple(latencies))


def last_sign_of_life(connection: sa.Connection) -> tuple[datetime, Mapping[str, Any]] | None:
    """The producer's last ``PRODUCER_ALIVE`` within an hour: when, and its details."""
    row = connection.execute(
        sa.text("""
            SELECT "timestamp", details FROM integration_events
            WHERE checkpoint = 'PRODUCER_ALIVE' AND "timestamp" >= now() - make_interval(hours => :hours)
            ORDER BY "timestamp" DESC LIMIT 1
        """),
        {"hours": _SIGNS_HOURS},
    ).one_or_none()
    return None if row is None else (row[0], row[1] or {})


def last_word_of_consumer(connection: sa.Connection, producer: str) -> datetime | None:
    """When anybody but ``producer`` last logged something, within an hour."""
    found: datetime | None = connection.scalar(
        sa.text("""
            SELECT max("timestamp") FROM integration_events
            WHERE "timestamp" >= now() - make_interval(hours => :hours) AND source_system <> :producer
        """),
        {"hours": _SIGNS_HOURS, "producer": producer},
    )
    return found


def leases(connection: sa.Connection) -> list[Lease]:
    """Every shard and its worker, in order."""
    rows = connection.execute(
        sa.text("SELECT shard, CASE WHEN expires_at > now() THEN worker END FROM shard_leases ORDER BY shard")
    )
    return [Lease(*row) for row in rows]


def vanished_workers(connection: sa.Connection) -> list[str]:
    """Workers that ended within the last hour without a word."""
    return list(
        connection.scalars(
            sa.text("""
                SELECT worker FROM live_workers
                WHERE expires_at <= now() AND expires_at > now() - interval '1 hour' ORDER BY worker
            """)
        )
    )


def waiting(connection: sa.Connection) -> Waiting:
    """What is left to publish, to analyse and to roll up."""
    row = connection.execute(
        sa.text("""
            SELECT
                (SELECT count(*) FROM outbox WHERE published_at IS NULL),
                coalesce((
                    SELECT extract(epoch FROM clock_timestamp() - min(created_at)) FROM outbox
                    WHERE published_at IS NULL
                ), 0)::float8,
                (SELECT count(*) FROM live_backlog),
                (SELECT count(*) FROM open_periods)
        """)
    ).one()
    return Waiting(*row)


def jobs_by_state(connection: sa.Connection) -> dict[str, int]:
    """Import jobs by their status."""
    rows = connection.execute(sa.text("SELECT status, count(*) FROM import_jobs GROUP BY status ORDER BY status"))
    return {str(status): int(count) for status, count in rows}


def flow_progress(connection: sa.Connection, flow: UUID) -> list[FlowProgress]:
    """The checkpoints of one flow, in order of time; repeats are left out."""
    rows = connection.execute(
        sa.text("""
            SELECT checkpoint, min(source_system), min("timestamp") FROM integration_events
            WHERE flow_id = :flow AND checkpoint IS NOT NULL GROUP BY checkpoint ORDER BY 3
        """),
        {"flow": flow},
    )
    return [FlowProgress(*row) for row in rows]
