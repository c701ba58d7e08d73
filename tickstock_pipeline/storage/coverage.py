"""Which bars have been analysed with which definitions, and how many have not.

Coverage rows are made by whoever stores an analysis; the triggers of the bar tables mark them stale from the first
bar that changed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.instants import aware
from tickstock_pipeline.storage.tables import ANALYSIS_COVERAGE, BARS, key_column


@dataclass(frozen=True, slots=True)
class Coverage:
    """One symbol's year as analysed.

    Attributes
    ----------
    definition_digest : of the definition set that was run
    anchor : time of the first bar that the calendar lets in, stored or not; None: the first stored bar
    covered_through : time of the last bar analysed; None where the year has no bar (any more)
    n_bars : bars of that year analysed
    """

    symbol: str
    timeframe: Timeframe
    year: int
    definition_digest: str
    anchor: np.datetime64 | None
    covered_through: np.datetime64 | None
    n_bars: int


@dataclass(frozen=True, slots=True, order=True)
class StalePartition:
    """One symbol's year with bars that have no analysis, or none that still holds.

    ``bars`` counts them; 0 where analysed bars have been deleted and no other bar is affected.
    """

    symbol: str
    year: int
    bars: int


def record_coverage(connection: sa.Connection, rows: Sequence[Coverage]) -> datetime | None:
    """State that these partitions are analysed; call it in the transaction that called ``lock_inputs``.

    Returns
    -------
    The ``analysed_at`` that they have now; None without rows.
    """
    if not rows:
        return None
    analysed_at: datetime | None = connection.scalar(
        sa.text("""
            WITH recorded AS (INSERT INTO analysis_coverage
                (symbol, timeframe, year, definition_digest, anchor, covered_through, n_bars)
            SELECT * FROM unnest(
                cast(:symbols AS text[]), cast(:timeframes AS text[]), cast(:years AS smallint[]),
                cast(:digests AS text[]), cast(:anchors AS timestamptz[]), cast(:ends AS timestamptz[]),
                cast(:counts AS integer[])
            ) new (symbol, timeframe, year, definition_digest, anchor, covered_through, n_bars)
            ORDER BY symbol, timeframe, year
            ON CONFLICT (symbol, timeframe, year) DO UPDATE SET
                definition_digest = excluded.definition_digest, anchor = excluded.anchor,
                covered_through = excluded.covered_through, n_bars = excluded.n_bars, stale_from = NULL,
                analysed_at = now()
            ) SELECT now()
        """),
        {
            "symbols": [row.symbol for row in rows],
            "timeframes": [str(row.timeframe) for row in rows],
            "years": [row.year for row in rows],
            "digests": [row.definition_digest for row in rows],
            "anchors": [aware(row.anchor) for row in rows],
            "ends": [aware(row.covered_through) for row in rows],
            "counts": [row.n_bars for row in rows],
        },
    )
    return analysed_at


@dataclass(frozen=True, slots=True)
class CoverageState:
    """What is known of the analysis of a symbol's year.

    Attributes
    ----------
    stale_from : the analysis no longer holds from here on; None: all of it holds
    covered_through : time of the last bar analysed; None: there was none
    analysed_at : when the row was last stated; unlike ``stale_from``, no change of bars touches it
    """

    definition_digest: str
    stale_from: datetime | None
    covered_through: datetime | None
    analysed_at: datetime


def read_coverage(
    connection: sa.Connection, timeframe: Timeframe, symbols: Iterable[str]
) -> dict[tuple[str, int], CoverageState]:
    """What is known of the analysed years of ``symbols``; a year that became stale as a whole is from year 1 on."""
    rows = connection.execute(
        sa.text("""
            SELECT symbol, year, definition_digest,
                CASE WHEN stale_from = '-infinity' THEN '0001-01-02 00:00+00' ELSE stale_from END,
                covered_through, analysed_at
            FROM analysis_coverage WHERE timeframe = :timeframe AND symbol = ANY (:symbols)
        """),
        {"timeframe": str(timeframe), "symbols": sorted(set(symbols))},
    )
    return {(symbol, year): CoverageState(*state) for symbol, year, *state in rows}


def stale_analysis(
    connection: sa.Connection, timeframe: Timeframe, digest: str, symbols: Iterable[str] | None = None
) -> list[StalePartition]:
    """The partitions to analyse again, by symbol and year.

    Parameters
    ----------
    digest : of the definition set that is to hold
    symbols : None is all

    Returns
    -------
    A partition that was never analysed, or with other definitions, counts all of its bars; one whose input has
    changed counts its bars from the change on. The counts are exact.
    """
    rows = connection.execute(
        sa.text(f"{_stale(timeframe)} ORDER BY l.symbol, l.year"), _stale_context(timeframe, digest, symbols)
    )
    return [StalePartition(symbol, year, bars) for symbol, year, bars in rows]


@dataclass(frozen=True, slots=True)
class MissingAnalysis:
    """How much has no analysis that holds; a partition may count 0 bars, if what was analysed is there no more."""

    bars: int
    partitions: int


def missing_analysis(connection: sa.Connection, timeframe: Timeframe, digest: str) -> MissingAnalysis:
    """The sum of :func:`stale_analysis` over all symbols, without fetching the partitions."""
    row = connection.execute(
        sa.text(f"SELECT coalesce(sum(n), 0)::bigint, count(*) FROM ({_stale(timeframe)}) stale"),
        _stale_context(timeframe, digest, None),
    ).one()
    return MissingAnalysis(*row)


def _stale_context(timeframe: Timeframe, digest: str, symbols: Iterable[str] | None) -> dict[str, object]:
    wanted = None if symbols is None else sorted(set(symbols))
    return {"timeframe": str(timeframe), "digest": digest, "symbols": wanted}


def _stale(timeframe: Timeframe) -> str:
    table, key = BARS[timeframe], key_column(timeframe)
    # a date-keyed bar's instant is midnight UTC of its date
    since, after = (
        ("v.stale_from", "make_timestamptz(l.year + 1, 1, 1, 0, 0, 0, 'America/New_York')")
        if timeframe.is_intraday
        else ("(v.stale_from AT TIME ZONE 'UTC')::date", "make_date(l.year + 1, 1, 1)")
    )
    # bars are read only where the change lies in the middle of what was analysed; the ledger tells the rest
    return f"""
        SELECT l.symbol, l.year, counted.n
        FROM bar_ledger l
        LEFT JOIN analysis_coverage v
            ON v.symbol = l.symbol AND v.timeframe = l.timeframe AND v.year = l.year
        LEFT JOIN LATERAL (
            SELECT count(*)::int AS n FROM {table.name} bar
            WHERE v.definition_digest = :digest
                AND v.stale_from > l.first_time AND v.stale_from <= least(v.covered_through, l.last_time)
                AND bar.symbol = l.symbol AND bar."{key.name}" >= {since} AND bar."{key.name}" < {after}
        ) changed ON true
        CROSS JOIN LATERAL (
            SELECT CASE
                WHEN v.definition_digest IS DISTINCT FROM :digest OR v.stale_from <= l.first_time THEN l.n_bars
                WHEN v.stale_from IS NULL OR l.n_bars = 0 OR v.stale_from > l.last_time THEN 0
                WHEN v.stale_from > v.covered_through THEN l.n_bars - v.n_bars
                ELSE changed.n
            END AS n
        ) counted
        WHERE l.timeframe = :timeframe
            AND (cast(:symbols AS text[]) IS NULL OR l.symbol = ANY (cast(:symbols AS text[])))
            AND (
                counted.n > 0
                -- what was analysed is there no more
                OR v.n_bars > 0 AND v.definition_digest IS DISTINCT FROM :digest
                OR v.stale_from IS NOT NULL AND v.n_bars > l.n_bars
            )
    """


def analysed_partitions(connection: sa.Connection, timeframe: Timeframe, symbols: Iterable[str]) -> set[Partition]:
    """The partitions that were ever analysed, with whatever definitions, stale or not."""
    table = ANALYSIS_COVERAGE.c
    wanted = sa.literal(sorted(set(symbols)), sa.ARRAY(sa.Text))
    query = sa.select(table.symbol, table.year).where(table.timeframe == timeframe, table.symbol == sa.any_(wanted))
    return {Partition(symbol, year) for symbol, year in connection.execute(query)}
