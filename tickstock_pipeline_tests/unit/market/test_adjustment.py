"""Split adjustment: hand-worked values, invariants, and the order of adjusting and rolling up."""

import itertools
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickstock_pipeline.market.adjustment import Split, adjusted_roll_up, price_divisors, split_adjusted
from tickstock_pipeline.market.aggregation import roll_up
from tickstock_pipeline.market.bar import Bars, empty_bars
from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.timeframe import Timeframe

CALENDAR = trading_calendar()


def flat(timeframe: Timeframe, times: list[str], prices: list[float], volumes: list[int], symbol: str = "AAPL") -> Bars:
    price = np.array(prices)
    return Bars(symbol, timeframe, np.array(times, "datetime64[us]"), price, price, price, price, np.array(volumes))


TWO_SPLITS = (Split("AAPL", date(2000, 6, 21), 2.0), Split("AAPL", date(2005, 2, 28), 2.0))


def test_divisor_is_the_product_of_the_splits_after_the_day() -> None:
    days = np.array(["2000-06-20", "2000-06-21", "2005-02-25", "2005-02-28", "2013-03-01"], "datetime64[D]")
    assert price_divisors(days, TWO_SPLITS).tolist() == [4.0, 2.0, 2.0, 1.0, 1.0]


def test_prices_are_divided_and_volumes_multiplied() -> None:
    # AAPL closed at 88.99 on 2005-02-25 and at 44.86 on 2005-02-28
    bars = flat(Timeframe.DAILY, ["2005-02-25", "2005-02-28"], [88.99, 44.86], [100, 200])
    adjusted = split_adjusted(bars, TWO_SPLITS)
    assert adjusted.close.tolist() == [88.99 / 2, 44.86]
    assert adjusted.volume.tolist() == [200, 200]
    assert adjusted.volume.dtype == np.int64
    assert bars.close.tolist() == [88.99, 44.86]


def test_reverse_split_raises_prices_and_rounds_the_volume_to_whole_shares() -> None:
    bars = flat(Timeframe.DAILY, ["2011-05-06", "2011-05-09"], [4.5, 45.0], [126, 13], "C")
    adjusted = split_adjusted(bars, [Split("C", date(2011, 5, 9), 0.1)])
    assert adjusted.close == pytest.approx([45.0, 45.0], rel=1e-15)
    assert adjusted.volume.tolist() == [13, 13]


def test_intraday_bar_counts_by_its_date_on_the_exchange() -> None:
    # 19:30 in New York on 2005-02-25 is 2005-02-26 in UTC; the split is made to fall on that very day
    bars = flat(Timeframe.MINUTE, ["2005-02-26T00:30", "2005-02-28T14:30"], [90.0, 45.0], [1, 1])
    assert price_divisors(bars, [Split("AAPL", date(2005, 2, 26), 2.0)]).tolist() == [2.0, 1.0]


def test_splits_of_other_symbols_change_nothing() -> None:
    bars = flat(Timeframe.DAILY, ["2000-06-20"], [100.0], [1], "IBM")
    assert split_adjusted(bars, TWO_SPLITS).close.tolist() == [100.0]


def test_volume_that_no_split_touches_stays_exact() -> None:
    bars = flat(Timeframe.DAILY, ["2013-03-01"], [1.0], [2**53 + 1])
    assert split_adjusted(bars, TWO_SPLITS).volume.tolist() == [2**53 + 1]


def test_no_bars_and_no_splits_are_no_special_case() -> None:
    assert len(split_adjusted(empty_bars("AAPL", Timeframe.DAILY), TWO_SPLITS)) == 0
    assert price_divisors(np.array(["2000-01-03"], "datetime64[D]"), ()).tolist() == [1.0]


@pytest.mark.parametrize("ratio", [0.0, -2.0, float("nan"), float("inf")])
def test_split_by_an_impossible_ratio_is_refused(ratio: float) -> None:
    with pytest.raises(ValueError, match="must be positive and finite"):
        Split("AAPL", date(2005, 2, 28), ratio)


@pytest.mark.parametrize("timeframe", [Timeframe.WEEKLY, Timeframe.MONTHLY])
def test_weeks_and_months_are_never_adjusted_themselves(timeframe: Timeframe) -> None:
    with pytest.raises(ValueError, match="rolled up from adjusted daily bars"):
        split_adjusted(empty_bars("AAPL", timeframe), ())


def test_week_that_spans_a_split_is_on_one_price_scale() -> None:
    days = flat(Timeframe.DAILY, ["2000-06-20", "2000-06-21"], [100.0, 50.0], [10, 20])
    split = [Split("AAPL", date(2000, 6, 21), 2.0)]
    week = adjusted_roll_up(days, Timeframe.WEEKLY, split, CALENDAR)
    assert (week.open[0], week.high[0], week.low[0], week.close[0], week.volume[0]) == (50.0, 50.0, 50.0, 50.0, 40)
    raw = roll_up(days, Timeframe.WEEKLY, CALENDAR)
    assert (raw.high[0], raw.low[0]) == (100.0, 50.0)
    # back to what was traded on the week's last day
    assert price_divisors(week, split).tolist() == [1.0]


splits = st.lists(
    st.builds(
        Split,
        st.just("AAPL"),
        st.dates(date(2000, 1, 1), date(2003, 1, 1)),
        st.sampled_from([2.0, 3.0, 1.5, 0.1, 20.0, 7.0]),
    ),
    max_size=4,
)


@given(splits)
def test_order_in_which_splits_come_does_not_change_a_bit(listed: list[Split]) -> None:
    days = np.arange(np.datetime64("1999-12-30"), np.datetime64("2003-01-05"))
    divisors = price_divisors(days, listed)
    for order in itertools.permutations(listed):
        np.testing.assert_array_equal(price_divisors(days, order), divisors)


@given(splits, st.dates(date(2000, 1, 3), date(2002, 12, 31)))
def test_divisor_is_that_of_the_definition(listed: list[Split], day: date) -> None:
    product = np.prod([split.ratio for split in listed if split.ex_date > day])
    assert price_divisors(np.array([day], "datetime64[D]"), listed)[0] == pytest.approx(product, rel=1e-14)


@given(splits)
def test_traded_value_is_kept_but_for_the_rounding_to_whole_shares(listed: list[Split]) -> None:
    days = CALENDAR.sessions(date(2000, 1, 1), date(2002, 12, 31))
    price = np.linspace(1, 900, len(days))
    bars = Bars(
        "AAPL", Timeframe.DAILY, days.astype("datetime64[us]"), price, price, price, price, np.full(len(days), 10**6)
    )
    adjusted = split_adjusted(bars, listed)
    np.testing.assert_allclose(adjusted.close * adjusted.volume, bars.close * bars.volume, rtol=0.01)
