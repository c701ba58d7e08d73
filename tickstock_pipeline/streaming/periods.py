"""When coarser bars are made: which periods a bar belongs to, and which of them have closed.

A period is closed

1. by the symbol's own bar: one whose period ends with the coarse period, or after it; or
2. by the clock: :data:`GRACE_S` after the end of the period, and as long after the symbol's last bar, or after the
   worker found the period open. The second half lets the filling of a gap come to its end before the period counts as
   complete.

The clock is the market's, as the worker's bars tell it: a session that is played again is not over because its date is
years ago. It is ours once no newer minute has come for a while.

A minute that comes later opens its period again: it is rolled up, stored and analysed once more.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from tickstock_pipeline.market.bar import TimeArray
from tickstock_pipeline.market.calendar import TradingCalendar, exchange_date, start_of_hour
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.live_work import OpenPeriod

GRACE_S = 5.0
"""Providers send a minute within two or three seconds of its end."""

_LONGEST_PAUSES = 18
_PAUSES = 3

_MINUTE = 60_000_000
_HOUR = 60 * _MINUTE
_KEPT = 2000


class Period(NamedTuple):
    """A coarse bar's key and the end of its period, in microseconds since 1970."""

    timeframe: Timeframe
    key: int
    end: int


class PeriodFinder:
    """Says which coarser periods a minute or a day belongs to."""

    def __init__(self, calendar: TradingCalendar) -> None:
        self._calendar = calendar
        self._known: dict[tuple[Timeframe, int], tuple[Period, ...]] = {}
        self._ends: dict[tuple[Timeframe, int], int] = {}

    def of(self, timeframe: Timeframe, time: int) -> tuple[Period, ...]:
        """The periods directly above a bar: none for timeframes that nothing is derived from.

        Parameters
        ----------
        time : the bar's key, that of a session
        """
        known = self._known.get((timeframe, time))
        if known is None:
            if len(self._known) >= _KEPT:
                self._known.clear()
            known = self._known[timeframe, time] = self._found(timeframe, time)
        return known

    def end(self, timeframe: Timeframe, key: int) -> int:
        """The end of a bar's period."""
        known = self._ends.get((timeframe, key))
        if known is None:
            if len(self._ends) >= _KEPT:
                self._ends.clear()
            known = self._ends[timeframe, key] = self._found_end(timeframe, key)
        return known

    def _found_end(self, timeframe: Timeframe, key: int) -> int:
        moment = np.asarray(np.datetime64(key, "us"))
        if not timeframe.is_intraday:
            return _count(self._calendar.closing(moment))
        length = _MINUTE if timeframe is Timeframe.MINUTE else _HOUR
        return min(key + length, _count(self._calendar.closing(exchange_date(moment))))

    def _found(self, timeframe: Timeframe, time: int) -> tuple[Period, ...]:
        moment = np.asarray(np.datetime64(time, "us"))
        keys: list[tuple[Timeframe, int]] = []
        if timeframe is Timeframe.MINUTE:
            keys = [
                (Timeframe.HOURLY, _count(start_of_hour(moment))),
                (Timeframe.DAILY, _count(exchange_date(moment))),
            ]
        elif timeframe is Timeframe.DAILY:
            keys = [
                (Timeframe.WEEKLY, _count(self._calendar.week_ending(moment))),
                (Timeframe.MONTHLY, _count(self._calendar.month_ending(moment))),
            ]
        return tuple(Period(into, key, self.end(into, key)) for into, key in keys)


