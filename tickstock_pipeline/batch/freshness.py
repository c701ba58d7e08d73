"""Whether the newest bars are there that there can be, by the exchange's sessions: a weekend makes nothing stale."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.batch.imports import last_settled
from tickstock_pipeline.market.calendar import TradingCalendar
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.base import HistoricalProvider
from tickstock_pipeline.storage.quality import series_extents
from tickstock_pipeline.storage.symbols import read_symbols

_LOOK_BACK = np.timedelta64(70, "D")


@dataclass(frozen=True)
class Freshness:
    """How current a timeframe's bars are.

    Attributes
    ----------
    expected : the newest bar that there should be of a symbol that still trades; of intraday bars the opening of the
        newest session
    n_symbols : active symbols that have bars
    behind : symbol → its newest bar, of those that have none as new as they should
    """

    expected: np.datetime64
    n_symbols: int
    behind: Mapping[str, np.datetime64]


def freshness(
    connection: sa.Connection,
    provider: HistoricalProvider,
    calendar: TradingCalendar,
    timeframe: Timeframe,
    now: datetime,
) -> Freshness:
    """Compare the newest bar of each active symbol with the newest session that has ended and settled.

    A symbol whose history at the provider has ended, as its catalogue tells, is measured by its last day.
    """
    ended = last_settled(calendar, now)
    listed = {listing.symbol: min(listing.last, ended) for listing in provider.catalogue()}
    active = set(read_symbols(connection))
    newest = {
        symbol: last for symbol, (_, _, last) in series_extents(connection, timeframe).items() if symbol in active
    }
    of_day = {day: expected_bar(calendar, timeframe, day) for day in {ended, *listed.values()}}
    behind = {symbol: last for symbol, last in newest.items() if last < of_day[listed.get(symbol, ended)]}
    return Freshness(of_day[ended], len(newest), behind)


def expected_bar(calendar: TradingCalendar, timeframe: Timeframe, day: date) -> np.datetime64:
    """Time of the newest bar that there should be once ``day`` has ended, datetime64[us]; bars may be newer."""
    sessions = calendar.sessions(np.datetime64(day) - _LOOK_BACK, day)
    if timeframe is Timeframe.WEEKLY:
        sessions = sessions[calendar.week_ending(sessions) == sessions]
    elif timeframe is Timeframe.MONTHLY:
        sessions = sessions[calendar.month_ending(sessions) == sessions]
    newest = sessions[-1:]
    if timeframe is Timeframe.HOURLY:
        # the hour in which the session opened began before it
        return np.datetime64(str(calendar.opening(newest)[0].astype("datetime64[h]")), "us")
    return np.datetime64(str((calendar.opening(newest) if timeframe.is_intraday else newest)[0]), "us")
