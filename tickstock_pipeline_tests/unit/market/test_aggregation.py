"""Roll-ups: invariants, the exchange's hours, and real days against pandas."""

import importlib.util
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickstock_pipeline.market.aggregation import closed, roll_up
from tickstock_pipeline.market.bar import Bars, empty_bars
from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline_tests.same_bars import assert_same_bars

CALENDAR = trading_calendar()
SESSIONS = CALENDAR.sessions(date(2012, 1, 1), date(2014, 12, 31))


def bars_at(timeframe: Timeframe, time: np.ndarray, seed: int = 0) -> Bars:
    random = np.random.default_rng(seed)
    prices = np.sort(random.uniform(1, 500, (4, len(time))), axis=0)
    swap = random.random(len(time)) < 0.5
    return Bars(
        "TEST",
        timeframe,
        time.astype("datetime64[us]"),
        np.where(swap, prices[1], prices[2]),
        prices[3],
        prices[0],
        np.where(swap, prices[2], prices[1]),
        random.integers(0, 10**12, len(time)),
    )


def minutes_of(day: str, first: str, last: str) -> np.ndarray:
    start, stop = np.datetime64(f"{day}T{first}", "us"), np.datetime64(f"{day}T{last}", "us")
    return np.arange(start, stop + np.timedelta64(1, "m"), np.timedelta64(1, "m"))


def joined(parts: list[Bars]) -> Bars:
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("time", "open", "high", "low", "close", "volume")
    }
    return Bars(parts[0].symbol, parts[0].timeframe, **columns)


some_days = st.builds(
    lambda first, kept: bars_at(Timeframe.DAILY, SESSIONS[first:][: len(kept)][np.array(kept, bool)], first),
    st.integers(0, len(SESSIONS) - 120),
    st.lists(st.booleans(), max_size=120),
)
coarser = st.sampled_from([Timeframe.WEEKLY, Timeframe.MONTHLY])


@given(some_days, coarser)
def test_roll_up_keeps_the_extremes_the_ends_and_the_volume(days: Bars, into: Timeframe) -> None:
    rolled = roll_up(days, into, CALENDAR)
    assert rolled.volume.sum() == days.volume.sum()
    assert (np.diff(rolled.time) > np.timedelta64(0)).all()
    if len(days):
        assert rolled.high.max() == days.high.max()
        assert rolled.low.min() == days.low.min()
        assert rolled.open[0] == days.open[0]
        assert rolled.close[-1] == days.close[-1]
    assert (rolled.high >= np.maximum(rolled.open, rolled.close)).all()
    assert (rolled.low <= np.minimum(rolled.open, rolled.close)).all()


@given(some_days.filter(len), coarser, st.data())
def test_roll_up_of_two_parts_that_meet_at_a_border_is_that_of_the_whole(
    days: Bars, into: Timeframe, data: st.DataObject
) -> None:
    whole = roll_up(days, into, CALENDAR)
    border = data.draw(st.sampled_from(whole.time.tolist()))
    cut = int(np.searchsorted(days.time, np.datetime64(border, "us"), side="right"))
    assert_same_bars(joined([roll_up(part, into, CALENDAR) for part in (days[:cut], days[cut:])]), whole)


@given(some_days.filter(len), coarser)
def test_every_coarse_bar_is_made_of_the_days_of_its_period_alone(days: Bars, into: Timeframe) -> None:
    for position, key in enumerate(roll_up(days, into, CALENDAR).time):
        ending = CALENDAR.week_ending if into is Timeframe.WEEKLY else CALENDAR.month_ending
        own = days[ending(days.time).astype("datetime64[us]") == key]
        assert_same_bars(roll_up(own, into, CALENDAR), roll_up(days, into, CALENDAR)[position : position + 1])


@pytest.mark.parametrize("into", [Timeframe.WEEKLY, Timeframe.MONTHLY])
@pytest.mark.parametrize("symbol", ["AAPL", "FB", "GOOG", "IBM", "MSFT"])
def test_real_days_roll_up_as_pandas_groups_them(symbol: str, into: Timeframe) -> None:
    spec = importlib.util.find_spec("bokeh_sampledata")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    table = pd.read_csv(Path(spec.submodule_search_locations[0], "_data", "stocks.csv.gz"), parse_dates=["Date"])
    table = table[table["Ticker"] == symbol]
    days = Bars(
        symbol,
        Timeframe.DAILY,
        table["Date"].to_numpy().astype("datetime64[us]"),
        *(table[name].to_numpy(np.float64) for name in ("Open", "High", "Low", "Close")),
        table["Volume"].to_numpy(np.int64),
    )
    rule = "W-SUN" if into is Timeframe.WEEKLY else "ME"
    expected = (
        table.set_index("Date", drop=False)
        .resample(rule)
        .agg({"Date": "last", "Open": "first", "High": "max", "Low": "min", "Close": "last", "Volume": "sum"})
    )
    rolled = roll_up(days, into, CALENDAR)
    # all days of a period are in the file except of the last one, whose key is a session that is yet to come
    assert rolled.time[:-1].tolist() == expected["Date"].to_numpy().astype("datetime64[us]")[:-1].tolist()
    for ours, theirs in (("open", "Open"), ("high", "High"), ("low", "Low"), ("close", "Close"), ("volume", "Volume")):
        np.testing.assert_array_equal(getattr(rolled, ours), expected[theirs].to_numpy())


