"""The check that every provider's rows pass."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickstock_pipeline.market.bar import RefusedBar, refusal_reasons
from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.base import FetchedBars, validated

NAN = float("nan")
CALENDAR = trading_calendar()


def check(
    rows: list[tuple[str, float, float, float, float, float]], timeframe: Timeframe = Timeframe.DAILY
) -> FetchedBars:
    columns = list(zip(*rows, strict=True)) if rows else [()] * 6
    open_, high, low, close, volume = (np.array(column, np.float64) for column in columns[1:])
    return validated(
        "IBM",
        timeframe,
        time=np.array(columns[0], "datetime64[us]"),
        open_=open_,
        high=high,
        low=low,
        close=close,
        volume=volume,
        calendar=CALENDAR,
    )


def row(time: str, price: float = 10.0, volume: float = 100.0) -> tuple[str, float, float, float, float, float]:
    return time, price, price, price, price, volume


def test_good_rows_become_bars_in_order_of_time() -> None:
    fetched = check([row("2013-01-03", 2.0), row("2013-01-02", 1.0)])
    assert fetched.bars.close.tolist() == [1.0, 2.0]
    assert fetched.refused == ()


def test_last_row_of_a_key_wins() -> None:
    fetched = check([row("2013-01-02", 1.0), row("2013-01-03", 5.0), row("2013-01-02", 2.0), row("2013-01-02", 3.0)])
    assert fetched.bars.close.tolist() == [3.0, 5.0]


def test_bad_row_does_not_win_over_a_good_one_of_its_key() -> None:
    fetched = check([row("2013-01-02", 1.0), row("2013-01-02", -1.0)])
    assert fetched.bars.close.tolist() == [1.0]
    assert [refused.reason for refused in fetched.refused] == ["a price is not positive"]


def test_fraction_of_a_share_is_rounded() -> None:
    days = ["2013-01-02", "2013-01-03", "2013-01-04"]
    assert check([row(day, volume=v) for day, v in zip(days, [0.4, 99.6, 7.0], strict=True)]).bars.volume.tolist() == [
        0,
        100,
        7,
    ]


def test_refused_bar_has_its_key_its_reason_and_its_raw_form() -> None:
    fetched = check([("2013-01-02", 10.0, 9.0, 11.0, 10.0, NAN), row("2013-01-03")])
    assert len(fetched.bars) == 1
    assert fetched.refused == (
        RefusedBar(
            "IBM",
            Timeframe.DAILY,
            "2013-01-02",
            "high is below low",
            {"open": 10.0, "high": 9.0, "low": 11.0, "close": 10.0, "volume": "nan"},
        ),
    )
    json.dumps(fetched.refused[0].raw, allow_nan=False)


@pytest.mark.parametrize(
    ("timeframe", "time", "reason"),
    [
        (Timeframe.DAILY, "NaT", "the time is missing"),
        (Timeframe.DAILY, "2013-03-29", "the exchange does not trade on this date"),
        (Timeframe.DAILY, "2012-10-29", "the exchange does not trade on this date"),
        (Timeframe.DAILY, "1970-01-02", "the calendar of the exchange covers 1990-01-02 to"),
        (Timeframe.DAILY, "2400-01-03", "the calendar of the exchange covers 1990-01-02 to"),
        (Timeframe.DAILY, "2013-01-02T14:30", "the time is not midnight of a date"),
        (Timeframe.WEEKLY, "2013-03-27", "the date is not the last session of its ISO week"),
        (Timeframe.MONTHLY, "2013-03-27", "the date is not the last session of its month"),
        (Timeframe.WEEKLY, "2013-03-29", "the exchange does not trade on this date"),
        (Timeframe.MINUTE, "2013-01-02T14:30:01", "the time is not the start of a minute"),
        (Timeframe.HOURLY, "2013-01-02T14:30", "the time is not the start of an hour"),
        (Timeframe.MINUTE, "2013-03-29T14:30", "the exchange does not trade on this date"),
    ],
)
def test_row_whose_key_cannot_be_that_of_a_bar_is_refused(timeframe: Timeframe, time: str, reason: str) -> None:
    fetched = check([row(time, -1.0)], timeframe)
    assert len(fetched.bars) == 0
    assert fetched.refused[0].reason.startswith(reason)


@pytest.mark.parametrize(
    ("timeframe", "time"),
    [(Timeframe.WEEKLY, "2013-03-28"), (Timeframe.MONTHLY, "2013-03-28"), (Timeframe.HOURLY, "2013-01-02T14:00")],
)
def test_row_with_the_key_of_its_period_is_a_bar(timeframe: Timeframe, time: str) -> None:
    assert len(check([row(time)], timeframe).bars) == 1


def test_minutes_outside_the_regular_session_are_counted_and_dropped() -> None:
    fetched = check([row(f"2012-11-23T{time}") for time in ("14:29", "14:30", "17:59", "18:00")], Timeframe.MINUTE)
    assert fetched.bars.time.astype("datetime64[m]").astype(str).tolist() == ["2012-11-23T14:30", "2012-11-23T17:59"]
    assert fetched.outside_session == 2
    assert fetched.refused == ()


@pytest.mark.parametrize("timeframe", list(Timeframe))
def test_no_rows_give_no_bars(timeframe: Timeframe) -> None:
    fetched = check([], timeframe)
    assert (len(fetched.bars), fetched.refused, fetched.outside_session) == (0, (), 0)


def test_unreadable_rows_are_handed_on() -> None:
    unreadable = RefusedBar("IBM", Timeframe.DAILY, "2013-13-45", "not a date", {})
    none = np.empty(0)
    fetched = validated(
        "IBM",
        Timeframe.DAILY,
        time=np.empty(0, "datetime64[us]"),
        open_=none,
        high=none,
        low=none,
        close=none,
        volume=none,
        calendar=CALENDAR,
        unreadable=[unreadable],
    )
    assert fetched.refused == (unreadable,)


numbers = st.one_of(st.floats(0.01, 1e6), st.sampled_from([NAN, float("inf"), -1.0, 0.0, 2.0**63]))
days = st.sampled_from(["2013-01-02", "2013-01-03", "2013-01-04", "2013-01-05", "NaT", "1970-01-02"])


@given(st.lists(st.tuples(days, numbers, numbers, numbers, numbers, numbers), max_size=20))
def test_every_row_is_a_bar_or_refused_or_replaced_by_a_later_one(
    rows: list[tuple[str, float, float, float, float, float]],
) -> None:
    fetched = check(rows)
    assert (np.diff(fetched.bars.time) > np.timedelta64(0)).all()
    good = [r for r in rows if r[0].startswith("2013-01-0") and r[0] != "2013-01-05"]
    good = [r for r in good if not refusal_reasons(*(np.array([number]) for number in r[1:]))[0]]
    assert len(fetched.refused) == len(rows) - len(good)
    assert fetched.bars.open.tolist() == [value for _, value in sorted({r[0]: r[1] for r in good}.items())]
    json.dumps([refused.raw for refused in fetched.refused], allow_nan=False)
