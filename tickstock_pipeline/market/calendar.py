"""The exchange's calendar: which days trade, from when to when, and which period a moment belongs to.

Sessions, half days, holidays and daylight saving come from ``exchange-calendars`` (XNYS); this module keeps them as
three sorted arrays and answers by binary search, for whole arrays of bars at once. Everything that depends on the
calendar is decided here: the key of a weekly or monthly bar, when a bar is finished, and the anchor that an analysis
starts from. Adding bars up is :mod:`tickstock_pipeline.market.aggregation`.

Hourly bars lie on the hour of the exchange's clock and are stamped at that hour: the minutes from 09:30 to 10:00 are
the bar of 09:00. Providers stamp them so, hence a provider's bar replaces a derived one by its key; and the key
depends on the clock alone, not on when a session opened.
"""

import warnings
from datetime import date
from functools import lru_cache
from zoneinfo import ZoneInfo

import exchange_calendars
import numpy as np

from tickstock_pipeline.market.bar import BoolArray, IntArray, TimeArray
from tickstock_pipeline.market.timeframe import Timeframe

DaysLike = TimeArray | np.datetime64 | date
"""Dates, or instants that stand for their UTC date. A single one gives an array without a dimension."""

EXCHANGE_ZONE = ZoneInfo("America/New_York")

_EXCHANGE = "XNYS"
_FIRST_DAY = date(1990, 1, 1)

_DAILY_ANCHOR_SESSIONS = 2_600
_HOURLY_ANCHOR_SESSIONS = 400
_MINUTE_ANCHOR_SESSIONS = 8

_PERIODS = {Timeframe.MINUTE: np.timedelta64(1, "m"), Timeframe.HOURLY: np.timedelta64(1, "h")}

# New York is 5 hours behind UTC in winter and 4 in summer. Taking 5 always is at most an hour early, and trading,
# extended hours included, stays between 04:00 and 20:00, so the date is the same.
_CLOCK_BEHIND_UTC = np.timedelta64(5, "h")