class _BarClock:
    """The market's time as bars tell it: the end of the newest one, going on at the speed of our own clock."""

    def __init__(self) -> None:
        self._newest = 0
        self._newest_at = -math.inf
        self._pause: float | None = None

    def saw(self, end: int, at: float) -> None:
        """Take note of a bar; arguments as in :meth:`PeriodBook.saw`, but the end of its period."""
        if end <= self._newest:
            return
        if self._newest and at > self._newest_at:
            self._pause = at - self._newest_at
        self._newest, self._newest_at = end, at

    def now(self, ours: int, at: float, grace_s: float) -> int:
        """Microseconds since 1970: ours, where no bar has come for longer than the pauses between minutes are."""
        longest = _LONGEST_PAUSES * grace_s  # more than a minute: a market may be played no faster than it was
        patience = longest if self._pause is None else min(max(_PAUSES * self._pause, grace_s), longest)
        elapsed = at - self._newest_at
        return ours if elapsed >= patience else min(ours, self._newest + int(elapsed * 1_000_000))


class PeriodBook:
    """The periods of one worker's symbols that are to be rolled up.

    Attributes
    ----------
    grace_s : see :data:`GRACE_S`
    """

    def __init__(self, finder: PeriodFinder, grace_s: float = GRACE_S) -> None:
        self._finder = finder
        self.grace_s = grace_s
        self._clock = _BarClock()
        self._ends: dict[OpenPeriod, int] = {}
        self._newest: dict[str, int] = {}
        self._last_seen: dict[str, float] = {}
        self._found_at = -math.inf

    def __len__(self) -> int:
        return len(self._ends)

    def __contains__(self, period: OpenPeriod) -> bool:
        return period in self._ends

    def open(self, periods: Iterable[OpenPeriod]) -> None:
        """Take note of periods that are stored as open."""
        for period in periods:
            self._ends[period] = self._finder.end(period.timeframe, period.period)

    def find(self, periods: Iterable[OpenPeriod], at: float) -> None:
        """Take note of periods that another worker has left open; its bars may be about to come to us.

        Parameters
        ----------
        at : as in :meth:`saw`
        """
        self.open(periods)
        self._found_at = at

    def saw(self, timeframe: Timeframe, symbol: str, time: int, at: float) -> None:
        """Take note of a bar.

        Parameters
        ----------
        at : when it came, by a clock that never goes back, in seconds
        """
        end = self._finder.end(timeframe, time)
        self._newest[symbol] = max(end, self._newest.get(symbol, end))
        self._last_seen[symbol] = at
        self._clock.saw(end, at)

    def close(self, periods: Iterable[OpenPeriod]) -> None:
        """Forget periods that have been rolled up."""
        for period in periods:
            self._ends.pop(period, None)

    def forget(self, symbols: Iterable[str]) -> None:
        """Forget all of these symbols: another worker has them now."""
        gone = set(symbols)
        for period in [period for period in self._ends if period.symbol in gone]:
            del self._ends[period]
        for symbol in gone:
            self._newest.pop(symbol, None)
            self._last_seen.pop(symbol, None)

    @property
    def symbols(self) -> set[str]:
        """Symbols with an open period."""
        return {period.symbol for period in self._ends}

    def due(self, now: int, at: float) -> dict[tuple[Timeframe, int], list[str]]:
        """The symbols whose period has closed, by timeframe and key, finer timeframes first.

        Parameters
        ----------
        now : by our own clock, microseconds since 1970
        at : as in :meth:`saw`
        """
        found: dict[tuple[Timeframe, int], list[str]] = {}
        over = self._clock.now(now, at, self.grace_s) - int(self.grace_s * 1_000_000)
        for period, end in self._ends.items():
            is_closed_by_bar = self._newest.get(period.symbol, 0) >= end
            last_seen = max(self._last_seen.get(period.symbol, -math.inf), self._found_at)
            if is_closed_by_bar or (over >= end and at - last_seen >= self.grace_s):
                found.setdefault((period.timeframe, period.period), []).append(period.symbol)
        order: Sequence[Timeframe] = tuple(Timeframe)
        return dict(sorted(found.items(), key=lambda item: (order.index(item[0][0]), item[0][1])))


def _count(moment: TimeArray) -> int:
    return int(moment.astype("datetime64[us]").astype(np.int64))
