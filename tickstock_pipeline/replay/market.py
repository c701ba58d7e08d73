"""The market as clients of the replay server see it: a source's bars in every timeframe, raw or split-adjusted."""

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np

from tickstock_pipeline.errors import UnknownSymbolError
from tickstock_pipeline.market.adjustment import Dividend, Split, adjusted_roll_up, split_adjusted
from tickstock_pipeline.market.aggregation import closed, roll_up
from tickstock_pipeline.market.bar import Bars, empty_bars
from tickstock_pipeline.market.calendar import exchange_date, trading_calendar
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.base import Listing
from tickstock_pipeline.replay.bridge import minutes_from_days
from tickstock_pipeline.replay.source import BarSource

# As far as a month that a date lies in can reach.
_LONGEST_PERIOD = timedelta(days=31)


class ReplayMarket:
    """Bars of a source, as of a moment.

    Parameters
    ----------
    source : the bars as traded; days of which it has no minutes get invented ones (see ``replay.bridge``)
    seed, trading_share : of the invented minutes
    now : the moment (UTC); bars that close later are not there yet. None: all bars are there
    """

    def __init__(
        self,
        source: BarSource,
        *,
        seed: int = 0,
        trading_share: float = 1.0,
        now: Callable[[], np.datetime64 | None] = lambda: None,
    ) -> None:
        self.source = source
        self.calendar = trading_calendar()
        self.now = now
        self.seed = seed
        self._trading_share = trading_share

    def listings(self) -> tuple[Listing, ...]:
        """All symbols."""
        return self.source.listings()

    def listing(self, symbol: str) -> Listing | None:
        """One symbol, in whatever spelling of share classes (BRK.B, BRK-B, BRK/B); None if there is none."""
        listings = {listing.symbol: listing for listing in self.listings()}
        wanted = symbol.upper()
        spellings = (wanted, *(wanted.replace(old, new) for old in ".-/" for new in ".-/" if old in wanted))
        return next((listings[spelling] for spelling in spellings if spelling in listings), None)

    def bars(self, symbol: str, timeframe: Timeframe, first: date, last: date, *, adjusted: bool = False) -> Bars:
        """Bars whose date on the exchange is from ``first`` to ``last``; empty for a symbol that there is not.

        Parameters
        ----------
        adjusted : on today's price scale (see ``market.adjustment``) instead of as traded
        """
        bars = self.bars_to_come(symbol, timeframe, first, last, adjusted=adjusted)
        now = self.now()
        return bars if now is None else closed(bars, self.calendar, now)

    def bars_to_come(
        self, symbol: str, timeframe: Timeframe, first: date, last: date, *, adjusted: bool = False
    ) -> Bars:
        """As :meth:`bars`, whatever time it is: for whoever makes the time pass."""
        splits = self.splits(symbol) if adjusted else ()
        if timeframe in (Timeframe.WEEKLY, Timeframe.MONTHLY):
            daily = self._daily(symbol, first - _LONGEST_PERIOD, last + _LONGEST_PERIOD)
            coarse = adjusted_roll_up(daily, timeframe, splits, self.calendar)
            return coarse.since(np.datetime64(first)).until(np.datetime64(last))
        if timeframe is Timeframe.HOURLY:
            minutes = split_adjusted(self._minutes(symbol, first, last), splits)
            return roll_up(minutes, timeframe, self.calendar)
        raw = (self._daily if timeframe is Timeframe.DAILY else self._minutes)(symbol, first, last)
        return split_adjusted(raw, splits)

    def splits(self, symbol: str) -> tuple[Split, ...]:
        """All splits, oldest first; none for a symbol that there is not."""
        try:
            return self.source.splits(symbol)
        except UnknownSymbolError:
            return ()

    def dividends(self, symbol: str) -> tuple[Dividend, ...]:
        """All cash dividends, oldest first; none for a symbol that there is not."""
        try:
            return self.source.dividends(symbol)
        except UnknownSymbolError:
            return ()

    def _daily(self, symbol: str, first: date, last: date) -> Bars:
        daily = self._of(symbol, Timeframe.DAILY, first, last)
        if len(daily):
            return daily
        return roll_up(self._of(symbol, Timeframe.MINUTE, first, last), Timeframe.DAILY, self.calendar)

    def _minutes(self, symbol: str, first: date, last: date) -> Bars:
        stored = self._of(symbol, Timeframe.MINUTE, first, last)
        daily = self._of(symbol, Timeframe.DAILY, first, last)
        without = daily[~np.isin(daily.time.astype("datetime64[D]"), exchange_date(stored.time))]
        invented = minutes_from_days(without, self.calendar, seed=self.seed, trading_share=self._trading_share)
        if not len(stored) or not len(invented):
            return invented if len(invented) else stored
        return _merged(stored, invented)

    def _of(self, symbol: str, timeframe: Timeframe, first: date, last: date) -> Bars:
        try:
            return self.source.bars(symbol, timeframe, first, last)
        except UnknownSymbolError:
            return empty_bars(symbol, timeframe)


def _merged(one: Bars, other: Bars) -> Bars:
    """Two series of one symbol that have no time in common."""
    both = Bars(
        one.symbol,
        one.timeframe,
        np.concatenate((one.time, other.time)),
        np.concatenate((one.open, other.open)),
        np.concatenate((one.high, other.high)),
        np.concatenate((one.low, other.low)),
        np.concatenate((one.close, other.close)),
        np.concatenate((one.volume, other.volume)),
    )
    return both[np.argsort(both.time)]
