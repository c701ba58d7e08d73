"""How the bars of a partition came to be, and which derived partitions their input has outgrown."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.dialects.postgresql import insert

from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.bars import DERIVED
from tickstock_pipeline.storage.tables import BAR_PROVENANCE
from tickstock_pipeline.storage.texts import storable_text

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
    reason : why somebody other than the provider asked gave the bars, or why there are none
    n_provisional : of daily bars, how many are derived from minutes in place of the provider's own; they are not among
        the ``n_bars`` that a provider gave
    session_bars : of minutes, (366,) how many the provider gave for each day of the year; written, and read by
        :func:`read_session_bars` alone
    updated_at : when the row was written; read, not written
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
    reason: str | None = None
    n_provisional: int = 0
    session_bars: tuple[int, ...] | None = field(default=None, repr=False, compare=False)
    updated_at: datetime | None = field(default=None, compare=False)

    @property
    def is_derived(self) -> bool:
        """Whether no provider was asked for these bars."""
        return self.source.startswith(DERIVED)


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
    "reason",
    "n_provisional",
)


def derived_source(timeframe: Timeframe) -> str:
    """The source of bars that are rolled up from the finer timeframe's."""
    return f"{DERIVED}{timeframe.derived_from}"


def record_provenance(connection: sa.Connection, rows: Sequence[Provenance]) -> None:
    """Replace what is known of these partitions."""
    # by the clock, not by the transaction's begin: a transaction may wait for long
    _upsert(connection, rows, _as_given((*_FIELDS, "session_bars")) | {"updated_at": sa.func.clock_timestamp()})


def record_failures(connection: sa.Connection, rows: Sequence[Provenance]) -> None:
    """State that asking for these partitions failed; what was asked and given before stays known."""
    table, new = BAR_PROVENANCE.c, _INSERT.excluded
    was_derived = table.source.startswith(DERIVED)
    replaced = {
        "outcome": new.outcome,
        "error": new.error,
        # a partition that nobody had asked a provider for until now
        "source": sa.case((was_derived, new.source), else_=table.source),
        "n_bars": sa.case((was_derived, 0), else_=table.n_bars),
    }
    _upsert(connection, rows, replaced | {"updated_at": sa.func.clock_timestamp()})


def record_fill(connection: sa.Connection, rows: Sequence[Provenance]) -> None:
    """State how many bars of these imported partitions were derived, and from which input."""
    # not updated_at: that is when the provider answered
    _upsert(connection, rows, _as_given(("n_provisional", "input_revision", "unfinished_until")))


_INSERT = insert(BAR_PROVENANCE)


def _as_given(names: Sequence[str]) -> dict[str, sa.ColumnElement[Any]]:
    return {name: _INSERT.excluded[name] for name in names}


def _upsert(
    connection: sa.Connection, rows: Sequence[Provenance], replaced: Mapping[str, sa.ColumnElement[Any]]
) -> None:
    if not rows:
        return
    statement = _INSERT.on_conflict_do_update(index_elements=["symbol", "timeframe", "year"], set_=replaced)
    ordered = sorted(rows, key=lambda row: (row.symbol, row.timeframe, row.year))
    connection.execute(
        statement,
        [
            {"symbol": row.symbol, "timeframe": str(row.timeframe), "year": row.year}
            | {name: getattr(row, name) for name in _FIELDS}
            # what a provider has said may be in them
            | {name: text and storable_text(text) for name, text in (("error", row.error), ("reason", row.reason))}
            | {"session_bars": None if row.session_bars is None else list(row.session_bars)}
            for row in ordered
        ],
    )


def read_provenance(
    connection: sa.Connection, timeframe: Timeframe, symbols: Iterable[str] | None = None
) -> dict[Partition, Provenance]:
    """What is known of a timeframe's partitions, by symbol and year."""
    table = BAR_PROVENANCE
    columns = [table.c[name] for name in ("symbol", "year", *_FIELDS, "updated_at")]
    query = sa.select(*columns).where(table.c.timeframe == timeframe).order_by(table.c.symbol, table.c.year)
    if symbols is not None:
        query = query.where(table.c.symbol == sa.any_(sa.literal(list(symbols), sa.ARRAY(sa.Text))))
    return {
        Partition(row["symbol"], row["year"]): Provenance(
            symbol=row["symbol"],
            timeframe=timeframe,
            year=row["year"],
            updated_at=row["updated_at"],
            **{name: row[name] for name in _FIELDS},
        )
        for row in connection.execute(query).mappings()
    }


def read_session_bars(
    connection: sa.Connection, timeframe: Timeframe, partitions: Sequence[Partition]
) -> dict[Partition, NDArray[np.int64]]:
    """How many bars the provider gave for each day of the year, (366,); only of partitions of which that is known."""
    rows = connection.execute(
        sa.text("""
            SELECT symbol, year, session_bars
            FROM unnest(cast(:symbols AS text[]), cast(:years AS smallint[])) wanted (symbol, year)
            JOIN bar_provenance USING (symbol, year) WHERE timeframe = :timeframe AND session_bars IS NOT NULL
        """),
        {
            "symbols": [partition.symbol for partition in partitions],
            "years": [partition.year for partition in partitions],
            "timeframe": str(timeframe),
        },
    )
    return {Partition(symbol, year): np.array(counts, np.int64) for symbol, year, counts in rows}


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
    of which a period has ended since. Weekly and monthly bars that were imported are not derived, so they are not
    stale; imported days are filled in from minutes, where there are any.

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
                OR derived.source = :source AND derived.outcome = 'failed'
                OR (derived.source = :source OR :timeframe = 'daily')
                    AND (
                        -- without an input there was never anything to derive from
                        coalesce(derived.input_revision, 0) <> now_is.revision
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
