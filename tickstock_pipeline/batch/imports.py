"""Bars from a provider into their table: fetch, validate, store with where they came from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.batch.commit import commit_together
from tickstock_pipeline.batch.outcome import Outcome, Status, in_order_of, judge, ledger_by_partition
from tickstock_pipeline.errors import ProviderError
from tickstock_pipeline.market.adjustment import Split
from tickstock_pipeline.market.aggregation import closed
from tickstock_pipeline.market.bar import joined
from tickstock_pipeline.market.calendar import TradingCalendar
from tickstock_pipeline.market.partition import Partition, years_by_symbol
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.base import FetchedBars, HistoricalProvider
from tickstock_pipeline.storage.bars import record_refused, write_bars
from tickstock_pipeline.storage.ledger import read_ledger
from tickstock_pipeline.storage.provenance import Provenance, record_provenance
from tickstock_pipeline.storage.splits import write_splits
from tickstock_pipeline.storage.symbols import add_symbols, read_symbols


@dataclass(frozen=True)
class _Fetched:
    """One symbol's answer, by year."""

    symbol: str
    years: dict[int, FetchedBars]
    splits: tuple[Split, ...]


def import_bars(
    engine: sa.Engine,
    provider: HistoricalProvider,
    calendar: TradingCalendar,
    timeframe: Timeframe,
    partitions: Sequence[Partition],
    *,
    now: datetime | None = None,
) -> list[Outcome]:
    """Fetch the bars of ``partitions`` and store what is new or different, in one transaction.

    Parameters
    ----------
    provider : where to fetch from; a timeframe that it does not have is an empty answer, not a failure
    now : UTC; bars whose period has not ended by then are left for later

    Returns
    -------
    One outcome a partition, in the order given. A symbol that the provider refuses or does not answer for fails with
    the provider's reason, and only it.
    """
    if timeframe not in provider.timeframes:
        facts: dict[str, int | float | str] = {
            "source": provider.name,
            "bars": 0,
            "note": f"{provider.name} has no {timeframe} bars",
        }
        return [Outcome(partition, Status.UNCHANGED, facts) for partition in partitions]
    moment = np.datetime64((now or datetime.now(UTC)).replace(tzinfo=None), "us")
    last_closed = date.fromisoformat(str(calendar.last_closed(moment)))
    # Of a session that has not ended, or that the provider does not have yet, nothing is kept: it is asked for again.
    through = {listing.symbol: min(listing.last, last_closed) for listing in provider.catalogue()}
    fetched: list[_Fetched] = []
    outcomes: list[Outcome] = []
    for symbol, years in sorted(years_by_symbol(partitions).items()):
        try:
            fetched.append(_fetch(provider, calendar, timeframe, symbol, years, moment))
        except ProviderError as error:
            outcomes += [Outcome(Partition(symbol, year), Status.FAILED, error=error.message) for year in years]
    # Of its own transaction: registering takes a lock that another import must not wait for while bars are written.
    with engine.begin() as connection:
        known = set(read_symbols(connection, active=None))
        found = {item.symbol for item in fetched} - known
        if found:
            add_symbols(connection, [symbol for symbol in years_by_symbol(partitions) if symbol in found])
    outcomes += commit_together(
        engine,
        fetched,
        lambda connection, items: _write(
            connection, provider.name, timeframe, items, lambda symbol: through.get(symbol, last_closed)
        ),
        lambda item: [Partition(item.symbol, year) for year in item.years],
    )
    _record_failures(engine, provider.name, timeframe, outcomes)
    return in_order_of(partitions, outcomes)


def _fetch(
    provider: HistoricalProvider,
    calendar: TradingCalendar,
    timeframe: Timeframe,
    symbol: str,
    years: Sequence[int],
    now: np.datetime64,
) -> _Fetched:
    answers = {}
    for year in years:
        answer = provider.fetch_bars(symbol, timeframe, date(year, 1, 1), date(year, 12, 31))
        answers[year] = replace(answer, bars=closed(answer.bars, calendar, now))
    return _Fetched(symbol, answers, provider.fetch_splits(symbol))


def _write(
    connection: sa.Connection,
    source: str,
    timeframe: Timeframe,
    items: Sequence[_Fetched],
    through: Callable[[str], date],
) -> list[Outcome]:
    symbols = [item.symbol for item in items]
    before = ledger_by_partition(read_ledger(connection, timeframe, symbols))
    write_splits(connection, [split for item in items for split in item.splits], source)
    write_bars(connection, [joined([answer.bars for answer in item.years.values()]) for item in items], source)
    record_refused(connection, [bar for item in items for year in item.years.values() for bar in year.refused], source)
    after = ledger_by_partition(read_ledger(connection, timeframe, symbols))
    outcomes = []
    provenance = []
    for item in items:
        for year, answer in item.years.items():
            partition = Partition(item.symbol, year)
            outcomes.append(
                judge(
                    partition,
                    before.get(partition),
                    after.get(partition),
                    source=source,
                    bars_fetched=len(answer.bars),
                    bars_refused=len(answer.refused),
                )
            )
            provenance.append(
                Provenance(
                    item.symbol,
                    timeframe,
                    year,
                    source=source,
                    outcome="complete" if len(answer.bars) else "empty",
                    n_bars=len(answer.bars),
                    n_refused=len(answer.refused),
                    requested_from=date(year, 1, 1),
                    requested_through=min(date(year, 12, 31), through(item.symbol)),
                )
            )
    record_provenance(connection, provenance)
    return outcomes


def _record_failures(engine: sa.Engine, source: str, timeframe: Timeframe, outcomes: Sequence[Outcome]) -> None:
    failed = [
        Provenance(
            outcome.partition.symbol, timeframe, outcome.partition.year, source, "failed", n_bars=0, error=outcome.error
        )
        for outcome in outcomes
        if outcome.status is Status.FAILED
    ]
    if failed:
        with engine.begin() as connection:
            record_provenance(connection, failed)
