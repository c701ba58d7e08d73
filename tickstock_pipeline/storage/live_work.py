"""What the live path has begun and not finished, durable, so that a successor finds it.

Bars stored without analysis, coarser periods not yet rolled up, and how far derived bars have followed their input.
"""

from collections.abc import Iterable, Sequence
from datetime import date
from typing import NamedTuple

import sqlalchemy as sa

from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.live_rows import INSTANT, BarKey
from tickstock_pipeline.storage.provenance import derived_source


class OpenPeriod(NamedTuple):
    """A coarse bar that is to be made; ``period`` is its key in microseconds since 1970."""

    symbol: str
    timeframe: Timeframe
    period: int


class InputChange(NamedTuple):
    """What the live path did to the input of one derived partition.

    Attributes
    ----------
    into : the derived timeframe
    before, after : ``roll_up_revisions`` before and after; 0 before: there was no bar yet
    unfinished_until : the last day of the period that is not rolled up yet
    """

    into: Timeframe
    symbol: str
    year: int
    before: int
    after: int
    unfinished_until: date


def add_to_backlog(connection: sa.Connection, timeframe: Timeframe, keys: Sequence[BarKey]) -> None:
    """Note that these bars are stored without analysis."""
    if keys:
        connection.execute(
            sa.text(f"""
                INSERT INTO live_backlog (symbol, timeframe, bar_time)
                SELECT symbol, :timeframe, {INSTANT.format("time")}
                FROM unnest(cast(:symbols AS text[]), cast(:times AS bigint[])) AS new (symbol, time)
                ORDER BY 1, 3 ON CONFLICT DO NOTHING
            """),
            {"timeframe": str(timeframe), **_columns(keys)},
        )


def read_backlog(
    connection: sa.Connection, timeframe: Timeframe, symbols: Iterable[str]
) -> dict[str, list[tuple[int, float]]]:
    """The bars without analysis of these symbols, oldest first: (time in microseconds, seconds since it was stored)."""
    rows = connection.execute(
        sa.text("""
            SELECT symbol, (extract(epoch FROM bar_time) * 1000000)::bigint,
                extract(epoch FROM clock_timestamp() - stored_at)::float8
            FROM live_backlog WHERE timeframe = :timeframe AND symbol = ANY (:symbols) ORDER BY symbol, bar_time
        """),
        {"timeframe": str(timeframe), "symbols": sorted(set(symbols))},
    )
    found: dict[str, list[tuple[int, float]]] = {}
    for symbol, time, age in rows:
        found.setdefault(symbol, []).append((time, age))
    return found


def clear_backlog(connection: sa.Connection, timeframe: Timeframe, keys: Sequence[BarKey]) -> None:
    """Note that these bars have been analysed."""
    if keys:
        connection.execute(
            sa.text(f"""
                DELETE FROM live_backlog USING unnest(cast(:symbols AS text[]), cast(:times AS bigint[]))
                    AS done (symbol, time)
                WHERE live_backlog.symbol = done.symbol AND timeframe = :timeframe
                    AND bar_time = {INSTANT.format("done.time")}
            """),
            {"timeframe": str(timeframe), **_columns(keys)},
        )


def backlog_symbols(connection: sa.Connection) -> list[tuple[str, Timeframe]]:
    """Every series with bars without analysis."""
    rows = connection.execute(sa.text("SELECT DISTINCT symbol, timeframe FROM live_backlog ORDER BY 2, 1"))
    return [(symbol, Timeframe(timeframe)) for symbol, timeframe in rows]


def add_open_periods(connection: sa.Connection, periods: Iterable[OpenPeriod]) -> None:
    """Note that these coarse bars are to be made, or made again."""
    ordered = sorted(periods)
    if ordered:
        connection.execute(
            sa.text(f"""
                INSERT INTO open_periods (symbol, timeframe, period)
                SELECT symbol, timeframe, {INSTANT.format("time")}
                FROM unnest(cast(:symbols AS text[]), cast(:timeframes AS text[]), cast(:times AS bigint[]))
                    AS new (symbol, timeframe, time)
                ORDER BY 1, 2, 3 ON CONFLICT DO NOTHING
            """),
            _period_columns(ordered),
        )


def read_open_periods(connection: sa.Connection) -> list[OpenPeriod]:
    """Every coarse bar that is to be made."""
    rows = connection.execute(
        sa.text("SELECT symbol, timeframe, (extract(epoch FROM period) * 1000000)::bigint FROM open_periods")
    )
    return [OpenPeriod(symbol, Timeframe(timeframe), period) for symbol, timeframe, period in rows]


