"""Coarser bars from the finer ones in the tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.batch.commit import commit_together
from tickstock_pipeline.batch.outcome import Outcome, Status, in_order_of, judge, ledger_by_partition, ledger_facts
from tickstock_pipeline.batch.windows import year_bounds
from tickstock_pipeline.market.aggregation import closed, roll_up
from tickstock_pipeline.market.bar import Bars, empty_bars, joined
from tickstock_pipeline.market.calendar import TradingCalendar
from tickstock_pipeline.market.partition import Partition, years_by_symbol
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.bars import delete_bars_except, read_bars, write_bars
from tickstock_pipeline.storage.ledger import read_ledger
from tickstock_pipeline.storage.provenance import (
    Provenance,
    derived_source,
    read_provenance,
    record_provenance,
    roll_up_revisions,
)

# The first week of a year may begin on up to six days of the year before.
_DAYS_BEFORE = {Timeframe.WEEKLY: 7}


@dataclass(frozen=True)
class _RolledUp:
    """One symbol's finished coarse bars by year, the finer ones' revision, and the key of the first unfinished."""

    symbol: str
    years: dict[int, Bars]
    revisions: dict[int, int]
    unfinished: dict[int, date | None]


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
    the year of its key, and is made only once its period has ended.

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
    moment = np.datetime64((now or datetime.now(UTC)).replace(tzinfo=None), "us")
    with engine.connect() as connection:
        made_from = read_provenance(connection, into, sorted({partition.symbol for partition in partitions}))
        # Before the bars: bars that come in between are a revision that is not recorded, so they are seen next time.
        revisions = roll_up_revisions(connection, into, partitions)
        stale = [
            partition
            for partition in partitions
            if _is_stale(made_from.get(partition), revisions[partition], moment.astype("datetime64[D]").item())
        ]
        rolled_up = _derive(connection, calendar, source, into, stale, revisions, moment)
        unchanged = _unchanged(connection, into, set(partitions) - set(stale))
    written = commit_together(
        engine,
        rolled_up,
        lambda connection, items: _write(connection, into, items),
        lambda item: [Partition(item.symbol, year) for year in item.years],
    )
    return in_order_of(partitions, [*unchanged, *written])


def _is_stale(made: Provenance | None, revision: int, today: date) -> bool:
    if made is None:
        return True
    if made.source != derived_source(made.timeframe):
        return False  # a provider's own bars win
    if made.input_revision != revision:
        return True
    # A period may end without another bar in it.
    return made.unfinished_until is not None and made.unfinished_until < today


def _derive(
    connection: sa.Connection,
    calendar: TradingCalendar,
    source: Timeframe,
    into: Timeframe,
    stale: Sequence[Partition],
    revisions: Mapping[Partition, int],
    now: np.datetime64,
) -> list[_RolledUp]:
    if not stale:
        return []
    years = years_by_symbol(stale)
    first = np.datetime64(date(min(p.year for p in stale), 1, 1), "D") - np.timedelta64(_DAYS_BEFORE.get(into, 0), "D")
    # Minutes of the last session's evening belong to the next day in UTC; one day more does not hurt the others.
    last = np.datetime64(date(max(p.year for p in stale) + 1, 1, 2), "D")
    found = read_bars(connection, source, sorted(years), first, last)
    rolled_up = []
    for symbol in sorted(years):
        bars = found.get(symbol, empty_bars(symbol, source))
        coarse = roll_up(bars, into, calendar)
        by_year = {year: _of_year(coarse, year) for year in years[symbol]}
        finished = {year: closed(of_year, calendar, now) for year, of_year in by_year.items()}
        rolled_up.append(
            _RolledUp(
                symbol,
                finished,
                {year: revisions[Partition(symbol, year)] for year in years[symbol]},
                {year: _first_unfinished(by_year[year], finished[year]) for year in years[symbol]},
            )
        )
    return rolled_up


def _first_unfinished(bars: Bars, finished: Bars) -> date | None:
    # Unfinished bars are the newest ones.
    if len(bars) == len(finished):
        return None
    day: date = bars.time[len(finished)].astype("datetime64[D]").item()
    return day


def _of_year(bars: Bars, year: int) -> Bars:
    return bars[(bars.time >= np.datetime64(f"{year}", "us")) & (bars.time < np.datetime64(f"{year + 1}", "us"))]


def _write(connection: sa.Connection, into: Timeframe, items: Sequence[_RolledUp]) -> list[Outcome]:
    symbols = [item.symbol for item in items]
    source = derived_source(into)
    before = ledger_by_partition(read_ledger(connection, into, symbols))
    write_bars(connection, [joined(list(item.years.values())) for item in items], source)
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
    outcomes, provenance = [], []
    for item in items:
        for year, bars in item.years.items():
            partition = Partition(item.symbol, year)
            outcomes.append(judge(partition, before.get(partition), after.get(partition), source=source))
            provenance.append(
                Provenance(
                    item.symbol,
                    into,
                    year,
                    source,
                    "complete" if len(bars) else "empty",
                    n_bars=len(bars),
                    input_revision=item.revisions[year],
                    unfinished_until=item.unfinished[year],
                )
            )
    record_provenance(connection, provenance)
    return outcomes


def _unchanged(connection: sa.Connection, into: Timeframe, partitions: set[Partition]) -> list[Outcome]:
    symbols = sorted({partition.symbol for partition in partitions})
    ledger = ledger_by_partition(read_ledger(connection, into, symbols))
    return [Outcome(found, Status.UNCHANGED, ledger_facts(ledger.get(found))) for found in partitions]
