"""What happened lately, for people who look after the pipeline: imports, refused bars, integration events."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from tickstock_pipeline.storage.tables import BAR_PROVENANCE, INTEGRATION_EVENTS, QUARANTINED_BARS


@dataclass(frozen=True, slots=True)
class ImportSummary:
    """The last attempt at each partition, imported or derived, counted by its outcome."""

    outcomes: Mapping[str, int]
    latest: datetime | None


@dataclass(frozen=True, slots=True)
class FailedImport:
    """A partition whose bars could not be got or derived, the last time that somebody tried."""

    symbol: str
    timeframe: str
    year: int
    source: str
    error: str | None
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class RefusedCount:
    """Quarantined bars of one timeframe that broke the same rule."""

    timeframe: str
    reason: str
    bars: int
    symbols: int
    latest: datetime


@dataclass(frozen=True, slots=True)
class IntegrationEvent:
    """A row that we or the consumer logged."""

    timestamp: datetime
    event_type: str
    source_system: str
    checkpoint: str | None
    flow_id: UUID | None
    symbol: str | None
    pattern_name: str | None
    channel: str | None
    details: Any
    error_message: str | None


def import_summary(connection: sa.Connection) -> ImportSummary:
    """How the last attempts at all partitions went."""
    table = BAR_PROVENANCE.c
    rows = connection.execute(
        sa.select(table.outcome, sa.func.count(), sa.func.max(table.updated_at))
        .group_by(table.outcome)
        .order_by(table.outcome)
    ).all()
    return ImportSummary(
        {outcome: count for outcome, count, _ in rows}, max((latest for _, _, latest in rows), default=None)
    )


def failed_imports(connection: sa.Connection, *, limit: int = 10) -> list[FailedImport]:
    """The partitions that failed last, newest first."""
    table = BAR_PROVENANCE.c
    query = (
        sa.select(table.symbol, table.timeframe, table.year, table.source, table.error, table.updated_at)
        .where(table.outcome == "failed")
        .order_by(table.updated_at.desc(), table.symbol, table.timeframe, table.year)
        .limit(limit)
    )
    return [FailedImport(**row) for row in connection.execute(query).mappings()]


def refused_counts(connection: sa.Connection) -> list[RefusedCount]:
    """Quarantined bars by timeframe and reason, the most frequent first."""
    table = QUARANTINED_BARS.c
    bars = sa.func.count().label("bars")
    query = (
        sa.select(
            table.timeframe,
            table.reason,
            bars,
            sa.func.count(table.symbol.distinct()).label("symbols"),
            sa.func.max(table.received_at).label("latest"),
        )
        .group_by(table.timeframe, table.reason)
        .order_by(bars.desc(), table.timeframe, table.reason)
    )
    return [RefusedCount(**row) for row in connection.execute(query).mappings()]


def latest_events(connection: sa.Connection, *, limit: int = 10) -> list[IntegrationEvent]:
    """The newest integration events, newest first."""
    table = INTEGRATION_EVENTS.c
    query = (
        sa.select(*(table[name] for name in IntegrationEvent.__slots__))
        .order_by(table.timestamp.desc(), table.id.desc())
        .limit(limit)
    )
    return [IntegrationEvent(**row) for row in connection.execute(query).mappings()]