def remove_open_periods(connection: sa.Connection, periods: Sequence[OpenPeriod]) -> None:
    """Note that these coarse bars are made."""
    if periods:
        connection.execute(
            sa.text(f"""
                DELETE FROM open_periods USING unnest(
                    cast(:symbols AS text[]), cast(:timeframes AS text[]), cast(:times AS bigint[])
                ) AS done (symbol, timeframe, time)
                WHERE open_periods.symbol = done.symbol AND open_periods.timeframe = done.timeframe
                    AND period = {INSTANT.format("done.time")}
            """),
            _period_columns(periods),
        )


def follow_input(connection: sa.Connection, changes: Sequence[InputChange]) -> None:
    """Let what is known of derived partitions follow a change of their input.

    A partition that was derived from all of its input before the change has all of it now, except for the period that
    :func:`add_open_periods` has noted. One that had not stays as it is: it is stale, and will be derived as a whole.
    One whose bars were imported is left alone.
    """
    if changes:
        connection.execute(
            _FOLLOW_INPUT,
            {
                "symbols": [change.symbol for change in changes],
                "timeframes": [change.into.value for change in changes],
                "sources": [derived_source(change.into) for change in changes],
                "years": [change.year for change in changes],
                "befores": [change.before for change in changes],
                "afters": [change.after for change in changes],
                "days": [change.unfinished_until.isoformat() for change in changes],
            },
        )


def note_rolled_up(
    connection: sa.Connection, into: Timeframe, symbols: Sequence[str], year: int, through: date
) -> None:
    """Bring the count of derived bars and the first unfinished day of these partitions up to date.

    Call it after :func:`remove_open_periods`, in the same transaction.

    Parameters
    ----------
    through : last day of the period just rolled up; a later unfinished one that a batch has noted stays noted
    """
    connection.execute(
        sa.text("""
            UPDATE bar_provenance made SET
                n_bars = coalesce((
                    SELECT n_bars FROM bar_ledger l
                    WHERE l.symbol = made.symbol AND l.timeframe = made.timeframe AND l.year = made.year
                ), 0),
                unfinished_until = least(
                    CASE WHEN made.unfinished_until > :through THEN made.unfinished_until END,
                    (
                        SELECT min((open.period AT TIME ZONE 'UTC')::date) FROM open_periods open
                        WHERE open.symbol = made.symbol AND open.timeframe = made.timeframe
                            AND extract(year FROM open.period AT TIME ZONE 'UTC') = made.year
                    )
                ),
                updated_at = now()
            WHERE made.symbol = ANY (:symbols) AND made.timeframe = :timeframe AND made.year = :year
                AND made.source = :source
        """),
        {
            "timeframe": str(into),
            "symbols": list(symbols),
            "year": year,
            "source": derived_source(into),
            "through": through,
        },
    )


def _columns(keys: Sequence[BarKey]) -> dict[str, list[str] | list[int]]:
    return {"symbols": [symbol for symbol, _ in keys], "times": [time for _, time in keys]}


def _period_columns(periods: Sequence[OpenPeriod]) -> dict[str, list[str] | list[int]]:
    return {
        "symbols": [one.symbol for one in periods],
        "timeframes": [str(one.timeframe) for one in periods],
        "times": [one.period for one in periods],
    }


_FOLLOW_INPUT = sa.text("""
    WITH change AS MATERIALIZED (
        SELECT * FROM unnest(
            cast(:symbols AS text[]), cast(:timeframes AS text[]), cast(:sources AS text[]),
            cast(:years AS smallint[]), cast(:befores AS bigint[]), cast(:afters AS bigint[]), cast(:days AS date[])
        ) AS given (symbol, timeframe, source, year, before, after, unfinished_until)
    ), locked AS (
        SELECT made.symbol, made.timeframe, made.year FROM bar_provenance made
        JOIN change USING (symbol, timeframe, year)
        WHERE made.source = change.source AND made.outcome <> 'failed' AND made.input_revision = change.before
        ORDER BY 1, 2, 3 FOR UPDATE OF made
    ), followed AS (
        UPDATE bar_provenance made SET
            input_revision = change.after,
            unfinished_until = least(made.unfinished_until, change.unfinished_until), updated_at = now()
        FROM change JOIN locked USING (symbol, timeframe, year)
        WHERE made.symbol = change.symbol AND made.timeframe = change.timeframe AND made.year = change.year
    )
    INSERT INTO bar_provenance
        (symbol, timeframe, year, source, outcome, n_bars, input_revision, unfinished_until)
    SELECT symbol, timeframe, year, source, 'complete', 0, after, unfinished_until FROM change WHERE before = 0
    ORDER BY symbol, timeframe, year ON CONFLICT DO NOTHING
""")
