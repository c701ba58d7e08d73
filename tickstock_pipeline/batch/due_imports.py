"""Days that a provider has by now and that nobody has asked it for."""

from datetime import UTC, date, datetime, timedelta

import sqlalchemy as sa

from tickstock_pipeline.batch.imports import SETTLED_AFTER, last_settled
from tickstock_pipeline.market.calendar import TradingCalendar
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.base import HistoricalProvider
from tickstock_pipeline.storage.instants import plain
from tickstock_pipeline.storage.provenance import read_provenance
from tickstock_pipeline.storage.symbols import read_symbols

# An unknown symbol, a plan that does not cover it, or has a day once it is over, costs a request at each try.
_RESTS = timedelta(hours=3)


def due_days(
    connection: sa.Connection, provider: HistoricalProvider, calendar: TradingCalendar, now: datetime
) -> list[Partition]:
    """This year's daily bars of active symbols whose days the provider was asked for before, by symbol.

    Due once a session has ended and settled; not where the provider's history of the symbol has ended, and not where
    the last try failed within three hours, or brought everything but the day.
    """
    ended = last_settled(calendar, now)
    settled = calendar.closing(ended) + SETTLED_AFTER
    last_listed = {listing.symbol: listing.last for listing in provider.catalogue()}
    symbols = read_symbols(connection)
    newest: dict[str, date] = {}
    rests: set[str] = set()
    for partition, made in read_provenance(connection, Timeframe.DAILY, symbols).items():
        if made.is_derived:
            continue
        asked = made.requested_through or date.min
        newest[partition.symbol] = max(asked, newest.get(partition.symbol, date.min))
        if made.updated_at is None or not timedelta(0) <= now - made.updated_at.astimezone(UTC) < _RESTS:
            continue
        is_without_the_day = partition.year == ended.year and asked < ended and plain(made.updated_at) >= settled
        if made.outcome == "failed" or is_without_the_day:
            rests.add(partition.symbol)
    due = []
    for symbol in symbols:
        last = min(last_listed.get(symbol, ended), ended)
        if symbol in newest and symbol not in rests and newest[symbol] < last:
            # what was left out over the turn of a year is of the year before
            first_year = max(newest[symbol].year, last.year - 1)
            due += [Partition(symbol, year) for year in range(first_year, last.year + 1)]
    return due
