"""When a coarse bar is made: at half days, changes of the clock, the turn of a month, and never too soon."""

import numpy as np
import pytest

from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.live_work import OpenPeriod
from tickstock_pipeline.streaming.periods import GRACE_S, PeriodBook, PeriodFinder
from tickstock_pipeline.streaming.upcoming import upcoming_bar
from tickstock_pipeline.streaming.windows import WindowFinder

FINDER = PeriodFinder(trading_calendar())


def us(text: str) -> int:
    return int(np.datetime64(text, "us").astype(np.int64))


@pytest.mark.parametrize(
    ("minute", "hour", "hour_end", "day", "day_end"),
    [
        # opening half hour, winter and summer time of New York
        ("2026-03-02T14:30", "2026-03-02T14:00", "2026-03-02T15:00", "2026-03-02", "2026-03-02T21:00"),
        ("2026-03-09T13:30", "2026-03-09T13:00", "2026-03-09T14:00", "2026-03-09", "2026-03-09T20:00"),
        # the last minute of a session, and of a half day
        ("2026-03-02T20:59", "2026-03-02T20:00", "2026-03-02T21:00", "2026-03-02", "2026-03-02T21:00"),
        ("2025-11-28T17:59", "2025-11-28T17:00", "2025-11-28T18:00", "2025-11-28", "2025-11-28T18:00"),
    ],
)
def test_a_minute_belongs_to_its_hour_and_day(minute: str, hour: str, hour_end: str, day: str, day_end: str) -> None:
    assert FINDER.of(Timeframe.MINUTE, us(minute)) == (
        (Timeframe.HOURLY, us(hour), us(hour_end)),
        (Timeframe.DAILY, us(day), us(day_end)),
    )


@pytest.mark.parametrize(
    ("day", "week", "month"),
    [
        ("2026-03-31", "2026-04-02", "2026-03-31"),  # Good Friday does not trade
        ("2025-12-31", "2026-01-02", "2025-12-31"),
        ("2025-11-25", "2025-11-28", "2025-11-28"),  # the half day ends week and month
    ],
)
def test_a_day_belongs_to_its_week_and_month(day: str, week: str, month: str) -> None:
    periods = FINDER.of(Timeframe.DAILY, us(day))
    assert [(one.timeframe, one.key) for one in periods] == [
        (Timeframe.WEEKLY, us(week)),
        (Timeframe.MONTHLY, us(month)),
    ]
    calendar = trading_calendar()
    assert [one.end for one in periods] == [us(str(calendar.closing(np.datetime64(key)))) for key in (week, month)]


HOUR = OpenPeriod("AAPL", Timeframe.HOURLY, us("2026-03-02T15:00"))
LONG_AFTER = us("2026-03-05T15:00")


def book() -> PeriodBook:
    found = PeriodBook(FINDER)
    found.open([HOUR])
    return found


def test_a_period_is_closed_by_the_symbols_own_bar_that_ends_with_it() -> None:
    periods = book()
    periods.saw(Timeframe.MINUTE, "AAPL", us("2026-03-02T15:58"), at=100.0)
    assert periods.due(us("2026-03-02T15:59:59"), 100.0) == {}
    periods.saw(Timeframe.MINUTE, "AAPL", us("2026-03-02T15:59"), at=100.0)
    assert periods.due(us("2026-03-02T15:59:59"), 100.0) == {(Timeframe.HOURLY, HOUR.period): ["AAPL"]}


def test_a_period_is_closed_by_the_clock_only_after_the_grace() -> None:
    periods = book()
    periods.saw(Timeframe.MINUTE, "AAPL", us("2026-03-02T15:40"), at=100.0)
    end = us("2026-03-02T16:00")
    assert periods.due(end + int(GRACE_S * 1e6) - 1, 5000.0) == {}
    assert periods.due(end + int(GRACE_S * 1e6), 5000.0) == {(Timeframe.HOURLY, HOUR.period): ["AAPL"]}


