"""Coarser bars from the finer ones in the tables.

Hours, weeks and months are always derived. Days are derived where the provider gave none: its own bar wins, since the
closing auction prints outside the minutes, and takes the derived one's place whenever it arrives.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import groupby

import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.batch.commit import commit_together
from tickstock_pipeline.batch.imports import SETTLED_AFTER
from tickstock_pipeline.batch.isolation import apart
from tickstock_pipeline.batch.outcome import Outcome, Status, in_order_of, judge, ledger_by_partition, ledger_facts
from tickstock_pipeline.batch.quality import refusal
from tickstock_pipeline.batch.windows import year_bounds
from tickstock_pipeline.market.aggregation import closed, roll_up
from tickstock_pipeline.market.bar import Bars, empty_bars, joined
from tickstock_pipeline.market.calendar import TradingCalendar, exchange_date
from tickstock_pipeline.market.partition import Partition, years_by_symbol
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.bars import delete_bars_except, read_bars, write_bars
from tickstock_pipeline.storage.instants import plain
from tickstock_pipeline.storage.ledger import read_ledger
from tickstock_pipeline.storage.provenance import (
    Provenance,
    derived_source,
    read_provenance,
    record_fill,
    record_provenance,
    roll_up_revisions,
)
from tickstock_pipeline.storage.quality import dates_given

# The first week of a year may begin on up to six days of the year before.
_DAYS_BEFORE = {Timeframe.WEEKLY: 7}
# Of coarse bars; a symbol's year of hours is 1,764.
_ROWS_A_WRITE = 20_000


@dataclass(frozen=True)
class _RolledUp:
    """One symbol's finished coarse bars by year, the finer ones' revision, and the key of the first unfinished.

    ``made_from`` has the years that a provider was asked for: what is derived there fills in.
    """

    symbol: str
    years: dict[int, Bars]
    revisions: dict[int, int]
    unfinished: dict[int, date | None]
    made_from: dict[int, Provenance | None]


def roll_up_bars(
    engine: sa.Engine,
    calendar: TradingCalendar,
    into: Timeframe,
    partitions: Sequence[Partition],
    *,
    now: datetime | None = None,
) -> list[Outcome]:
    """Derive the bars of ``partitions`` from the finer ones and store what is new or different.

    A partition whose finer bars have the revision that it was last made from is left alone, unread. A bar belongs to
    the year of its key, and is made only once its period has ended; a week or month, once its last day can have been
    imported. Minutes are read one symbol's year at a time.

    Parameters
    ----------
    now : UTC; when periods are judged

    Returns
    -------
    One outcome a partition, in the order given.
    """
    source = into.derived_from
    if source is None:
        raise ValueError(f"{into.value} bars are not derived from others")
    moment = plain(now or datetime.now(UTC))
    ended_by = moment - SETTLED_AFTER if source is Timeframe.DAILY else moment
    with engine.connect() as connection:
        made_from = read_provenance(connection, into, sorted({partition.symbol for partition in partitions}))
        # Before the bars: bars that come in between are a revision that is not recorded, so they are seen next time.
        revisions = roll_up_revisions(connection, into, partitions)
        stale = [
            partition
            for partition in partitions
            if _is_stale(into, made_from.get(partition), revisions[partition], moment.astype("datetime64[D]").item())
        ]
        outcomes = _unchanged(connection, into, set(partitions) - set(stale))
    waiting: list[_RolledUp] = []
    for years in _readings(source, stale):
        for item in _derive(engine, calendar, into, years, revisions, made_from, ended_by):
            if isinstance(item, Outcome):
                outcomes.append(item)
            else:
                waiting.append(item)
        if sum(len(bars) for one in waiting for bars in one.years.values()) >= _ROWS_A_WRITE:
            outcomes += _commit(engine, into, waiting)
            waiting = []
    outcomes += _commit(engine, into, waiting)
    return in_order_of(partitions, outcomes)


def _is_stale(into: Timeframe, made: Provenance | None, revision: int, today: date) -> bool:
    if made is None:
        return into is not Timeframe.DAILY or revision > 0
    if into is not Timeframe.DAILY and not made.is_derived:
        return False  # a provider's own bars win
    if (made.input_revision or 0) != revision:
        return True
    # A period may end without another bar in it.
    return made.unfinished_until is not None and made.unfinished_until < today


def _readings(source: Timeframe, stale: Sequence[Partition]) -> list[dict[str, list[int]]]:
    """Stale partitions, symbol -> years, in portions whose finer bars fit in memory."""
    if source is Timeframe.MINUTE:
        return [{symbol: [year]} for symbol, year in sorted(stale)]
    return [years_by_symbol(sorted(stale))] if stale else []


def _derive(
    engine: sa.Engine,
    calendar: TradingCalendar,
    into: Timeframe,
    years: Mapping[str, Sequence[int]],
    revisions: Mapping[Partition, int],
    made_from: Mapping[Partition, Provenance],
    now: np.datetime64,
) -> list[_RolledUp | Outcome]:
    """What could be derived, and the outcomes of what could not."""

    def derived(symbols: Sequence[str]) -> list[_RolledUp | Outcome]:
        bars = _read(engine, calendar, into, {symbol: years[symbol] for symbol in symbols})
        found: list[_RolledUp | Outcome] = []
        for symbol in symbols:
            reason = refusal(bars[symbol]) if symbol in bars else None
            found += [rolled_up(symbol, bars.get(symbol))] if reason is None else refused(symbol, reason)
        return found

    def refused(symbol: str, reason: str) -> list[Outcome]:
        return [Outcome(Partition(symbol, year), Status.FAILED, error=reason) for year in years[symbol]]

    def rolled_up(symbol: str, finer: Bars | None) -> _RolledUp:
        coarse = empty_bars(symbol, into) if finer is None else roll_up(finer, into, calendar)
        by_year = {year: _of_year(coarse, year) for year in years[symbol]}
        finished = {year: closed(of_year, calendar, now) for year, of_year in by_year.items()}
        return _RolledUp(
            symbol,
            finished,
            {year: revisions[Partition(symbol, year)] for year in by_year},
            {year: _first_unfinished(by_year[year], finished[year]) for year in by_year},
            {year: made_from.get(Partition(symbol, year)) for year in by_year},
        )

    return apart(
        list(years),
        derived,
        refused,
        lambda symbol: f"roll-up of {symbol}, {into} bars of {', '.join(map(str, years[symbol]))},",
    )


def _read(
    engine: sa.Engine, calendar: TradingCalendar, into: Timeframe, years: Mapping[str, Sequence[int]]
) -> dict[str, Bars]:
    """The finer bars that the symbols' years are made of; minutes of one partition only."""
    source = into.derived_from
    if source is None:
        return {}
    numbers = [year for found in years.values() for year in found]
    if source is not Timeframe.MINUTE:
        first = np.datetime64(date(min(numbers), 1, 1), "D")
        last = np.datetime64(date(max(numbers), 12, 31), "D")
        first -= np.timedelta64(_DAYS_BEFORE.get(into, 0), "D")
        with engine.connect() as connection:
            return read_bars(connection, source, sorted(years), first, last)
    ((symbol, (year,)),) = years.items()
    bounds = year_bounds(source, year)
    with engine.connect() as connection:
        if into is not Timeframe.DAILY:
            return read_bars(connection, source, [symbol], *bounds)
        span = date(year, 1, 1), date(year, 12, 31)
        lacking = np.setdiff1d(calendar.sessions(*span), dates_given(connection, [symbol], *span)[symbol])
        if not len(lacking):
            return {}
        bounds = calendar.opening(lacking[:1])[0], calendar.closing(lacking[-1:])[0]
        bars = read_bars(connection, source, [symbol], *bounds)
    return {symbol: found[np.isin(exchange_date(found.time), lacking)] for symbol, found in bars.items()}