class TradingCalendar:
    """Sessions of one exchange between two dates.

    Parameters
    ----------
    sessions : (n,) datetime64[D], sorted, unique
    openings, closings : (n,) datetime64[us], UTC, of each session
    """

    __slots__ = ("_closings", "_openings", "_sessions")

    def __init__(self, sessions: TimeArray, openings: TimeArray, closings: TimeArray) -> None:
        self._sessions = sessions
        self._openings = openings
        self._closings = closings

    @property
    def first(self) -> np.datetime64:
        """The first session that the calendar knows."""
        first: np.datetime64 = self._sessions[0]
        return first

    @property
    def last(self) -> np.datetime64:
        """The last session that the calendar knows."""
        last: np.datetime64 = self._sessions[-1]
        return last

    def sessions(self, first: date | np.datetime64, last: date | np.datetime64) -> TimeArray:
        """The sessions from ``first`` to ``last``, both included, as (n,) datetime64[D]."""
        low = np.searchsorted(self._sessions, _days(first))
        high = np.searchsorted(self._sessions, _days(last), side="right")
        return self._sessions[int(low) : int(high)]

    def is_session(self, days: DaysLike) -> BoolArray:
        """Whether each day trades; False for NaT and for days outside the calendar."""
        wanted = _days(days)
        found: BoolArray = self._sessions[self._at_or_after(wanted)] == wanted
        return found

    def opening(self, days: DaysLike) -> TimeArray:
        """When each session opens, as datetime64[us] in UTC.

        Raises
        ------
        ValueError
            If a day is not a session.
        """
        return self._openings[self._positions(days)]

    def closing(self, days: DaysLike) -> TimeArray:
        """When each session closes, as datetime64[us] in UTC.

        Raises
        ------
        ValueError
            If a day is not a session.
        """
        return self._closings[self._positions(days)]

    def week_ending(self, days: DaysLike) -> TimeArray:
        """The last session of each day's ISO week, as datetime64[D].

        Raises
        ------
        ValueError
            If a week has no session, which cannot be where the day is one.
        """
        mondays = _monday(_days(days))
        sundays: TimeArray = mondays + np.timedelta64(6, "D")
        return self._last_session_between(mondays, sundays)

    def month_ending(self, days: DaysLike) -> TimeArray:
        """The last session of each day's calendar month, as datetime64[D].

        Raises
        ------
        ValueError
            If a month has no session, which cannot be where the day is one.
        """
        months: TimeArray = _days(days).astype("datetime64[M]")
        next_months: TimeArray = (months + np.timedelta64(1, "M")).astype("datetime64[D]")
        last_days: TimeArray = next_months - np.timedelta64(1, "D")
        return self._last_session_between(months.astype("datetime64[D]"), last_days)

    def in_session(self, timeframe: Timeframe, time: TimeArray) -> BoolArray:
        """Whether any part of each intraday bar's period lies in the regular session; False for NaT."""
        days = exchange_date(time)
        position = self._at_or_after(days)
        inside: BoolArray = (
            (self._sessions[position] == days)
            & (time + _PERIODS[timeframe] > self._openings[position])
            & (time < self._closings[position])
        )
        return inside

    def instant(self, timeframe: Timeframe, time: DaysLike) -> TimeArray:
        """The one instant that stands for each bar, as datetime64[us] in UTC.

        The start of an intraday bar; the opening of the key session of the others, which has the same date in UTC and
        on the exchange.

        Raises
        ------
        ValueError
            If the key of a daily, weekly or monthly bar is not a session.
        """
        return np.asarray(time, "datetime64[us]") if timeframe.is_intraday else self.opening(time)

    def is_closed(self, timeframe: Timeframe, time: DaysLike, now: np.datetime64) -> BoolArray:
        """Whether the period of each bar has ended at ``now`` (UTC).

        An intraday bar ends a period after its start, or with its session if that is sooner; the others end at the
        closing of their key session.

        Raises
        ------
        ValueError
            If the key of a daily, weekly or monthly bar is not a session.
        """
        if not timeframe.is_intraday:
            return np.asarray(self.closing(time) <= now)
        start: TimeArray = np.asarray(time, "datetime64[us]")
        end: TimeArray = start + _PERIODS[timeframe]
        days = exchange_date(start)
        position = self._at_or_after(days)
        closing = self._closings[position]
        cut_short = (self._sessions[position] == days) & (start < closing) & (closing < end)
        return np.asarray(np.where(cut_short, closing, end) <= now)

    def last_closed(self, now: np.datetime64) -> np.datetime64:
        """The newest session that has ended at ``now`` (UTC), as datetime64[D].

        Raises
        ------
        ValueError
            If none has.
        """
        count = int(np.searchsorted(self._closings, now, side="right"))
        if not count:
            raise ValueError(f"no session of {_EXCHANGE} had ended at {now}")
        last: np.datetime64 = self._sessions[count - 1]
        return last

    def anchor(self, timeframe: Timeframe, year: int) -> np.datetime64 | None:
        """Time of the first bar that the analysis of a year's bars is fed; None means the symbol's first stored bar.

        daily: the session 2,600 sessions before the year's first; hourly: the first hour of the session 400 sessions
        before it; weekly and monthly: None; 1min: :meth:`minute_anchor` of the week of the year's first session,
        the earliest of its weeks. Clipped to the calendar's start.

        Returns
        -------
        datetime64[us], comparable with ``Bars.time``, or None.

        Raises
        ------
        ValueError
            If the calendar ends before the year.
        """
        if timeframe in (Timeframe.WEEKLY, Timeframe.MONTHLY):
            return None
        first = self._first_session_from(np.datetime64(f"{year:04d}-01-01", "D"))
        if timeframe is Timeframe.MINUTE:
            return self.minute_anchor(self._sessions[first])
        if timeframe is Timeframe.HOURLY:
            opening = self._openings[max(first - _HOURLY_ANCHOR_SESSIONS, 0)]
            return _as_instant(start_of_hour(opening))
        return _as_instant(self._sessions[max(first - _DAILY_ANCHOR_SESSIONS, 0)])

    def minute_anchor(self, day: date | np.datetime64) -> np.datetime64:
        """Time of the first minute that the analysis of an ISO week's minutes is fed.

        The opening of the session 8 sessions before the first one of the week that ``day`` lies in.

        Raises
        ------
        ValueError
            If the calendar ends before the week.
        """
        first = self._first_session_from(_monday(_days(day)))
        return _as_instant(self._openings[max(first - _MINUTE_ANCHOR_SESSIONS, 0)])

    def _first_session_from(self, day: TimeArray | np.datetime64) -> int:
        position = int(np.searchsorted(self._sessions, day))
        if position == len(self._sessions):
            raise ValueError(f"the calendar ends on {self.last}, before {day}")
        return position

    def _at_or_after(self, days: TimeArray) -> IntArray:
        # clipped, so that it can index; whoever compares the session found with the day sees the difference
        found: IntArray = np.minimum(np.searchsorted(self._sessions, days), len(self._sessions) - 1)
        return found

    def _positions(self, days: DaysLike) -> IntArray:
        wanted = _days(days)
        position = self._at_or_after(wanted)
        missing = self._sessions[position] != wanted
        if missing.any():
            raise ValueError(f"not a session of {_EXCHANGE} between {self.first} and {self.last}: {wanted[missing][0]}")
        return position

    def _last_session_between(self, first: TimeArray, last: TimeArray) -> TimeArray:
        position = np.searchsorted(self._sessions, last, side="right") - 1
        found: TimeArray = self._sessions[np.maximum(position, 0)]
        missing = (position < 0) | ~(first <= found)
        if missing.any():
            raise ValueError(f"no session of {_EXCHANGE} in the period that begins on {first[missing][0]}")
        return found


