"""Which partitions of which assets are missing or stale: what a backfill has to do, and nothing else.

Asked of the ledger, not of Dagster: a partition that was materialised once stays green there whatever happens after.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.batch.analysis import stale_partitions
from tickstock_pipeline.batch.assets import bars_asset, indicators_asset, patterns_asset
from tickstock_pipeline.batch.days import lacking_days
from tickstock_pipeline.batch.imports import last_settled
from tickstock_pipeline.market.calendar import TradingCalendar
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.base import HistoricalProvider, Listing
from tickstock_pipeline.storage.coverage import analysed_partitions
from tickstock_pipeline.storage.provenance import Provenance, read_provenance, stale_roll_ups
from tickstock_pipeline.storage.symbols import read_symbols

_ROLLED_UP = (Timeframe.WEEKLY, Timeframe.MONTHLY)
_IMPORTED = (Timeframe.MINUTE, Timeframe.DAILY)

Targets = dict[str, list[Partition]]
"""Asset name → its partitions, in the order in which the symbols were registered."""

_Partitions = dict[Timeframe, set[Partition]]


@dataclass(frozen=True)
class _Wanted:
    """The partitions that there should be, by timeframe: bars, and analysis of them."""

    symbols: list[str]
    bars: _Partitions
    analysis: _Partitions


def stale_targets(
    connection: sa.Connection, provider: HistoricalProvider, calendar: TradingCalendar, first_year: int
) -> Targets:
    """What is missing or stale from ``first_year`` on.

    Of a provider that lists its symbols, everything that it lists is wanted. Of another one only what somebody asked
    for before: partitions that were imported, derived or analysed, of symbols that are active.

    A partition whose bars are to be imported takes everything downstream of it along, since Dagster runs the downstream
    partitions of one backfill once their inputs are there: the same year's roll-ups, and the analysis of that year and
    of the later ones that warm up on it.
    """
    now = datetime.now(UTC)
    ended = last_settled(calendar, now)
    listings = provider.catalogue()
    symbols = [listing.symbol for listing in listings] or read_symbols(connection)
    last_listed = {listing.symbol: listing.last for listing in listings}
    asked = {timeframe: read_provenance(connection, timeframe, symbols) for timeframe in Timeframe}
    wanted = _listed(listings, calendar, first_year) if listings else _asked_for(connection, symbols, asked, first_year)
    stale: _Partitions = {
        timeframe: {
            partition
            for partition in wanted.bars.get(timeframe, ())
            if _is_missing(
                asked[timeframe].get(partition),
                min(last_listed.get(partition.symbol, ended), ended, date(partition.year, 12, 31)),
            )
        }
        for timeframe in _IMPORTED
    }
    for timeframe in wanted.bars:
        if timeframe.derived_from is not None:
            outgrown = set(stale_roll_ups(connection, timeframe)) & wanted.bars[timeframe]
            if timeframe is Timeframe.DAILY:
                outgrown -= _fully_given(connection, calendar, outgrown, asked[timeframe], now)
            stale[timeframe] = stale.get(timeframe, set()) | outgrown | _downstream(timeframe, wanted, stale)
    return _targets(connection, wanted, stale)


def _listed(listings: Iterable[Listing], calendar: TradingCalendar, first_year: int) -> _Wanted:
    def years(into: Timeframe | None) -> set[Partition]:
        return {p for listing in listings for p in _years(listing, into, calendar, first_year)}

    bars = {Timeframe.DAILY: years(None), **{into: years(into) for into in _ROLLED_UP}}
    return _Wanted([listing.symbol for listing in listings], bars, bars)


def _asked_for(
    connection: sa.Connection,
    symbols: list[str],
    asked: Mapping[Timeframe, Mapping[Partition, Provenance]],
    first_year: int,
) -> _Wanted:
    bars = {
        timeframe: {partition for partition in asked[timeframe] if partition.year >= first_year}
        for timeframe in Timeframe
    }
    analysis = {
        timeframe: {p for p in analysed_partitions(connection, timeframe, symbols) if p.year >= first_year}
        for timeframe in Timeframe
    }
    return _Wanted(symbols, bars, analysis)


def _is_missing(made: Provenance | None, last: date) -> bool:
    """Whether a provider has to be asked; ``last`` is the last date that there is to be had."""
    if made is None or made.outcome == "failed":
        return True
    if made.is_derived:
        return False  # nobody asked a provider
    return made.requested_through is None or made.requested_through < last


def _fully_given(
    connection: sa.Connection,
    calendar: TradingCalendar,
    outgrown: set[Partition],
    asked: Mapping[Partition, Provenance],
    now: datetime,
) -> set[Partition]:
    """Imported days of which none is made of minutes, nor could be: new minutes, as of a live day, change nothing."""
    imported = {
        partition
        for partition in outgrown
        if (made := asked.get(partition)) is not None and not made.is_derived and not made.n_provisional
    }
    return imported - lacking_days(connection, calendar, imported, now)


def _downstream(timeframe: Timeframe, wanted: _Wanted, stale: Mapping[Timeframe, set[Partition]]) -> set[Partition]:
    source = timeframe.derived_from
    input_changes = stale.get(source, set()) if source is not None else set()
    # the first week of a year may begin in the year before
    years_before = 1 if timeframe is Timeframe.WEEKLY else 0
    return {
        partition
        for partition in wanted.bars[timeframe]
        if any(partition._replace(year=partition.year - back) in input_changes for back in range(years_before + 1))
    }


def _targets(connection: sa.Connection, wanted: _Wanted, stale: Mapping[Timeframe, set[Partition]]) -> Targets:
    targets: dict[str, Iterable[Partition]] = {}
    for timeframe in wanted.bars:
        targets[bars_asset(timeframe)] = stale[timeframe]
        analysis = {
            Partition(found.symbol, found.year) for found in stale_partitions(connection, timeframe, wanted.symbols)
        } & wanted.analysis[timeframe]
        earliest: dict[str, int] = {}
        for symbol, year in stale[timeframe]:
            earliest[symbol] = min(year, earliest.get(symbol, year))
        analysis |= {p for p in wanted.analysis[timeframe] if p.year >= earliest.get(p.symbol, p.year + 1)}
        targets[indicators_asset(timeframe)] = targets[patterns_asset(timeframe)] = analysis
    order = {symbol: position for position, symbol in enumerate(wanted.symbols)}
    return {
        asset: sorted(partitions, key=lambda partition: (order[partition.symbol], partition.year))
        for asset, partitions in targets.items()
    }


def _years(listing: Listing, into: Timeframe | None, calendar: TradingCalendar, first_year: int) -> Iterable[Partition]:
    last_year = listing.last.year
    if into is Timeframe.WEEKLY:
        # The last days of a year may be in a week that ends, and therefore belongs, in the next one.
        last_year = int(calendar.week_ending(np.datetime64(listing.last)).astype("datetime64[Y]").astype(int)) + 1970
    return (Partition(listing.symbol, year) for year in range(max(listing.first.year, first_year), last_year + 1))
