"""Deleting what is older than somebody wants to keep, without making anything else stale.

What was computed from deleted minutes stays: hourly and daily bars, and the analysis of later years, which a deletion
like any other would make stale and compute again from less.
"""

from datetime import datetime

import sqlalchemy as sa

from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.ledger import lock_inputs
from tickstock_pipeline.storage.tables import BAR_LEDGER


def minutes_before(connection: sa.Connection, first_year_kept: int) -> list[Partition]:
    """The years of minutes that lie before ``first_year_kept``, by symbol and year."""
    ledger = BAR_LEDGER.c
    query = sa.select(ledger.symbol, ledger.year).where(
        ledger.timeframe == Timeframe.MINUTE.value, ledger.n_bars > 0, ledger.year < first_year_kept
    )
    return [Partition(*row) for row in connection.execute(query.order_by(ledger.symbol, ledger.year))]


def delete_minutes(connection: sa.Connection, partition: Partition) -> int:
    """Delete a symbol's year of minutes and their indicator values, in the caller's transaction; how many bars."""
    symbol, year = partition
    lock_inputs(connection, Timeframe.MINUTE, [symbol], None, None)
    what = {"symbol": symbol, "year": year}
    before = connection.execute(_STALE_FROM, what).all()
    deleted = connection.execute(_DELETE_BARS, what).rowcount
    for statement in (_DELETE_VALUES, _DELETE_COVERAGE):
        connection.execute(statement, what)
    for row in before:
        connection.execute(_RESTORE, {"symbol": symbol, "year": row.year, "stale_from": row.stale_from})
    connection.execute(_FOLLOW, what)
    return int(deleted)


def delete_patterns(connection: sa.Connection, before: datetime) -> int:
    """Delete detections of bars before an instant, those of other programs as well; how many."""
    found = connection.execute(
        sa.text("DELETE FROM daily_patterns WHERE detection_timestamp < :before"), {"before": before}
    )
    return int(found.rowcount)


def delete_events(connection: sa.Connection, before: datetime) -> int:
    """Delete what the integration log says of the time before an instant, whoever wrote it; how many rows."""
    found = connection.execute(
        sa.text('DELETE FROM integration_events WHERE "timestamp" < :before'), {"before": before}
    )
    return int(found.rowcount)


_YEAR = """
    >= make_timestamptz(:year, 1, 1, 0, 0, 0, 'America/New_York')
    AND {column} < make_timestamptz(:year + 1, 1, 1, 0, 0, 0, 'America/New_York')
"""
_STALE_FROM = sa.text("""
    SELECT year, CASE WHEN stale_from = '-infinity' THEN '-infinity' ELSE stale_from::text END AS stale_from
    FROM analysis_coverage WHERE symbol = :symbol AND timeframe = '1min' AND year > :year
""")
_DELETE_BARS = sa.text(
    f"DELETE FROM ohlcv_1min bar WHERE symbol = :symbol AND bar.timestamp {_YEAR.format(column='bar.timestamp')}"
)
_DELETE_VALUES = sa.text(
    f"DELETE FROM bar_indicators WHERE symbol = :symbol AND timeframe = '1min' AND time {_YEAR.format(column='time')}"
)
_DELETE_COVERAGE = sa.text(
    "DELETE FROM analysis_coverage WHERE symbol = :symbol AND timeframe = '1min' AND year = :year"
)
_RESTORE = sa.text("""
    UPDATE analysis_coverage SET stale_from = cast(:stale_from AS timestamptz)
    WHERE symbol = :symbol AND timeframe = '1min' AND year = :year
""")
# what is derived from the year is not to be derived again
_FOLLOW = sa.text("""
    UPDATE bar_provenance derived SET input_revision = ledger.revision FROM bar_ledger ledger
    WHERE derived.symbol = :symbol AND derived.year = :year AND derived.timeframe IN ('hourly', 'daily')
        AND derived.input_revision IS NOT NULL
        AND ledger.symbol = :symbol AND ledger.year = :year AND ledger.timeframe = '1min'
""")