def test_week_of_good_friday_is_keyed_by_thursday() -> None:
    days = bars_at(Timeframe.DAILY, CALENDAR.sessions(date(2013, 3, 25), date(2013, 4, 1)))
    assert roll_up(days, Timeframe.WEEKLY, CALENDAR).time.astype("datetime64[D]").astype(str).tolist() == [
        "2013-03-28",
        "2013-04-05",
    ]
    assert roll_up(days, Timeframe.MONTHLY, CALENDAR).time.astype("datetime64[D]").astype(str).tolist() == [
        "2013-03-28",
        "2013-04-30",
    ]


def test_day_is_made_of_the_minutes_of_the_regular_session_only() -> None:
    # 2012-11-23, half a day: 14:30 to 18:00 UTC
    minutes = bars_at(Timeframe.MINUTE, minutes_of("2012-11-23", "09:00", "23:59"))
    regular = minutes[
        (minutes.time >= np.datetime64("2012-11-23T14:30")) & (minutes.time < np.datetime64("2012-11-23T18"))
    ]
    assert len(regular) == 210
    day = roll_up(minutes, Timeframe.DAILY, CALENDAR)
    assert day.time.tolist() == [np.datetime64("2012-11-23", "us").item()]
    assert (day.open[0], day.high[0], day.low[0], day.close[0], day.volume[0]) == (
        regular.open[0],
        regular.high.max(),
        regular.low.min(),
        regular.close[-1],
        regular.volume.sum(),
    )


def test_hour_is_stamped_at_the_hour_of_the_exchange_clock_and_the_opening_half_hour_at_nine() -> None:
    # 14:30 UTC in winter and 13:30 in summer are 09:30 in New York
    winter = bars_at(Timeframe.MINUTE, minutes_of("2013-03-08", "13:00", "22:00"))
    summer = bars_at(Timeframe.MINUTE, minutes_of("2013-03-11", "12:00", "21:00"))
    hours = roll_up(joined([winter, summer]), Timeframe.HOURLY, CALENDAR)
    assert hours.time.tolist() == [
        *(np.datetime64(f"2013-03-08T{hour}:00", "us").item() for hour in range(14, 21)),
        *(np.datetime64(f"2013-03-11T{hour}:00", "us").item() for hour in range(13, 20)),
    ]
    opening = winter[
        (winter.time >= np.datetime64("2013-03-08T14:30")) & (winter.time < np.datetime64("2013-03-08T15"))
    ]
    assert hours.volume[0] == opening.volume.sum()
    assert hours.open[0] == opening.open[0]


def test_hour_without_a_trade_has_no_bar() -> None:
    minutes = bars_at(Timeframe.MINUTE, np.array(["2013-03-08T14:45", "2013-03-08T17:10"], "datetime64[us]"))
    assert roll_up(minutes, Timeframe.HOURLY, CALENDAR).time.astype("datetime64[h]").astype(str).tolist() == [
        "2013-03-08T14",
        "2013-03-08T17",
    ]


@pytest.mark.parametrize("into", [Timeframe.HOURLY, Timeframe.DAILY])
@pytest.mark.parametrize("day", ["2013-03-29", "2013-03-30"])
def test_minutes_of_a_day_that_does_not_trade_make_no_bar(day: str, into: Timeframe) -> None:
    minutes = bars_at(Timeframe.MINUTE, minutes_of(day, "14:30", "15:00"))
    assert_same_bars(roll_up(minutes, into, CALENDAR), empty_bars("TEST", into))


@pytest.mark.parametrize(
    ("finer", "into"),
    [
        (Timeframe.HOURLY, Timeframe.DAILY),
        (Timeframe.DAILY, Timeframe.DAILY),
        (Timeframe.DAILY, Timeframe.HOURLY),
        (Timeframe.WEEKLY, Timeframe.MONTHLY),
        (Timeframe.MINUTE, Timeframe.WEEKLY),
    ],
)
def test_bars_do_not_roll_up_into_what_is_not_derived_from_them(finer: Timeframe, into: Timeframe) -> None:
    with pytest.raises(ValueError, match=f"{into.value} bars are not derived from {finer.value} bars"):
        roll_up(empty_bars("TEST", finer), into, CALENDAR)


def test_volume_of_a_month_is_exact_beyond_what_a_float_holds() -> None:
    days = bars_at(Timeframe.DAILY, SESSIONS[:2])
    days.volume[:] = [2**53, 1]
    assert roll_up(days, Timeframe.MONTHLY, CALENDAR).volume.tolist() == [2**53 + 1]


def test_unfinished_bar_is_not_among_the_closed_ones() -> None:
    days = bars_at(Timeframe.DAILY, CALENDAR.sessions(date(2013, 3, 25), date(2013, 4, 1)))
    weeks = roll_up(days, Timeframe.WEEKLY, CALENDAR)
    thursday_closing = np.datetime64("2013-03-28T20:00", "us")
    assert len(closed(weeks, CALENDAR, thursday_closing)) == 1
    assert len(closed(weeks, CALENDAR, thursday_closing - np.timedelta64(1, "us"))) == 0
    assert len(closed(days, CALENDAR, thursday_closing)) == 4
    assert len(closed(empty_bars("TEST", Timeframe.MINUTE), CALENDAR, thursday_closing)) == 0