def exchange_date(time: TimeArray) -> TimeArray:
    """The date on the exchange's clock of instants within trading hours, extended hours included.

    Parameters
    ----------
    time : (n,) datetime64[us], UTC; between 01:00 and 24:00 on the exchange's clock

    Returns
    -------
    (n,) datetime64[D]
    """
    return (time - _CLOCK_BEHIND_UTC).astype("datetime64[D]")


def start_of_hour(time: TimeArray) -> TimeArray:
    """The hour of the exchange's clock that each instant lies in: (n,) datetime64[us], UTC."""
    # New York is behind UTC by whole hours all year, so both clocks strike at the same instants
    return time.astype("datetime64[h]").astype("datetime64[us]")


def trading_calendar() -> TradingCalendar:
    """The calendar of the New York Stock Exchange from 1990 to the end of next year; built once a year and process."""
    return _calendar_until(date(date.today().year + 1, 12, 31))


@lru_cache(maxsize=1)
def _calendar_until(last_day: date) -> TradingCalendar:
    with warnings.catch_warnings():
        # exchange-calendars 4.13 uses what pandas 3.1 deprecates; only its own next release can change that
        warnings.simplefilter("ignore", DeprecationWarning)
        calendar = exchange_calendars.get_calendar(_EXCHANGE, start=_FIRST_DAY.isoformat(), end=last_day.isoformat())
    return TradingCalendar(
        calendar.sessions.to_numpy().astype("datetime64[D]"),
        calendar.opens_nanos.astype("datetime64[ns]").astype("datetime64[us]"),
        calendar.closes_nanos.astype("datetime64[ns]").astype("datetime64[us]"),
    )


def _days(days: DaysLike) -> TimeArray:
    return np.asarray(days, "datetime64[D]")


def _monday(days: TimeArray) -> TimeArray:
    # day 0, 1970-01-01, was a Thursday; NaT's integer wraps to another date, so it is put back
    mondays: TimeArray = days - ((days.astype(np.int64) + 3) % 7).astype("timedelta64[D]")
    return np.where(np.isnat(days), days, mondays)


def _as_instant(value: np.datetime64 | TimeArray) -> np.datetime64:
    instant: np.datetime64 = np.asarray(value, "datetime64[us]").flat[0]
    return instant
