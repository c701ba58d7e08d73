"""Sessions against published facts of the New York Stock Exchange, periods against the standard library's calendar."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickstock_pipeline.market.calendar import exchange_date, start_of_hour, trading_calendar
from tickstock_pipeline.market.timeframe import Timeframe

NEW_YORK = ZoneInfo("America/New_York")
CALENDAR = trading_calendar()
SESSIONS = CALENDAR.sessions(date(1990, 1, 1), date(2026, 6, 30)).tolist()


def utc(text: str) -> np.datetime64:
    return np.datetime64(text, "us")


def new_york(text: str) -> np.datetime64:
    local = datetime.fromisoformat(text).replace(tzinfo=NEW_YORK)
    return np.datetime64(local.astimezone(UTC).replace(tzinfo=None), "us")


# nyse.com "Holidays & trading hours"; unscheduled closures: NYSE Group, "Special closings since 1885".
@pytest.mark.parametrize(
    "day",
    [
        "1994-04-27",  # funeral of Richard Nixon
        "2001-09-11",
        "2001-09-12",
        "2001-09-13",
        "2001-09-14",
        "2004-06-11",  # funeral of Ronald Reagan
        "2007-01-02",  # funeral of Gerald Ford
        "2012-10-29",  # hurricane Sandy
        "2012-10-30",
        "2018-12-05",  # funeral of George H. W. Bush
        "2013-03-29",  # Good Friday, the last weekday of its month
        "2012-11-22",  # Thanksgiving
        "2022-06-20",  # Juneteenth, kept on Monday, the first year
        "2021-12-24",  # Christmas, kept on Friday
        "2013-03-30",
        "2013-03-31",
    ],
)
def test_exchange_is_closed_on_its_holidays_and_special_closings(day: str) -> None:
    assert not CALENDAR.is_session(np.datetime64(day))


@pytest.mark.parametrize(
    "day",
    [
        "2001-09-10",
        "2001-09-17",
        "2012-10-26",
        "2012-10-31",
        "2012-10-08",  # Columbus day, on which bonds rest and shares trade
        "2021-12-31",  # New Year's day on a Saturday is not made up for
        "2021-06-18",  # the Juneteenth before the first
    ],
)
def test_exchange_is_open_around_its_holidays(day: str) -> None:
    assert CALENDAR.is_session(np.datetime64(day))


@pytest.mark.parametrize("day", ["2012-11-23", "2012-07-03", "2012-12-24", "2024-11-29"])
def test_half_day_closes_at_one_in_the_afternoon(day: str) -> None:
    assert CALENDAR.opening(np.datetime64(day)) == new_york(f"{day}T09:30")
    assert CALENDAR.closing(np.datetime64(day)) == new_york(f"{day}T13:00")


def test_full_day_is_half_past_nine_to_four_on_the_clock_of_new_york_in_winter_and_summer() -> None:
    # 2013-03-08 and -11 are the sessions around the change to daylight saving time
    days = np.array(["2013-03-08", "2013-03-11", "2013-11-01", "2013-11-04"], "datetime64[D]")
    assert CALENDAR.opening(days).tolist() == [new_york(f"{day}T09:30").item() for day in days]
    assert CALENDAR.closing(days).tolist() == [new_york(f"{day}T16:00").item() for day in days]
    assert CALENDAR.opening(days)[0] == utc("2013-03-08T14:30")
    assert CALENDAR.opening(days)[1] == utc("2013-03-11T13:30")


def test_sessions_include_both_ends_and_are_none_over_a_weekend() -> None:
    assert CALENDAR.sessions(date(2012, 10, 26), date(2012, 11, 1)).astype(str).tolist() == [
        "2012-10-26",
        "2012-10-31",
        "2012-11-01",
    ]
    assert len(CALENDAR.sessions(date(2013, 3, 30), date(2013, 3, 31))) == 0
    assert len(CALENDAR.sessions(date(2013, 4, 2), date(2013, 4, 1))) == 0


def test_year_2012_had_250_sessions() -> None:
    assert len(CALENDAR.sessions(date(2012, 1, 1), date(2012, 12, 31))) == 250


def test_calendar_reaches_from_1990_to_the_end_of_next_year() -> None:
    assert CALENDAR.first == np.datetime64("1990-01-02")
    assert CALENDAR.last.item().year == date.today().year + 1
    assert CALENDAR.last.item().month == 12


def test_calendar_is_built_once() -> None:
    assert trading_calendar() is CALENDAR


@pytest.mark.parametrize("ask", [CALENDAR.opening, CALENDAR.closing])
@pytest.mark.parametrize("day", ["2013-03-29", "1989-12-29", "2400-01-03", "NaT"])
def test_hours_of_a_day_that_does_not_trade_are_refused(ask, day: str) -> None:
    with pytest.raises(ValueError, match="not a session of XNYS"):
        ask(np.array(["2013-03-28", day], "datetime64[D]"))


@pytest.mark.parametrize(
    ("day", "ending"),
    [
        ("2013-03-25", "2013-03-28"),  # the week of Good Friday ends on Thursday
        ("2013-03-28", "2013-03-28"),
        ("2012-10-31", "2012-11-02"),  # a week that begins on Wednesday
        ("2001-09-10", "2001-09-10"),  # one that ended after a day
        ("2012-12-31", "2013-01-04"),  # one that belongs to the next year
        ("2013-01-02", "2013-01-04"),
    ],
)
def test_week_ends_on_its_last_session(day: str, ending: str) -> None:
    assert CALENDAR.week_ending(np.datetime64(day)) == np.datetime64(ending)


@pytest.mark.parametrize(
    ("day", "ending"),
    [
        ("2013-03-01", "2013-03-28"),  # Good Friday is the 29th
        ("2012-12-03", "2012-12-31"),
        ("2012-06-01", "2012-06-29"),
        ("2004-02-02", "2004-02-27"),
    ],
)
def test_month_ends_on_its_last_session(day: str, ending: str) -> None:
    assert CALENDAR.month_ending(np.datetime64(day)) == np.datetime64(ending)


def test_periods_of_all_sessions_agree_with_the_iso_calendar_of_the_standard_library() -> None:
    last_of_week: dict[tuple[int, int], date] = {}
    last_of_month: dict[tuple[int, int], date] = {}
    for day in SESSIONS:
        last_of_week[day.isocalendar()[:2]] = day
        last_of_month[day.year, day.month] = day
    days = np.array(SESSIONS, "datetime64[D]")
    assert CALENDAR.week_ending(days).tolist() == [last_of_week[day.isocalendar()[:2]] for day in SESSIONS[:-5]] + (
        CALENDAR.week_ending(days[-5:]).tolist()
    )
    assert CALENDAR.month_ending(days).tolist() == [last_of_month[day.year, day.month] for day in SESSIONS]


def test_week_without_a_session_is_refused() -> None:
    with pytest.raises(ValueError, match="no session of XNYS in the period that begins on 1989-12-25"):
        CALENDAR.week_ending(np.array(["1989-12-26"], "datetime64[D]"))


@given(st.datetimes(datetime(1990, 1, 2), datetime(2037, 12, 31), timezones=st.just(NEW_YORK)))
def test_date_and_hour_are_those_of_the_clock_of_new_york(moment: datetime) -> None:
    moment = moment.replace(hour=4 + moment.hour % 16)
    in_utc = np.array([moment.astimezone(UTC).replace(tzinfo=None)], "datetime64[us]")
    assert exchange_date(in_utc)[0].item() == moment.date()
    hour = start_of_hour(in_utc)[0].item().replace(tzinfo=UTC).astimezone(NEW_YORK)
    assert hour.replace(tzinfo=None) == moment.replace(minute=0, second=0, microsecond=0, tzinfo=None)


def test_instant_of_a_dated_bar_is_the_opening_with_the_same_date() -> None:
    keys = np.array(["2013-03-28", "2013-04-01"], "datetime64[us]")
    for timeframe in (Timeframe.DAILY, Timeframe.WEEKLY, Timeframe.MONTHLY):
        instants = CALENDAR.instant(timeframe, keys)
        assert instants.tolist() == [new_york("2013-03-28T09:30").item(), new_york("2013-04-01T09:30").item()]
        assert instants.dtype == np.dtype("datetime64[us]")


def test_instant_of_an_intraday_bar_is_its_start() -> None:
    starts = np.array(["2013-03-28T13:31", "2013-03-30T00:00"], "datetime64[us]")
    assert CALENDAR.instant(Timeframe.MINUTE, starts).tolist() == starts.tolist()


@pytest.mark.parametrize(
    ("timeframe", "start", "end"),
    [
        (Timeframe.DAILY, "2012-11-23T00:00", "2012-11-23T18:00"),
        (Timeframe.WEEKLY, "2012-11-23T00:00", "2012-11-23T18:00"),
        (Timeframe.MONTHLY, "2013-03-28T00:00", "2013-03-28T20:00"),
        (Timeframe.MINUTE, "2012-11-23T14:30", "2012-11-23T14:31"),
        (Timeframe.HOURLY, "2012-11-23T14:00", "2012-11-23T15:00"),
        (Timeframe.HOURLY, "2012-11-23T17:00", "2012-11-23T18:00"),
        (Timeframe.HOURLY, "2012-11-23T18:00", "2012-11-23T19:00"),  # after a closing: not cut by it
    ],
)
def test_bar_is_closed_from_the_end_of_its_period(timeframe: Timeframe, start: str, end: str) -> None:
    time = np.array([start], "datetime64[us]")
    assert not CALENDAR.is_closed(timeframe, time, utc(end) - np.timedelta64(1, "us"))[0]
    assert CALENDAR.is_closed(timeframe, time, utc(end))[0]


def test_bar_that_the_closing_cuts_short_is_closed_with_it() -> None:
    calendar = type(CALENDAR)(
        np.array(["2012-11-23"], "datetime64[D]"),
        np.array(["2012-11-23T14:30"], "datetime64[us]"),
        np.array(["2012-11-23T17:45"], "datetime64[us]"),
    )
    time = np.array(["2012-11-23T17:00"], "datetime64[us]")
    assert calendar.is_closed(Timeframe.HOURLY, time, utc("2012-11-23T17:45"))[0]


def test_bar_belongs_to_the_session_if_any_part_of_its_period_does() -> None:
    time = np.array(
        ["2012-11-23T14:29", "2012-11-23T14:30", "2012-11-23T17:59", "2012-11-23T18:00", "2012-11-22T15:00", "NaT"],
        "datetime64[us]",
    )
    assert CALENDAR.in_session(Timeframe.MINUTE, time).tolist() == [False, True, True, False, False, False]
    hours = np.array(["2012-11-23T13:00", "2012-11-23T14:00", "2012-11-23T18:00"], "datetime64[us]")
    assert CALENDAR.in_session(Timeframe.HOURLY, hours).tolist() == [False, True, False]


def test_anchor_of_days_is_2600_sessions_before_the_year() -> None:
    anchor = CALENDAR.anchor(Timeframe.DAILY, 2013)
    assert len(CALENDAR.sessions(anchor, date(2012, 12, 31))) == 2_600
    assert anchor.dtype == np.dtype("datetime64[us]")


def test_anchor_of_hours_is_the_opening_hour_400_sessions_before_the_year() -> None:
    anchor = CALENDAR.anchor(Timeframe.HOURLY, 2013)
    day = exchange_date(np.array([anchor]))[0]
    assert len(CALENDAR.sessions(day, date(2012, 12, 31))) == 400
    # the hourly bar of the opening is stamped 09:00, half an hour before the session opens
    assert anchor == new_york(f"{day}T09:00")


def test_anchor_of_minutes_is_8_sessions_before_the_week() -> None:
    # The weeks before Thanksgiving week 2012 (from 11-19) have five sessions each: 8 before Monday is Wednesday 11-07.
    for day in (date(2012, 11, 19), date(2012, 11, 21), date(2012, 11, 25)):
        assert CALENDAR.minute_anchor(day) == new_york("2012-11-07T09:30")


def test_anchor_of_a_years_minutes_is_that_of_the_week_of_its_first_session() -> None:
    assert CALENDAR.anchor(Timeframe.MINUTE, 2013) == CALENDAR.minute_anchor(date(2013, 1, 2))
    assert CALENDAR.anchor(Timeframe.MINUTE, 2013) == CALENDAR.minute_anchor(date(2012, 12, 31))


def test_weeks_and_months_have_no_anchor() -> None:
    assert CALENDAR.anchor(Timeframe.WEEKLY, 2013) is None
    assert CALENDAR.anchor(Timeframe.MONTHLY, 2013) is None


@pytest.mark.parametrize("year", [1960, 1990, 1995])
def test_anchor_is_clipped_to_the_start_of_the_calendar(year: int) -> None:
    assert CALENDAR.anchor(Timeframe.DAILY, year) == CALENDAR.first
    if year < 1991:
        assert CALENDAR.anchor(Timeframe.HOURLY, year) == new_york("1990-01-02T09:00")
        assert CALENDAR.anchor(Timeframe.MINUTE, year) == new_york("1990-01-02T09:30")


def test_anchor_of_a_year_after_the_calendar_is_refused() -> None:
    with pytest.raises(ValueError, match="the calendar ends on"):
        CALENDAR.anchor(Timeframe.DAILY, CALENDAR.last.item().year + 1)


@given(st.sampled_from(SESSIONS), st.integers(0, 20))
def test_no_answer_depends_on_how_many_days_are_asked_at_once(day: date, days_more: int) -> None:
    days = CALENDAR.sessions(day, day + timedelta(days=days_more))
    for ask in (CALENDAR.opening, CALENDAR.closing, CALENDAR.week_ending, CALENDAR.month_ending):
        assert ask(days).tolist() == [ask(one).item() for one in days]
