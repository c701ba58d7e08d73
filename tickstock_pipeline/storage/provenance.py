"""How the bars of a partition came to be, and which derived partitions their input has outgrown."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.tables import BAR_PROVENANCE

ImportOutcome = Literal["complete", "partial", "empty", "failed"]


@dataclass(frozen=True, slots=True)
class Provenance:
    """How the bars of one partition came to be, the last time that somebody tried.

    Attributes
    ----------
    source : the provider, or :func:`derived_source`
    n_bars, n_refused : bars given by the source that were valid, and that were quarantined
    input_revision : for derived bars, :func:`roll_up_revisions` as read before the input's bars
    unfinished_until : for derived bars, the last day of the first period that had not ended and was left out
    requested_from, requested_through : the dates asked of a provider
    """

    symbol: str
    timeframe: Timeframe
    year: int
    source: str
    outcome: ImportOutcome
    n_bars: int
    n_refused: int = 0
    input_revision: int | None = None
    unfinished_until: date | None = None
    requested_from: date | None = None
    requested_through: date | None = None
    error: str | None = None


_FIELDS = (
    "source",
    "outcome",
    "n_bars",
    "n_refused",
    "input_revision",
    "unfinished_until",
    "requested_from",
    "requested_through",
    "error",
)


def derived_source(timeframe: Timeframe) -> str:
    """The source of bars that are rolled up from the finer timeframe's."""
    return f"derived:{timeframe.derived_from}"


def record_provenance(connection: sa.Connection, rows: Sequence[Provenance]) -> None:
    """Replace what is known of these partitions."""
    if not rows:
        return
    statement = insert(BAR_PROVENANCE)
    statement = statement.on_conflict_do_update(
        index_elements=["symbol", "timeframe", "year"],
        set_={name: statement.excluded[name] for name in _FIELDS} | {"updated_at": sa.func.now()},
    )
    ordered = sorted(rows, key=lambda row: (row.symbol, row.timeframe, row.year))
    connection.execute(
        statement,
        [
            {"symbol": row.symbol, "timeframe": str(row.timeframe), "year": row.year}
            | {name: getattr(row, name) for name in _FIELDS}
            for row in ordered
        ],
    )


def read_provenance(
    connection: sa.Connection, timeframe: Timeframe, symbols: Iterable[str] | None = None
) -> dict[Partition, Provenance]:
    """What is known of a timeframe's partitions, by symbol and year."""
    table = BAR_PROVENANCE
    query = sa.select(table).where(table.c.timeframe == timeframe).order_by(table.c.symbol, table.c.year)
    if symbols is not None:
        query = query.where(table.c.symbol == sa.any_(sa.literal(list(symbols), sa.ARRAY(sa.Text))))
    return {
        Partition(row["symbol"], row["year"]): Provenance(
            symbol=row["symbol"],
            timeframe=timeframe,
            year=row["year"],
            **{name: row[name] for name in _FIELDS},
        )
        for row in connection.execute(query).mappings()
    }


def roll_up_revisions(
    connection: sa.Connection, timeframe: Timeframe, partitions: Sequence[Partition]
) -> dict[Partition, int]:
    """A number for each derived partition that rises with every change of the bars it is derived from.

    Read it before those bars, and store it as their ``input_revision``.

    Raises
    ------
    ValueError
        If the timeframe is not derived from another.
    """
    wanted = sorted(set(partitions))
    rows = connection.execute(
        sa.text("""
            SELECT wanted.symbol, wanted.year, coalesce(sum(input.revision), 0)::bigint
            FROM unnest(cast(:symbols AS text[]), cast(:years AS int[])) wanted (symbol, year)
            LEFT JOIN bar_ledger input ON input.symbol = wanted.symbol AND input.timeframe = :input
                AND input.year BETWEEN wanted.year - :years_before AND wanted.year
            GROUP BY 1, 2
        """),
        {
            "symbols": [partition.symbol for partition in wanted],
            "years": [partition.year for partition in wanted],
            **_roll_up(timeframe),
        },
    )
    return {Partition(symbol, year): revision for symbol, year, revision in rows}


def stale_roll_ups(connection: sa.Connection, timeframe: Timeframe) -> list[Partition]:
    """The partitions to derive again, by symbol and year.

    Those whose input has bars and that were never derived, whose derivation failed, whose input has changed since, or
    of which a period has ended since.
    A partition whose bars were imported is not derived, so it is not stale.

    Raises
    ------
    ValueError
        If the timeframe is not derived from another.
    """
    rows = connection.execute(
        sa.text("""
            WITH input AS (
                SELECT symbol, year, n_bars, last_time, revision FROM bar_ledger WHERE timeframe = :input
            ), derivable AS (
                SELECT symbol, year FROM input WHERE n_bars > 0
                UNION
                -- the last week of a year may end in the next one, which need not have a bar of its own
                SELECT symbol, (year + 1)::smallint FROM input
                WHERE n_bars > 0 AND :years_before > 0 AND year < extract(year FROM now() AT TIME ZONE 'UTC')
                    AND extract(year FROM date_trunc('week', last_time AT TIME ZONE 'UTC') + interval '4 days') > year
                UNION
                SELECT symbol, year FROM bar_provenance WHERE timeframe = :timeframe
            )
            SELECT derivable.symbol, derivable.year
            FROM derivable
            LEFT JOIN bar_provenance derived ON derived.symbol = derivable.symbol
                AND derived.timeframe = :timeframe AND derived.year = derivable.year
            CROSS JOIN LATERAL (
                SELECT coalesce(sum(input.revision), 0) AS revision FROM bar_ledger input
                WHERE input.symbol = derivable.symbol AND input.timeframe = :input
                    AND input.year BETWEEN derivable.year - :years_before AND derivable.year
            ) now_is
            WHERE derived.symbol IS NULL
                OR derived.source = :source
                    AND (
                        derived.outcome = 'failed'
                        OR derived.input_revision IS DISTINCT FROM now_is.revision
                        -- a period may end without another bar in it
                        OR derived.unfinished_until < (now() AT TIME ZONE 'UTC')::date
                    )
            ORDER BY derivable.symbol, derivable.year
        """),
        {"timeframe": str(timeframe), "source": derived_source(timeframe), **_roll_up(timeframe)},
    )
    return [Partition(symbol, year) for symbol, year in rows]


def _roll_up(timeframe: Timeframe) -> dict[str, str | int]:
    if timeframe.derived_from is None:
        raise ValueError(f"{timeframe} bars are not derived from others")
    # the first week of a year may begin in the year before
    return {"input": str(timeframe.derived_from), "years_before": int(timeframe is Timeframe.WEEKLY)}
