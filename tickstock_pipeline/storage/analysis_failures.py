"""Partitions whose analysis failed the last time: why, how often, and when it is worth another try."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.automation_tables import ANALYSIS_FAILURES
from tickstock_pipeline.storage.texts import storable_text


@dataclass(frozen=True, slots=True)
class AnalysisFailure:
    """One partition whose analysis failed.

    Attributes
    ----------
    attempts : failures since it last succeeded
    is_resting : the last one is too recent for an automatic try: five minutes, doubled with each failure, at most a day
    """

    error: str
    attempts: int
    failed_at: datetime
    is_resting: bool


def record_failures(connection: sa.Connection, timeframe: Timeframe, errors: Mapping[Partition, str]) -> None:
    """Count a failure of each of these partitions."""
    if errors:
        ordered = sorted(errors)
        connection.execute(
            sa.text("""
                INSERT INTO analysis_failures AS known (symbol, timeframe, year, error)
                SELECT symbol, :timeframe, year, error
                FROM unnest(cast(:symbols AS text[]), cast(:years AS smallint[]), cast(:errors AS text[]))
                    AS new (symbol, year, error)
                ON CONFLICT (symbol, timeframe, year) DO UPDATE SET
                    error = excluded.error, attempts = known.attempts + 1, failed_at = now()
            """),
            {"errors": [storable_text(errors[one]) for one in ordered], **_keys(timeframe, ordered)},
        )


def clear_failures(connection: sa.Connection, timeframe: Timeframe, partitions: Iterable[Partition]) -> None:
    """State that these partitions have been analysed."""
    ordered = sorted(partitions)
    if ordered:
        connection.execute(
            sa.text("""
                DELETE FROM analysis_failures USING
                    unnest(cast(:symbols AS text[]), cast(:years AS smallint[])) AS done (symbol, year)
                WHERE analysis_failures.symbol = done.symbol AND analysis_failures.year = done.year
                    AND timeframe = :timeframe
            """),
            _keys(timeframe, ordered),
        )


def read_failures(connection: sa.Connection, timeframe: Timeframe) -> dict[Partition, AnalysisFailure]:
    """The partitions whose analysis failed the last time, by symbol and year."""
    table = ANALYSIS_FAILURES.c
    is_resting = table.failed_at + _REST > sa.func.now()
    rows = connection.execute(
        sa.select(table.symbol, table.year, table.error, table.attempts, table.failed_at, is_resting)
        .where(table.timeframe == timeframe.value)
        .order_by(table.symbol, table.year)
    )
    return {Partition(row[0], row[1]): AnalysisFailure(*row[2:]) for row in rows}


def _keys(timeframe: Timeframe, ordered: list[Partition]) -> dict[str, object]:
    return {
        "timeframe": str(timeframe),
        "symbols": [partition.symbol for partition in ordered],
        "years": [partition.year for partition in ordered],
    }


_REST: sa.ColumnElement[timedelta] = sa.literal_column(
    "least(interval '5 minutes' * power(2, least(attempts - 1, 16)), interval '1 day')", sa.Interval()
)
