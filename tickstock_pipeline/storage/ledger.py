"""The ledger of stored bars, and the protocol by which an analysis knows that its input has not changed.

The ledger is written by the triggers of the bar tables only. Whoever computes something from bars and stores it:

1. reads :func:`input_revisions`,
2. reads the bars and the splits, and computes,
3. in the transaction that stores the result, calls :func:`lock_inputs`: from there to the commit no bar of these
   series can be committed. If a symbol's revision is not the one of step 1, its bars changed meanwhile: leave its
   result out and begin again with it.

Revisions come before bars: bars read later can only be newer than the revision says, never older. A transaction that
writes bars and their analysis calls :func:`lock_inputs` before it writes the bars, or two of them could wait for each
other.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.tables import BAR_LEDGER


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """What is stored of one symbol's year; ``first_time`` and ``last_time`` are None where nothing is."""

    symbol: str
    timeframe: Timeframe
    year: int
    n_bars: int
    first_time: datetime | None
    last_time: datetime | None
    revision: int


def read_ledger(
    connection: sa.Connection, timeframe: Timeframe, symbols: Sequence[str] | None = None
) -> list[LedgerRow]:
    """The years of each symbol, by symbol and year; a year whose bars were all deleted has a row with 0 bars."""
    ledger = BAR_LEDGER
    query = sa.select(ledger).where(ledger.c.timeframe == timeframe).order_by(ledger.c.symbol, ledger.c.year)
    if symbols is not None:
        query = query.where(ledger.c.symbol == sa.any_(sa.literal(list(symbols), sa.ARRAY(sa.Text))))
    return [
        LedgerRow(row.symbol, timeframe, row.year, row.n_bars, row.first_time, row.last_time, row.revision)
        for row in connection.execute(query)
    ]


def recently_stored(connection: sa.Connection, timeframe: Timeframe, days: int) -> list[str]:
    """The symbols whose newest bar is at most so many days old."""
    ledger = BAR_LEDGER.c
    query = (
        sa.select(ledger.symbol)
        .distinct()
        .where(
            ledger.timeframe == timeframe.value, ledger.last_time > sa.func.now() - sa.func.make_interval(0, 0, 0, days)
        )
    )
    return list(connection.scalars(query.order_by(ledger.symbol)))


def input_timeframes(timeframe: Timeframe) -> tuple[Timeframe, ...]:
    """The series that the analysis of a timeframe depends on.

    Weekly and monthly analysis reads daily bars, adjusts them for splits and rolls them up; the stored weekly or
    monthly bars count as well, since they are what coverage is compared with.
    """
    if timeframe in (Timeframe.WEEKLY, Timeframe.MONTHLY):
        return (Timeframe.DAILY, timeframe)
    return (timeframe,)


def input_revisions(
    connection: sa.Connection,
    timeframe: Timeframe,
    symbols: Iterable[str],
    first_year: int | None,
    last_year: int | None,
) -> dict[str, int]:
    """A number for each symbol that rises with every change of its bars or splits in the years given.

    Parameters
    ----------
    timeframe : that of the analysis; see :func:`input_timeframes`
    first_year, last_year : both included, years on the exchange's clock; None is open

    Returns
    -------
    The sum over the ledger rows, 0 where there is none. Not the greatest of them: a transaction that draws its
    revision early may commit late, under one already seen.
    """
    wanted = sorted(set(symbols))
    ledger = BAR_LEDGER.c
    conditions = [
        ledger.symbol == sa.any_(sa.literal(wanted, sa.ARRAY(sa.Text))),
        ledger.timeframe.in_([str(one) for one in input_timeframes(timeframe)]),
    ]
    if first_year is not None:
        conditions.append(ledger.year >= first_year)
    if last_year is not None:
        conditions.append(ledger.year <= last_year)
    rows = connection.execute(
        sa.select(ledger.symbol, sa.func.sum(ledger.revision)).where(*conditions).group_by(ledger.symbol)
    )
    return dict.fromkeys(wanted, 0) | {symbol: int(revision) for symbol, revision in rows}


