"""Which bars have been analysed with which definitions, and how many have not.

Coverage rows are made by whoever stores an analysis; the triggers of the bar tables mark them stale from the first
bar that changed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

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


def record_coverage(connection: sa.Connection, rows: Sequence[Coverage]) -> None:
    """State that these partitions are analysed; call it in the transaction that called ``lock_inputs``."""
    if not rows:
        return
    statement = insert(ANALYSIS_COVERAGE)
    replaced = ("definition_digest", "anchor", "covered_through", "n_bars", "stale_from")
    statement = statement.on_conflict_do_update(
        index_elements=["symbol", "timeframe", "year"],
        set_={name: statement.excluded[name] for name in replaced} | {"analysed_at": sa.func.now()},
    )
    ordered = sorted(rows, key=lambda row: (row.symbol, row.timeframe, row.year))
    connection.execute(
        statement,
        [
            {
                "symbol": row.symbol,
                "timeframe": str(row.timeframe),
                "year": row.year,
                "definition_digest": row.definition_digest,
                "anchor": aware(row.anchor),
                "covered_through": None if row.covered_through is None else aware(row.covered_through),
                "n_bars": row.n_bars,
                "stale_from": None,
            }
            for row in ordered
        ],
    )


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
    table, key = BARS[timeframe], key_column(timeframe)
    # a date-keyed bar's instant is midnight UTC of its date
    since, first, after = (
        ("v.stale_from", _YEAR_START, _NEXT_YEAR_START)
        if timeframe.is_intraday
        else (
            "(v.stale_from AT TIME ZONE 'UTC')::date",
            "make_date(l.year, 1, 1)",
            "make_date(l.year + 1, 1, 1)",
        )
    )
    rows = connection.execute(
        sa.text(f"""
            SELECT l.symbol, l.year, CASE WHEN v.definition_digest = :digest THEN changed.n ELSE l.n_bars END AS n
            FROM bar_ledger l
            LEFT JOIN analysis_coverage v
                ON v.symbol = l.symbol AND v.timeframe = l.timeframe AND v.year = l.year
            LEFT JOIN LATERAL (
                SELECT count(*)::int AS n FROM {table.name} bar
                WHERE v.stale_from IS NOT NULL AND bar.symbol = l.symbol
                    AND bar."{key.name}" >= greatest({since}, {first}) AND bar."{key.name}" < {after}
            ) changed ON v.definition_digest = :digest
            WHERE l.timeframe = :timeframe
                AND (cast(:symbols AS text[]) IS NULL OR l.symbol = ANY (cast(:symbols AS text[])))
                AND (
                    (v.definition_digest IS DISTINCT FROM :digest AND (l.n_bars > 0 OR v.n_bars > 0))
                    OR changed.n > 0
                    OR (v.stale_from IS NOT NULL AND v.n_bars > l.n_bars)
                )
            ORDER BY l.symbol, l.year
        """),
        {
            "timeframe": str(timeframe),
            "digest": digest,
            "symbols": None if symbols is None else sorted(set(symbols)),
        },
    )
    return [StalePartition(symbol, year, bars) for symbol, year, bars in rows]


_YEAR_START = "make_timestamptz(l.year, 1, 1, 0, 0, 0, 'America/New_York')"
_NEXT_YEAR_START = "make_timestamptz(l.year + 1, 1, 1, 0, 0, 0, 'America/New_York')"