def test_old_minutes_that_still_come_keep_their_period_open() -> None:
    periods = book()
    for number in range(3):
        periods.saw(Timeframe.MINUTE, "AAPL", us(f"2026-03-02T15:{40 + number}"), at=100.0 + number)
    assert periods.due(LONG_AFTER, 102.0 + GRACE_S - 0.1) == {}
    assert periods.due(LONG_AFTER, 102.0 + GRACE_S) == {(Timeframe.HOURLY, HOUR.period): ["AAPL"]}


def test_a_period_that_a_successor_finds_open_is_closed_by_the_clock_after_the_grace() -> None:
    periods = PeriodBook(FINDER)
    periods.find([HOUR], at=100.0)
    assert periods.due(LONG_AFTER, 100.0 + GRACE_S - 0.1) == {}
    assert periods.due(LONG_AFTER, 100.0 + GRACE_S) == {(Timeframe.HOURLY, HOUR.period): ["AAPL"]}


def test_a_worker_that_comes_into_a_market_that_is_played_again_goes_by_its_bars_and_not_by_the_date() -> None:
    periods = PeriodBook(FINDER)
    periods.find([HOUR], at=100.0)
    for minute in range(40):  # of another symbol, half a second each
        moment = us(f"2026-03-02T15:{minute:02d}")
        periods.saw(Timeframe.MINUTE, "MSFT", moment, at=101.0 + minute / 2)
        assert periods.due(LONG_AFTER, 101.4 + minute / 2) == {}
    periods.saw(Timeframe.MINUTE, "MSFT", us("2026-03-02T16:00"), at=121.0)
    assert periods.due(LONG_AFTER, 121.0) == {(Timeframe.HOURLY, HOUR.period): ["AAPL"]}


@pytest.mark.parametrize("pause", [6.0, 60.0])
def test_a_market_that_is_played_slowly_closes_nothing_between_two_minutes(pause: float) -> None:
    periods = book()
    for number in range(3):
        periods.saw(Timeframe.MINUTE, "AAPL", us(f"2026-03-02T15:{40 + number}"), at=100.0 + number * pause)
        assert periods.due(LONG_AFTER, 100.0 + (number + 1) * pause - 0.1) == {}


def test_our_own_clock_counts_once_the_market_has_been_silent_for_long() -> None:
    periods = book()
    for number in range(3):
        periods.saw(Timeframe.MINUTE, "AAPL", us(f"2026-03-02T15:{40 + number}"), at=100.0 + number * 4)
    assert periods.due(LONG_AFTER, 108.0 + 11.9) == {}
    assert periods.due(LONG_AFTER, 108.0 + 12.0) == {(Timeframe.HOURLY, HOUR.period): ["AAPL"]}


def test_another_workers_symbols_are_forgotten() -> None:
    periods = book()
    periods.forget(["AAPL"])
    assert periods.due(LONG_AFTER, 0.0) == {}
    assert periods.symbols == set()


@pytest.mark.parametrize(
    ("now", "timeframe", "expected"),
    [
        ("2026-03-02T15:30:20", Timeframe.MINUTE, "2026-03-02T15:30"),
        ("2026-02-28T12:00", Timeframe.MINUTE, "2026-03-02T14:30"),
        ("2026-02-28T12:00", Timeframe.HOURLY, "2026-03-02T14:00"),
        ("2026-02-27T21:00", Timeframe.DAILY, "2026-03-02"),
        ("2025-12-31T21:00", Timeframe.DAILY, "2026-01-02"),
    ],
)
def test_the_bar_to_be_expected_next(now: str, timeframe: Timeframe, expected: str) -> None:
    assert upcoming_bar(trading_calendar(), timeframe, np.datetime64(now)) == us(expected)


def test_windows_follow_one_another_and_a_minute_is_in_that_of_its_week() -> None:
    windows = WindowFinder(trading_calendar())
    found = windows.between(Timeframe.MINUTE, us("2025-12-29T15:00"), us("2026-01-06T15:00"))
    assert [str(one.first)[:10] for one in found] == ["2025-12-29", "2026-01-01", "2026-01-05"]
    assert found[0].anchor == found[1].anchor  # one week in two years
    assert windows.at(Timeframe.MINUTE, us("2026-01-06T15:00")) == found[2]
    assert windows.at(Timeframe.WEEKLY, us("2026-01-09")).first_input_year is None