def lock_inputs(
    connection: sa.Connection,
    timeframe: Timeframe,
    symbols: Iterable[str],
    first_year: int | None,
    last_year: int | None,
) -> dict[str, int]:
    """Keep others from committing bars or splits of these symbols until this transaction ends.

    Waits for writers that have begun. Two analyses of the same series exclude each other as well.

    Returns
    -------
    :func:`input_revisions` as of now.
    """
    wanted = sorted(set(symbols))
    parameters = {"symbols": wanted, "timeframes": [str(one) for one in input_timeframes(timeframe)]}
    connection.execute(_ADD_SERIES, parameters)
    connection.execute(_LOCK_SERIES, parameters)
    # a statement of its own: it sees what was committed while the one before waited
    return input_revisions(connection, timeframe, wanted, first_year, last_year)


@dataclass(frozen=True, slots=True)
class InputState:
    """What the ledger says of the input of one symbol's analysis.

    Attributes
    ----------
    revision : as :func:`input_revisions` gives it
    year_revision : that of the last year's own bars alone; 0: none was ever stored
    n_bars : own bars stored of the last year
    """

    revision: int
    year_revision: int
    n_bars: int


def input_states(
    connection: sa.Connection, timeframe: Timeframe, symbols: Iterable[str], first_year: int | None, last_year: int
) -> dict[str, InputState]:
    """:func:`input_revisions`, and what is stored of the last year, in one question."""
    wanted = sorted(set(symbols))
    rows = connection.execute(
        _INPUT_STATES,
        {
            "symbols": wanted,
            "timeframe": str(timeframe),
            "timeframes": [str(one) for one in input_timeframes(timeframe)],
            "first_year": first_year or 0,
            "last_year": last_year,
        },
    )
    found = {symbol: InputState(int(revision), int(of_year), int(n_bars)) for symbol, revision, of_year, n_bars in rows}
    return {symbol: found.get(symbol, InputState(0, 0, 0)) for symbol in wanted}


def lock_free_inputs(connection: sa.Connection, timeframe: Timeframe, symbols: Iterable[str]) -> set[str]:
    """Lock like :func:`lock_inputs`, but do not wait for series that others have locked, only for one being added.

    Returns
    -------
    The symbols that are locked; the others are being written or analysed by somebody else at the moment.
    """
    wanted = sorted(set(symbols))
    timeframes = [str(one) for one in input_timeframes(timeframe)]
    parameters = {"symbols": wanted, "timeframes": timeframes}
    found = set(connection.scalars(_LOCK_FREE_SERIES, parameters | {"n": len(timeframes)}))
    if len(found) < len(wanted):
        # not there yet, or not free
        connection.execute(_ADD_SERIES, parameters)
        found = set(connection.scalars(_LOCK_FREE_SERIES, parameters | {"n": len(timeframes)}))
    return found


_ADD_SERIES = sa.text("""
    INSERT INTO bar_series (symbol, timeframe)
    SELECT symbol, timeframe FROM unnest(cast(:symbols AS text[])) symbol
    CROSS JOIN unnest(cast(:timeframes AS text[])) timeframe ORDER BY 1, 2
    ON CONFLICT DO NOTHING
""")
_LOCK_SERIES = sa.text("""
    SELECT count(*) FROM (
        SELECT FROM bar_series WHERE symbol = ANY (:symbols) AND timeframe = ANY (:timeframes)
        ORDER BY symbol, timeframe FOR UPDATE
    ) locked
""")
_LOCK_FREE_SERIES = sa.text("""
    SELECT symbol FROM (
        SELECT symbol FROM bar_series WHERE symbol = ANY (:symbols) AND timeframe = ANY (:timeframes)
        ORDER BY symbol, timeframe FOR UPDATE SKIP LOCKED
    ) locked GROUP BY symbol HAVING count(*) = :n
""")
_INPUT_STATES = sa.text("""
    SELECT symbol, sum(revision),
        coalesce(sum(revision) FILTER (WHERE timeframe = :timeframe AND year = :last_year), 0),
        coalesce(sum(n_bars) FILTER (WHERE timeframe = :timeframe AND year = :last_year), 0)
    FROM bar_ledger
    WHERE symbol = ANY (:symbols) AND timeframe = ANY (:timeframes) AND year BETWEEN :first_year AND :last_year
    GROUP BY symbol
""")
