"""Which bars have been committed since somebody last looked, whoever wrote them.

A *position* is a snapshot of PostgreSQL as text: which transactions had ended when it was taken. Each row of the ledger
carries the transaction that last changed its bars, so what a later look finds and the snapshot could not see is exactly
what was committed in between: also by a transaction that began long before and was still running at the first look.
Nothing waits for the oldest running transaction, and no clock is asked.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.automation_tables import REPORTED_BARS


@dataclass(frozen=True, slots=True)
class ChangedBars:
    """A partition whose bars have changed.

    Attributes
    ----------
    last_time : of its newest bar; None where all were deleted
    revision : of the ledger
    is_imported : a run of ours wrote them, and nobody since
    reported_revision, reported_session : when Dagster was last told of bars that somebody else wrote; None: never
    """

    symbol: str
    timeframe: Timeframe
    year: int
    n_bars: int
    first_time: datetime | None
    last_time: datetime | None
    revision: int
    is_imported: bool
    reported_revision: int | None
    reported_session: date | None

    @property
    def partition(self) -> Partition:
        """Its place on the grid."""
        return Partition(self.symbol, self.year)


def changed_bars(connection: sa.Connection, position: str | None) -> tuple[str, list[ChangedBars]]:
    """What was committed since ``position``, and the position of now.

    Parameters
    ----------
    position : of an earlier call; None: everything that is stored. One of another server, as a restored database may
        have it, counts as None

    Returns
    -------
    The new position; the changed partitions by symbol, timeframe and year.
    """
    # the snapshot and the rows are those of one statement
    rows = connection.execute(_CHANGED, {"position": position}).all()
    return rows[0].position, [
        ChangedBars(row.symbol, Timeframe(row.timeframe), *row[3:]) for row in rows if row.symbol is not None
    ]


def record_imported(
    connection: sa.Connection, timeframe: Timeframe, revisions: Iterable[tuple[Partition, int]]
) -> None:
    """State that a run of ours has written these partitions, up to these revisions of the ledger."""
    statement = insert(REPORTED_BARS)
    _upsert(
        connection,
        statement.on_conflict_do_update(
            index_elements=["symbol", "timeframe", "year"],
            set_={"imported_revision": statement.excluded.imported_revision},
        ),
        [
            {
                "symbol": partition.symbol,
                "timeframe": str(timeframe),
                "year": partition.year,
                "imported_revision": revision,
            }
            for partition, revision in sorted(revisions)
        ],
    )


def record_reported(connection: sa.Connection, changed: Sequence[ChangedBars], session: date) -> None:
    """State that Dagster has been told of these bars in a session."""
    statement = insert(REPORTED_BARS)
    _upsert(
        connection,
        statement.on_conflict_do_update(
            index_elements=["symbol", "timeframe", "year"],
            set_={name: statement.excluded[name] for name in ("reported_revision", "reported_session")},
        ),
        [
            {
                "symbol": one.symbol,
                "timeframe": str(one.timeframe),
                "year": one.year,
                "reported_revision": one.revision,
                "reported_session": session,
            }
            for one in sorted(changed, key=lambda one: (one.symbol, one.timeframe, one.year))
        ],
    )


def imported_only(connection: sa.Connection, timeframe: Timeframe) -> set[Partition]:
    """Partitions that nobody but runs of ours has written, of series of which nothing was ever analysed.

    Whoever imported them did not ask for their analysis.
    """
    rows = connection.execute(
        sa.text("""
            SELECT symbol, year FROM reported_bars reported
            JOIN bar_ledger ledger USING (symbol, timeframe, year)
            WHERE timeframe = :timeframe AND reported.imported_revision = ledger.revision
                AND NOT EXISTS (
                    SELECT FROM analysis_coverage known
                    WHERE known.symbol = ledger.symbol AND known.timeframe = ledger.timeframe
                )
        """),
        {"timeframe": str(timeframe)},
    )
    return {Partition(symbol, year) for symbol, year in rows}


def hold_reporting(connection: sa.Connection) -> bool:
    """Be the only one who reports until the transaction ends; False: somebody else is."""
    return bool(connection.scalar(sa.text("SELECT pg_try_advisory_xact_lock(hashtext('tickstock reported_bars'))")))


def _upsert(connection: sa.Connection, statement: sa.Executable, rows: list[dict[str, object]]) -> None:
    if rows:
        connection.execute(statement, rows)


_CHANGED = sa.text("""
    WITH here AS (
        SELECT pg_current_snapshot() AS now_is, known.position FROM (
            SELECT CASE
                WHEN pg_snapshot_xmax(given.position) <= pg_snapshot_xmax(pg_current_snapshot()) THEN given.position
            END AS position
            FROM (SELECT cast(:position AS pg_snapshot) AS position) given
        ) known
    )
    SELECT here.now_is::text AS position, ledger.symbol, ledger.timeframe, ledger.year, ledger.n_bars,
        ledger.first_time, ledger.last_time, ledger.revision,
        coalesce(reported.imported_revision = ledger.revision, false),
        reported.reported_revision, reported.reported_session
    FROM here
    LEFT JOIN bar_ledger ledger
        -- a position that has not been reached yet is another server's
        ON ledger.position < pg_snapshot_xmax(here.now_is)
        AND (here.position IS NULL OR NOT pg_visible_in_snapshot(ledger.position, here.position))
    LEFT JOIN reported_bars reported USING (symbol, timeframe, year)
    ORDER BY ledger.symbol, ledger.timeframe, ledger.year
""")
