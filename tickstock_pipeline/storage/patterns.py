"""Reading stored detections."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.tables import DAILY_PATTERNS


@dataclass(frozen=True, slots=True)
class StoredPattern:
    """One detection that holds; ``levels`` and the prices in ``pattern_data`` are as traded.

    ``bar_time`` is the key of its bar, None in rows that another program wrote.
    """

    id: int
    symbol: str
    timeframe: str
    pattern: str
    direction: str | None
    confidence: float
    detection_timestamp: datetime
    bar_time: datetime | None
    revision: int
    pattern_data: Mapping[str, Any]
    levels: Mapping[str, float] | None


def latest_patterns(
    connection: sa.Connection,
    *,
    symbols: Iterable[str] | None = None,
    timeframes: Iterable[Timeframe] | None = None,
    patterns: Iterable[str] | None = None,
    since: datetime | None = None,
    min_confidence: float = 0.0,
    limit: int = 20,
) -> list[StoredPattern]:
    """The newest detections that were not retracted, newest first; None does not restrict.

    Parameters
    ----------
    since : the earliest ``detection_timestamp``, included
    min_confidence : 0 to 1, included
    """
    table = DAILY_PATTERNS.c
    query = (
        sa.select(DAILY_PATTERNS)
        .where(table.retracted_at.is_(None))
        .order_by(table.detection_timestamp.desc(), table.symbol, table.timeframe, table.pattern_type)
        .limit(limit)
    )
    for column, values in ((table.symbol, symbols), (table.timeframe, timeframes), (table.pattern_type, patterns)):
        if values is not None:
            query = query.where(column.in_([str(value) for value in values]))
    if since is not None:
        query = query.where(table.detection_timestamp >= since)
    if min_confidence > 0:
        query = query.where(table.confidence >= min_confidence)
    return [
        StoredPattern(
            id=row["id"],
            symbol=row["symbol"],
            timeframe=row["timeframe"],
            pattern=row["pattern_type"],
            direction=row["direction"],
            confidence=row["confidence"],
            detection_timestamp=row["detection_timestamp"],
            bar_time=row["bar_time"],
            revision=row["revision"],
            pattern_data=row["pattern_data"],
            levels=row["levels"],
        )
        for row in connection.execute(query).mappings()
    ]


def held_revisions(
    connection: sa.Connection, timeframe: Timeframe, symbols: Iterable[str], first: datetime, last: datetime
) -> list[tuple[str, str, datetime, int]]:
    """Our detections that hold, from one ``detection_timestamp`` to another: symbol, pattern, timestamp, revision."""
    table = DAILY_PATTERNS.c
    rows = connection.execute(
        sa.select(table.symbol, table.pattern_type, table.detection_timestamp, table.revision).where(
            table.symbol == sa.any_(sa.literal(sorted(set(symbols)), sa.ARRAY(sa.Text))),
            table.timeframe == timeframe.value,
            table.detection_timestamp.between(first, last),
            table.bar_time.is_not(None),
            table.retracted_at.is_(None),
        )
    )
    return [(symbol, pattern, instant, revision) for symbol, pattern, instant, revision in rows]
