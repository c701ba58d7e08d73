"""The window of an analysis that a live bar falls into: which anchor its series is replayed from."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tickstock_pipeline.batch.windows import Window, windows
from tickstock_pipeline.market.calendar import TradingCalendar, exchange_date
from tickstock_pipeline.market.timeframe import Timeframe

_KEPT = 2000


class LiveWindow(NamedTuple):
    """Bars whose analysis is fed from one anchor.

    Attributes
    ----------
    year : that the window's bars belong to
    anchor : first bar fed in; None: the symbol's first stored one
    first, last : of the window, both included
    """

    timeframe: Timeframe
    year: int
    anchor: np.datetime64 | None
    first: np.datetime64
    last: np.datetime64

    @property
    def first_input_year(self) -> int | None:
        """The year of the anchor, with which the ledger is asked for the state of the input."""
        return None if self.anchor is None else int(self.anchor.astype("datetime64[Y]").astype(int)) + 1970


class WindowFinder:
    """Finds windows; remembers those of the years asked for."""

    def __init__(self, calendar: TradingCalendar) -> None:
        self._calendar = calendar
        self._of_year: dict[tuple[Timeframe, int], list[LiveWindow]] = {}
        self._of_time: dict[tuple[Timeframe, int], LiveWindow] = {}

    def at(self, timeframe: Timeframe, time: int) -> LiveWindow:
        """The window of a bar; ``time`` in microseconds since 1970."""
        known = self._of_time.get((timeframe, time))
        if known is not None:
            return known
        moment = np.datetime64(time, "us")
        found = next(one for one in reversed(self.of_year(timeframe, _year(timeframe, moment))) if one.first <= moment)
        if len(self._of_time) >= _KEPT:
            self._of_time.clear()
        self._of_time[timeframe, time] = found
        return found

    def of_year(self, timeframe: Timeframe, year: int) -> Sequence[LiveWindow]:
        """The windows of a year, in order of time."""
        if (timeframe, year) not in self._of_year:
            self._of_year[timeframe, year] = [
                _live(timeframe, year, window) for window in windows(self._calendar, timeframe, year)
            ]
        return self._of_year[timeframe, year]

    def between(self, timeframe: Timeframe, first: int, last: int) -> list[LiveWindow]:
        """The windows from that of one bar to that of another, both included, in order of time."""
        start, end = self.at(timeframe, first), self.at(timeframe, last)
        return [
            window
            for year in range(start.year, end.year + 1)
            for window in self.of_year(timeframe, year)
            if start.first <= window.first <= end.first
        ]


def _live(timeframe: Timeframe, year: int, window: Window) -> LiveWindow:
    return LiveWindow(timeframe, year, window.anchor, window.first, window.last)


def _year(timeframe: Timeframe, moment: np.datetime64) -> int:
    day = exchange_date(np.asarray(moment)) if timeframe.is_intraday else np.asarray(moment)
    return int(day.astype("datetime64[Y]").astype(int)) + 1970
