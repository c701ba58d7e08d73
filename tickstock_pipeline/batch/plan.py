"""Which partitions of which assets are missing or stale: what a backfill has to do, and nothing else.

Asked of the ledger, not of Dagster: a partition that was materialised once stays green there whatever happens after.
"""

from collections.abc import Iterable
from datetime import date

import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.batch.analysis import stale_partitions
from tickstock_pipeline.batch.assets import bars_asset, indicators_asset, patterns_asset
from tickstock_pipeline.market.calendar import TradingCalendar
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.base import HistoricalProvider, Listing
from tickstock_pipeline.storage.provenance import Provenance, read_provenance, stale_roll_ups

_ROLLED_UP = (Timeframe.WEEKLY, Timeframe.MONTHLY)

Targets = dict[str, list[Partition]]
"""Asset name → its partitions, in the order in which the symbols were registered."""


def stale_targets(
    connection: sa.Connection, provider: HistoricalProvider, calendar: TradingCalendar, first_year: int
) -> Targets:
    """What is missing or stale, of everything that ``provider`` lists from ``first_year`` on.

    A partition whose bars are to be imported takes everything downstream of it along, since Dagster runs the downstream
    partitions of one backfill once their inputs are there: the same year's roll-ups, and the analysis of that year and
    of the later ones that warm up on it.
    """
    listings = provider.catalogue()
    symbols = [listing.symbol for listing in listings]
    order = {symbol: position for position, symbol in enumerate(symbols)}
    listed = {
        Timeframe.DAILY: {p for listing in listings for p in _years(listing, None, calendar, first_year)},
        **{
            into: {p for listing in listings for p in _years(listing, into, calendar, first_year)}
            for into in _ROLLED_UP
        },
    }

    last_listed = {listing.symbol: listing.last for listing in listings}
    imported = read_provenance(connection, Timeframe.DAILY, symbols)
    stale_bars = {
        Timeframe.DAILY: {
            partition
            for partition in listed[Timeframe.DAILY]
            if _is_missing(imported.get(partition), min(last_listed[partition.symbol], date(partition.year, 12, 31)))
        }
    }
    for into in _ROLLED_UP:
        stale_bars[into] = set(stale_roll_ups(connection, into)) & listed[into]
        stale_bars[into] |= {
            partition
            for partition in listed[into]
            if not stale_bars[Timeframe.DAILY].isdisjoint({partition, partition._replace(year=partition.year - 1)})
        }

    targets: dict[str, Iterable[Partition]] = {}
    for timeframe, stale in stale_bars.items():
        targets[bars_asset(timeframe)] = stale
        analysis = {
            Partition(found.symbol, found.year) for found in stale_partitions(connection, timeframe, symbols)
        } & listed[timeframe]
        earliest: dict[str, int] = {}
        for symbol, year in stale:
            earliest[symbol] = min(year, earliest.get(symbol, year))
        analysis |= {p for p in listed[timeframe] if p.year >= earliest.get(p.symbol, p.year + 1)}
        targets[indicators_asset(timeframe)] = targets[patterns_asset(timeframe)] = analysis
    return {
        asset: sorted(partitions, key=lambda partition: (order[partition.symbol], partition.year))
        for asset, partitions in targets.items()
    }


def _is_missing(made: Provenance | None, last: date) -> bool:
    if made is None or made.outcome == "failed":
        return True
    return made.requested_through is None or made.requested_through < last


def _years(listing: Listing, into: Timeframe | None, calendar: TradingCalendar, first_year: int) -> Iterable[Partition]:
    last_year = listing.last.year
    if into is Timeframe.WEEKLY:
        # The last days of a year may be in a week that ends, and therefore belongs, in the next one.
        last_year = int(calendar.week_ending(np.datetime64(listing.last)).astype("datetime64[Y]").astype(int)) + 1970
    return (Partition(listing.symbol, year) for year in range(max(listing.first.year, first_year), last_year + 1))