def _first_unfinished(bars: Bars, finished: Bars) -> date | None:
    # Unfinished bars are the newest ones.
    if len(bars) == len(finished):
        return None
    day: date = bars.time[len(finished)].astype("datetime64[D]").item()
    return day


def _of_year(bars: Bars, year: int) -> Bars:
    return bars[(bars.time >= np.datetime64(f"{year}", "us")) & (bars.time < np.datetime64(f"{year + 1}", "us"))]


def _commit(engine: sa.Engine, into: Timeframe, items: Sequence[_RolledUp]) -> list[Outcome]:
    return commit_together(
        engine,
        items,
        lambda connection, some: _write(connection, into, some),
        lambda item: [Partition(item.symbol, year) for year in item.years],
        f"storing the {into} bars of",
    )


def _write(connection: sa.Connection, into: Timeframe, items: Sequence[_RolledUp]) -> list[Outcome]:
    symbols = list(dict.fromkeys(item.symbol for item in items))
    source = derived_source(into)
    before = ledger_by_partition(read_ledger(connection, into, symbols))
    pieces = groupby(items, key=lambda item: item.symbol)
    write_bars(
        connection, [joined([bars for one in found for bars in one.years.values()]) for _, found in pieces], source
    )
    after = ledger_by_partition(read_ledger(connection, into, symbols))
    # Finer bars that are gone leave nothing behind; the ledger knows where there are more bars than were derived.
    deleted = [
        delete_bars_except(connection, bars, *year_bounds(into, year), source)
        for item in items
        for year, bars in item.years.items()
        if (row := after.get(Partition(item.symbol, year))) is not None and row.n_bars > len(bars)
    ]
    if any(deleted):
        after = ledger_by_partition(read_ledger(connection, into, symbols))
    outcomes: list[Outcome] = []
    derived: list[Provenance] = []
    filled: list[Provenance] = []
    for item in items:
        for year, bars in item.years.items():
            partition = Partition(item.symbol, year)
            facts: dict[str, int | str] = {"source": source}
            if into is Timeframe.DAILY:
                facts["bars_from_minutes"] = len(bars)
            outcomes.append(judge(partition, before.get(partition), after.get(partition), **facts))
            imported = (made := item.made_from[year]) is not None and not made.is_derived
            (filled if imported else derived).append(
                Provenance(
                    item.symbol,
                    into,
                    year,
                    source,
                    "complete" if len(bars) else "empty",
                    n_bars=len(bars),
                    input_revision=item.revisions[year],
                    unfinished_until=item.unfinished[year],
                    n_provisional=len(bars) if into is Timeframe.DAILY else 0,
                )
            )
    record_provenance(connection, derived)
    record_fill(connection, filled)
    return outcomes


def _unchanged(connection: sa.Connection, into: Timeframe, partitions: set[Partition]) -> list[Outcome]:
    symbols = sorted({partition.symbol for partition in partitions})
    ledger = ledger_by_partition(read_ledger(connection, into, symbols))
    return [Outcome(found, Status.UNCHANGED, ledger_facts(ledger.get(found))) for found in partitions]
