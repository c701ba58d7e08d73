"""Which bars an analysis of a year is fed, and which of its results are kept: one window for each anchor.

A daily or hourly year has one anchor, and so has a weekly or monthly one. A year of minutes has one for each ISO week:
the state of a stream of minutes is renewed every week, so that a restart has a bounded history to read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tickstock_pipeline.market.calendar import TradingCalendar
from tickstock_pipeline.market.timeframe import Timeframe

_MIDNIGHT_OF_EXCHANGE = np.timedelta64(5, "h")  # in UTC, at a turn of year
_MICROSECOND = np.timedelta64(1, "us")


@dataclass(frozen=True, slots=True)
class Window:
    """Fed with bars from ``anchor`` on (None: the first stored one), keeps the results from ``first`` to ``last``."""

    anchor: np.datetime64 | None
    first: np.datetime64
    last: np.datetime64


def year_bounds(timeframe: Timeframe, year: int) -> tuple[np.datetime64, np.datetime64]:
    """First and last moment, both included, of the bars that belong to a year on the exchange's clock."""
    offset = _MIDNIGHT_OF_EXCHANGE if timeframe.is_intraday else np.timedelta64(0, "h")
    return (
        np.datetime64(f"{year:04d}", "us") + offset,
        np.datetime64(f"{year + 1:04d}", "us") + offset - _MICROSECOND,
    )


def windows(calendar: TradingCalendar, timeframe: Timeframe, year: int) -> list[Window]:
    """The windows of a year, in order of time; together they are the year, without overlap."""
    first, last = year_bounds(timeframe, year)
    if timeframe is not Timeframe.MINUTE:
        return [Window(calendar.anchor(timeframe, year), first, last)]
    # Sunday's midnight between two weeks; the clock's hour of daylight saving does not matter, no bar lies near it.
    sessions = calendar.sessions(first.astype("datetime64[D]"), (last - _MIDNIGHT_OF_EXCHANGE).astype("datetime64[D]"))
    mondays = np.unique(sessions - ((sessions.astype(np.int64) + 3) % 7).astype("timedelta64[D]"))
    starts = [first, *(monday.astype("datetime64[us]") + _MIDNIGHT_OF_EXCHANGE for monday in mondays[1:])]
    ends = [*(start - _MICROSECOND for start in starts[1:]), last]
    return [
        Window(calendar.minute_anchor(monday), start, end)
        for monday, start, end in zip(mondays, starts, ends, strict=True)
    ]


def since(of_year: Sequence[Window], first: np.datetime64) -> list[Window]:
    """What is left of the windows of a year from ``first`` on, fed from the same anchors; the last one at least."""
    left = [window for window in of_year if window.last >= first] or [of_year[-1]]
    return [replace(left[0], first=max(left[0].first, first)), *left[1:]]
