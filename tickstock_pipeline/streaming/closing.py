"""Coarser bars, live: rolled up from the stored finer ones once their period has closed, stored and analysed.

Rolling up is ``market.aggregation``, as in batch, and so are the source, the provenance and what is stored. A bar that
a provider gave stays as it is.
"""

from collections.abc import Mapping, Sequence
from datetime import date

import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.market.aggregation import roll_up
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.bars import read_bars
from tickstock_pipeline.storage.ledger import lock_free_inputs
from tickstock_pipeline.storage.live_rows import BarRow, bar_rows
from tickstock_pipeline.storage.live_work import (
    InputChange,
    OpenPeriod,
    add_open_periods,
    follow_input,
    note_rolled_up,
    remove_open_periods,
)
from tickstock_pipeline.storage.outbox import put
from tickstock_pipeline.storage.provenance import derived_source, roll_up_revisions
from tickstock_pipeline.streaming.committing import Attempt, Stored, committed
from tickstock_pipeline.streaming.desk import Desk
from tickstock_pipeline.streaming.periods import Period
from tickstock_pipeline.streaming.storing import write_bars_with_analysis

_DAY = np.timedelta64(1, "D")
_WIDEST = {Timeframe.WEEKLY: 7 * _DAY, Timeframe.MONTHLY: 31 * _DAY}
_MICROSECOND = np.timedelta64(1, "us")


def store_coarse(
    desk: Desk, timeframe: Timeframe, key: int, symbols: Sequence[str], *, is_analysed: bool, received_at: float
) -> Stored:
    """Make the bar of one closed period for some symbols.

    Parameters
    ----------
    key : of the bar, microseconds since 1970
    is_analysed : False leaves the analysis for later
    received_at : Unix seconds at which the period was seen to be closed

    Raises
    ------
    LeaseLostError
        If one of the shards has been taken over: nothing is stored.
    StorageError
        If the database does not answer.
    """
    window = desk.windows.at(timeframe, key)

    def write(connection: sa.Connection, chosen: Sequence[str], with_analysis: bool) -> Attempt:
        attempt = Attempt(window, chosen)
        desk.begin(connection, chosen)
        free = sorted(lock_free_inputs(connection, timeframe, chosen))
        attempt.deferred = set(chosen) - set(free)
        given = _rolled_up(connection, desk, timeframe, key, free)
        partitions = _derived_partitions(desk, timeframe, key, free)
        before = _revisions(connection, partitions)
        moment = desk.moment(timeframe, received_at)
        write_bars_with_analysis(connection, desk, attempt, given, moment, with_analysis=with_analysis, is_derived=True)
        attempt.closed = [OpenPeriod(symbol, timeframe, key) for symbol in free]
        remove_open_periods(connection, attempt.closed)
        note_rolled_up(connection, timeframe, free, window.year, _day(key))
        if timeframe is Timeframe.DAILY:
            _open_periods_of_days(connection, desk, attempt, before, partitions)
        attempt.outbox_id = put(connection, attempt.messages)
        return attempt

    return committed(desk, window, sorted(symbols), write, is_analysed=is_analysed)


def _rolled_up(
    connection: sa.Connection, desk: Desk, timeframe: Timeframe, key: int, symbols: Sequence[str]
) -> list[BarRow]:
    source = timeframe.derived_from
    if source is None:
        raise ValueError(f"{timeframe} bars are not derived from others")
    moment = np.datetime64(key, "us")
    if timeframe in _WIDEST:
        first, last = moment - _WIDEST[timeframe] + _DAY, moment
    else:
        first, last = moment, np.datetime64(desk.periods.end(timeframe, key), "us") - _MICROSECOND
    fine = read_bars(connection, source, symbols, first, last)
    rows = []
    for symbol in symbols:
        if symbol in fine:
            coarse = roll_up(fine[symbol], timeframe, desk.calendar)
            rows += bar_rows(coarse[coarse.time == moment], derived_source(timeframe))
    return rows


Derived = Mapping[Timeframe, tuple[Period, Sequence[Partition]]]
"""Timeframes derived from days: the period that a day belongs to, and the partitions whose input it is."""


def _derived_partitions(desk: Desk, timeframe: Timeframe, key: int, symbols: Sequence[str]) -> Derived:
    found: dict[Timeframe, tuple[Period, Sequence[Partition]]] = {}
    for period in desk.periods.of(timeframe, key):
        years = {_day(key).year, _day(period.key).year}
        found[period.timeframe] = period, [Partition(symbol, year) for symbol in symbols for year in sorted(years)]
    return found


def _revisions(connection: sa.Connection, derived: Derived) -> dict[Timeframe, dict[Partition, int]]:
    return {into: roll_up_revisions(connection, into, partitions) for into, (_, partitions) in derived.items()}


def _open_periods_of_days(
    connection: sa.Connection,
    desk: Desk,
    attempt: Attempt,
    before: Mapping[Timeframe, Mapping[Partition, int]],
    derived: Derived,
) -> None:
    changed: set[str] = {symbol for symbol, _ in attempt.written}
    after = _revisions(connection, derived)
    for into, (period, partitions) in derived.items():
        attempt.opened += [OpenPeriod(symbol, into, period.key) for symbol in sorted(changed)]
        changes = [
            InputChange(
                into,
                partition.symbol,
                partition.year,
                before[into][partition],
                after[into][partition],
                _day(period.key),
            )
            for partition in partitions
            if partition.symbol in changed
        ]
        follow_input(connection, changes)
    add_open_periods(connection, (period for period in attempt.opened if period not in desk.open_periods))


def _day(key: int) -> date:
    day: date = np.datetime64(key, "us").astype("datetime64[D]").item()
    return day
