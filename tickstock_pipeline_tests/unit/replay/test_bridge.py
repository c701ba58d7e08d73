"""Invented minutes: whatever the day, they add up to it."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickstock_pipeline.market.aggregation import roll_up
from tickstock_pipeline.market.bar import Bars, refusal_reasons
from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.replay.bridge import Whole, minutes_from_days, parts_of
from tickstock_pipeline_tests.same_bars import assert_same_bars

CALENDAR = trading_calendar()
# The second and third are half days: the Fridays after Thanksgiving and Christmas Eve of 2012.
SESSIONS = ["2012-11-21", "2012-11-23", "2012-12-24", "2013-03-08", "2013-03-11"]


class Day(NamedTuple):
    open: float
    high: float
    low: float
    close: float
    volume: int


@st.composite
def days(draw: st.DrawFn, *, ticks_per_unit: int = 100) -> Day:
    low, *inner, high = sorted(draw(st.lists(st.integers(1, 10**7), min_size=4, max_size=4)))
    open_, close = draw(st.permutations(inner))
    volume = draw(st.one_of(st.integers(0, 500), st.integers(0, 2**62)))
    return Day(open_ / ticks_per_unit, high / ticks_per_unit, low / ticks_per_unit, close / ticks_per_unit, volume)


@st.composite
def unrounded_days(draw: st.DrawFn) -> Day:
    prices = st.floats(0.0001, 1e6, allow_subnormal=False)
    low, *inner, high = sorted(draw(st.lists(prices, min_size=4, max_size=4)))
    open_, close = draw(st.permutations(inner))
    return Day(open_, high, low, close, draw(st.integers(0, 10**9)))


def daily_bars(found: list[Day], symbol: str = "AAPL") -> Bars:
    columns = [np.array(column) for column in zip(*found, strict=True)]
    time = np.array(SESSIONS[: len(found)], "datetime64[us]")
    return Bars(symbol, Timeframe.DAILY, time, *columns[:4], columns[4].astype(np.int64))


def in_ticks(bars: Bars, ticks_per_unit: int) -> bool:
    prices = np.concatenate((bars.open, bars.high, bars.low, bars.close))
    return bool((np.rint(prices * ticks_per_unit) / ticks_per_unit == prices).all())


@given(st.lists(days(), min_size=1, max_size=5), st.integers(0, 2**32), st.floats(0.01, 1.0))
@settings(max_examples=150, deadline=None)
def test_minutes_roll_up_to_exactly_their_days(found: list[Day], seed: int, trading_share: float) -> None:
    daily = daily_bars(found)
    minutes = minutes_from_days(daily, CALENDAR, seed=seed, trading_share=trading_share)

    assert_same_bars(roll_up(minutes, Timeframe.DAILY, CALENDAR), daily)
    assert set(refusal_reasons(minutes.open, minutes.high, minutes.low, minutes.close, minutes.volume * 1.0)) == {""}
    assert CALENDAR.in_session(Timeframe.MINUTE, minutes.time).all()
    assert in_ticks(minutes, 100)


@given(unrounded_days(), st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_prices_that_are_no_whole_cents_are_kept_to_the_last_bit(day: Day, seed: int) -> None:
    daily = daily_bars([day])
    minutes = minutes_from_days(daily, CALENDAR, seed=seed)

    assert_same_bars(roll_up(minutes, Timeframe.DAILY, CALENDAR), daily)
    assert set(refusal_reasons(minutes.open, minutes.high, minutes.low, minutes.close, minutes.volume * 1.0)) == {""}


@given(days(ticks_per_unit=10_000))
@settings(max_examples=50, deadline=None)
def test_prices_in_hundredths_of_a_cent_stay_so(day: Day) -> None:
    assert in_ticks(minutes_from_days(daily_bars([day]), CALENDAR), 10_000)


@given(days(), st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_seconds_add_up_to_their_minute(day: Day, seed: int) -> None:
    parts = parts_of(Whole(*day), 60, np.random.default_rng(seed), shares_per_part=4, is_session=False)

    assert parts.open[0] == day.open
    assert parts.high.max() == day.high
    assert parts.low.min() == day.low
    assert parts.close[-1] == day.close
    assert int(parts.volume.sum()) == day.volume
    assert (np.diff(parts.slot) > 0).all()
    assert 0 <= parts.slot[0] <= parts.slot[-1] < 60
    assert day.volume < 4 or parts.volume.min() >= 4


def test_a_half_day_has_210_minutes_and_a_whole_one_390() -> None:
    daily = daily_bars([Day(10.0, 11.0, 9.0, 10.5, 10**6)] * 5)
    minutes = minutes_from_days(daily, CALENDAR)

    counts = np.unique(minutes.time.astype("datetime64[D]"), return_counts=True)[1]
    assert counts.tolist() == [390, 210, 210, 390, 390]
    # daylight saving time began on 2013-03-10
    assert str(minutes.time[-780]) == "2013-03-08T14:30:00.000000"
    assert str(minutes.time[-390]) == "2013-03-11T13:30:00.000000"


def test_the_same_minutes_come_out_of_any_range() -> None:
    daily = daily_bars([Day(10.0, 11.0, 9.0, 10.5, 10**6)] * 5)

    assert_same_bars(minutes_from_days(daily[3:4], CALENDAR), minutes_from_days(daily, CALENDAR)[-780:-390])


@pytest.mark.parametrize(("symbol", "seed"), [("MSFT", 0), ("AAPL", 1)])
def test_another_symbol_or_seed_has_other_minutes(symbol: str, seed: int) -> None:
    day = [Day(10.0, 11.0, 9.0, 10.5, 10**6)]
    one = minutes_from_days(daily_bars(day), CALENDAR)
    other = minutes_from_days(daily_bars(day, symbol), CALENDAR, seed=seed)

    assert one.close.tolist() != other.close.tolist()


def test_minutes_without_a_trade_are_left_out_at_about_the_share_asked_for() -> None:
    daily = daily_bars([Day(10.0, 11.0, 9.0, 10.5, 10**6)])

    assert 270 < len(minutes_from_days(daily, CALENDAR, trading_share=0.8)) < 350


def test_more_is_traded_at_the_ends_of_a_session_than_in_its_middle() -> None:
    minutes = minutes_from_days(daily_bars([Day(10.0, 11.0, 9.0, 10.5, 10**7)]), CALENDAR)

    ends = minutes.volume[:60].sum() + minutes.volume[-60:].sum()
    assert ends > 1.5 * minutes.volume[135:255].sum()


def test_a_day_that_does_not_trade_has_no_minutes() -> None:
    daily = daily_bars([Day(10.0, 11.0, 9.0, 10.5, 10**6)])
    sunday = Bars("AAPL", Timeframe.DAILY, np.array(["2013-03-10"], "datetime64[us]"), *(daily.open,) * 4, daily.volume)

    assert len(minutes_from_days(sunday, CALENDAR)) == 0


def test_only_days_have_minutes() -> None:
    minutes = minutes_from_days(daily_bars([Day(10.0, 11.0, 9.0, 10.5, 10**6)]), CALENDAR)

    with pytest.raises(ValueError, match="1min"):
        minutes_from_days(minutes, CALENDAR)
