"""Yahoo's split adjustment undone: what comes out is what was traded."""

from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickstock_pipeline.market.adjustment import Split, price_divisors
from tickstock_pipeline.market.bar import FloatArray, TimeArray
from tickstock_pipeline.providers.yahoo_adjustment import as_traded, unadjusted_split, volume_as_traded

FIRST = date(2010, 1, 4)

# Splits as companies make them, spin-offs as Yahoo lists them, and reverse splits.
RATIOS = st.sampled_from([2.0, 3.0, 1.5, 4.0, 7.0, 20.0, 1.1, 1281 / 1000, 1998 / 1000, 0.5, 0.1, 1 / 30])
CENTS = st.integers(1, 2_000_000).map(lambda cents: cents / 100)


def yahoos(prices: FloatArray, divisors: FloatArray) -> FloatArray:
    """The documented form of Yahoo's prices: adjusted, six decimals, a float of 32 bits."""
    return np.round(prices / divisors, 6).astype(np.float32).astype(np.float64)


def days(n_days: int) -> TimeArray:
    return np.datetime64(FIRST, "D") + np.arange(n_days)


@st.composite
def traded_series(draw: st.DrawFn) -> tuple[FloatArray, FloatArray]:
    """Prices of consecutive days, and what Yahoo divides them by."""
    prices = np.array(draw(st.lists(CENTS, min_size=1, max_size=30)))
    splits = [
        Split("X", FIRST + timedelta(days=draw(st.integers(0, len(prices)))), draw(RATIOS))
        for _ in range(draw(st.integers(0, 4)))
    ]
    return prices, price_divisors(days(len(prices)), splits)


@given(traded_series())
def test_prices_come_back_to_the_cent_wherever_yahoo_kept_it(series: tuple[FloatArray, FloatArray]) -> None:
    prices, divisors = series
    given_by_yahoo = yahoos(prices, divisors)
    # what of the price is left in six decimals of 32 bits
    kept = divisors * (0.5e-6 + given_by_yahoo * 2.0**-24)
    undone = as_traded(given_by_yahoo, divisors)
    is_kept = kept < 0.0049
    np.testing.assert_array_equal(undone[is_kept], prices[is_kept])
    assert (np.abs(undone - prices) <= 2 * kept + 1e-9)[~is_kept].all()


@given(st.integers(1, 5_000_000), RATIOS)
def test_prices_below_a_cent_s_grain_come_back_to_a_ten_thousandth(ten_thousandths: int, ratio: float) -> None:
    price = np.array([ten_thousandths / 10_000])
    ratios = np.array([ratio])
    assert as_traded(yahoos(price, ratios), ratios)[0] == pytest.approx(price[0], abs=1e-4)


@given(st.lists(st.floats(0.0001, 1e5), min_size=2, max_size=40), RATIOS)
def test_no_price_passes_another(prices: list[float], ratio: float) -> None:
    ordered = np.sort(np.array(prices))
    assert (np.diff(as_traded(ordered, np.full(len(ordered), ratio))) >= 0).all()


@given(st.integers(0, 10**12), RATIOS)
def test_volumes_come_back_within_what_rounding_lost(volume: int, ratio: float) -> None:
    given_by_yahoo = np.rint(np.array([volume * ratio]))
    undone = volume_as_traded(given_by_yahoo, np.array([ratio]))
    # Yahoo keeps whole shares, and one share after a reverse split is several before it
    assert abs(undone[0] - volume) <= 0.5 / ratio + 0.5
    if ratio >= 2:
        assert undone[0] == volume


@pytest.mark.parametrize(
    ("given_by_yahoo", "divisor", "traded"),
    [
        # AAPL 1980-12-12, its first day: 28.75 on the tape; splits of 2, 2, 2, 7 and 4 followed.
        (0.12834799289703369, 224.0, 28.75),
        # AAPL 2014-06-06, the last day before 7:1: 645.57 on the tape, and 4:1 in 2020.
        (23.056072235107422, 28.0, 645.57),
        # a float of 32 bits without any split
        (150.02999877929688, 1.0, 150.03),
        # sub-penny prices and the sixteenths of before 2001 stay
        (86.4931030273, 1.0, 86.4931),
        (28.0625, 1.0, 28.0625),
    ],
)
def test_known_prices(given_by_yahoo: float, divisor: float, traded: float) -> None:
    assert as_traded(np.array([given_by_yahoo]), np.array([divisor]))[0] == traded


def test_a_missing_price_stays_missing() -> None:
    assert np.isnan(as_traded(np.array([np.nan]), np.array([4.0]))).all()


class TestUnadjustedSplit:
    split = Split("X", FIRST + timedelta(days=2), 4.0)

    def found(self, closes: list[float], *splits: Split) -> Split | None:
        prices = np.array(closes)
        return unadjusted_split(days(len(prices)), prices, prices, splits)

    def test_a_series_on_one_scale_is_adjusted(self) -> None:
        assert self.found([25.0, 25.5, 24.0, 26.0], self.split) is None

    def test_a_jump_by_the_ratio_is_an_adjustment_not_made(self) -> None:
        assert self.found([100.0, 102.0, 24.0, 26.0], self.split) is self.split

    def test_a_jump_of_a_reverse_split_counts_too(self) -> None:
        reverse = Split("X", self.split.ex_date, 0.1)
        assert self.found([1.0, 1.1, 10.8, 10.0], reverse) is reverse
        assert self.found([10.0, 11.0, 9.0, 8.5], reverse) is None

    def test_a_crash_on_the_day_of_a_split_is_not_mistaken(self) -> None:
        assert self.found([25.0, 25.0, 14.0, 14.5], self.split) is None

    def test_the_split_that_was_forgotten_is_named(self) -> None:
        earlier = Split("X", FIRST + timedelta(days=1), 2.0)
        assert self.found([25.5, 102.0, 24.0], earlier, self.split) is self.split

    @pytest.mark.parametrize("offset", [0, 4, 9])
    def test_without_a_price_on_both_sides_nothing_is_said(self, offset: int) -> None:
        outside = Split("X", FIRST + timedelta(days=offset), 4.0)
        assert self.found([100.0, 25.0, 100.0, 25.0], outside) is None

    def test_a_gap_of_weeks_says_nothing(self) -> None:
        prices = np.array([100.0, 25.0])
        apart = np.array([FIRST, FIRST + timedelta(days=20)], "datetime64[D]")
        assert unadjusted_split(apart, prices, prices, [Split("X", FIRST + timedelta(days=9), 4.0)]) is None

    def test_small_ratios_and_missing_prices_say_nothing(self) -> None:
        assert self.found([100.0, 100.0, 91.0, 92.0], Split("X", self.split.ex_date, 1.1)) is None
        assert self.found([100.0, float("nan"), 25.0, 25.0], self.split) is None
