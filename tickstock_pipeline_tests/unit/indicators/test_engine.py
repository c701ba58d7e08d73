"""Indicator values against published figures and plain recomputation; what must hold for any prices."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tickstock_pipeline.indicators.defaults import DEFAULT_INDICATORS
from tickstock_pipeline.indicators.definition import IndicatorDefinition
from tickstock_pipeline.indicators.engine import compute
from tickstock_pipeline.market.bar import Bars, FloatArray, empty_bars
from tickstock_pipeline.market.timeframe import Timeframe

BY_NAME = {definition.name: definition for definition in DEFAULT_INDICATORS}

# QQQQ closes and RSI(14) of the worked example (cs-rsi.xls) of StockCharts' ChartSchool, "Relative Strength Index"
CHARTSCHOOL_CLOSES = [
    44.3389, 44.0902, 44.1497, 43.6124, 44.3278, 44.8264, 45.0955, 45.4245, 45.8433, 46.0826, 45.8931,
    46.0328, 45.6140, 46.2820, 46.2820, 46.0028, 46.0328, 46.4116, 46.2222, 45.6439, 46.2122, 46.2521,
    45.7137, 46.4515, 45.7835, 45.3548, 44.0288, 44.1783, 44.2181, 44.5672, 43.4205, 42.6628, 43.1314,
]  # fmt: skip
CHARTSCHOOL_RSI = [
    70.53, 66.32, 66.55, 69.41, 66.36, 57.97, 62.93, 63.26, 56.06, 62.38,
    54.71, 50.42, 39.99, 41.46, 41.87, 45.46, 37.30, 33.08, 37.77,
]  # fmt: skip


def bars_of(
    close: FloatArray, open_: FloatArray | None = None, high: FloatArray | None = None, low: FloatArray | None = None
) -> Bars:
    open_ = close if open_ is None else open_
    return Bars(
        "AAPL",
        Timeframe.DAILY,
        np.datetime64("2001-01-01", "us") + np.arange(len(close)) * np.timedelta64(1, "D"),
        open_,
        np.maximum(open_, close) if high is None else high,
        np.minimum(open_, close) if low is None else low,
        close,
        np.full(len(close), 1000, np.int64),
    )


def walk(n_bars: int, seed: int = 7) -> Bars:
    random = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(random.normal(0.0, 0.02, n_bars)))
    open_ = close * np.exp(random.normal(0.0, 0.01, n_bars))
    high = np.maximum(open_, close) * (1.0 + random.exponential(0.005, n_bars))
    low = np.minimum(open_, close) * (1.0 - random.exponential(0.005, n_bars))
    return bars_of(close, open_, high, low)


def value_of(bars: Bars, output: str) -> FloatArray:
    computed = compute(bars, DEFAULT_INDICATORS)
    return computed.values[:, computed.outputs.index(output)]


def wilder(values: FloatArray, period: int) -> FloatArray:
    """Wilder (1978): the mean of the first ``period`` values, then (previous x (period - 1) + value) / period."""
    smoothed = np.full(len(values), np.nan)
    smoothed[period - 1] = np.mean(values[:period])
    for i in range(period, len(values)):
        smoothed[i] = (smoothed[i - 1] * (period - 1) + values[i]) / period
    return smoothed


def ema(values: FloatArray, period: int) -> FloatArray:
    """Seeded with the simple mean of the first ``period`` values; weight 2 / (period + 1)."""
    average = np.full(len(values), np.nan)
    average[period - 1] = np.mean(values[:period])
    for i in range(period, len(values)):
        average[i] = average[i - 1] + 2.0 / (period + 1) * (values[i] - average[i - 1])
    return average


def true_range(bars: Bars) -> FloatArray:
    previous = bars.close[:-1]
    return np.maximum(bars.high[1:], previous) - np.minimum(bars.low[1:], previous)


@st.composite
def any_bars(draw: st.DrawFn, max_bars: int = 60) -> Bars:
    """Prices on a grid of 1/64, with ties, gaps, flat stretches and bars without a range."""
    n_bars = draw(st.integers(1, max_bars))
    steps = draw(hnp.arrays(np.int64, (n_bars, 4), elements=st.integers(-40, 40)))
    open_ = 4096 + np.cumsum(steps[:, 0])
    close = open_ + steps[:, 1]
    high = np.maximum(open_, close) + np.abs(steps[:, 2])
    low = np.minimum(open_, close) - np.abs(steps[:, 3])
    return bars_of(close / 64.0, open_ / 64.0, high / 64.0, low / 64.0)


def test_rsi_is_the_published_one_of_chartschool() -> None:
    # Tolerance: the figures are published with two decimals, from closes with four
    rsi = value_of(bars_of(np.array(CHARTSCHOOL_CLOSES)), "rsi")
    np.testing.assert_allclose(rsi[14:], CHARTSCHOOL_RSI, rtol=0, atol=0.006)


@pytest.mark.parametrize("period", [5, 10, 20, 50, 100, 200])
def test_sma_is_the_rolling_mean_of_pandas(period: int) -> None:
    bars = walk(400)
    expected = pd.Series(bars.close).rolling(period).mean().to_numpy()
    np.testing.assert_allclose(value_of(bars, f"sma_{period}"), expected, rtol=1e-12)


@pytest.mark.parametrize("period", [5, 10, 20, 50, 100, 200])
def test_ema_is_seeded_with_the_simple_mean(period: int) -> None:
    bars = walk(400)
    np.testing.assert_allclose(value_of(bars, f"ema_{period}"), ema(bars.close, period), rtol=1e-12)


def test_bollinger_bands_use_the_standard_deviation_of_the_population() -> None:
    bars = walk(300)
    rolling = pd.Series(bars.close).rolling(20)
    middle, deviation = rolling.mean().to_numpy(), rolling.std(ddof=0).to_numpy()
    np.testing.assert_allclose(value_of(bars, "bb_middle"), middle, rtol=1e-12)
    np.testing.assert_allclose(value_of(bars, "bb_upper"), middle + 2.0 * deviation, rtol=1e-9)
    np.testing.assert_allclose(value_of(bars, "bb_lower"), middle - 2.0 * deviation, rtol=1e-9)


def test_macd_is_the_difference_of_two_emas_that_start_together() -> None:
    bars = walk(300)
    slow = ema(bars.close, 26)
    # The fast average is seeded so that both have their first value at the 26th bar
    fast = np.full(len(bars), np.nan)
    fast[14:] = ema(bars.close[14:], 12)
    line = fast - slow
    signal = np.full(len(bars), np.nan)
    signal[25:] = ema(line[25:], 9)
    np.testing.assert_allclose(value_of(bars, "macd")[33:], line[33:], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(value_of(bars, "macd_signal")[33:], signal[33:], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(value_of(bars, "macd_hist")[33:], (line - signal)[33:], rtol=1e-9, atol=1e-12)


def test_rsi_smooths_gains_and_losses_as_wilder_did() -> None:
    bars = walk(300)
    change = np.diff(bars.close)
    gain, loss = wilder(np.maximum(change, 0.0), 14), wilder(np.maximum(-change, 0.0), 14)
    np.testing.assert_allclose(value_of(bars, "rsi")[1:], 100.0 * gain / (gain + loss), rtol=1e-10)


def test_atr_is_wilders_mean_of_true_ranges() -> None:
    bars = walk(300)
    np.testing.assert_allclose(value_of(bars, "atr")[1:], wilder(true_range(bars), 14), rtol=1e-10)


def test_adx_and_its_directional_indicators_are_wilders() -> None:
    bars, period = walk(400), 14
    up, down = np.diff(bars.high), -np.diff(bars.low)
    moves = (np.where((up > down) & (up > 0), up, 0.0), np.where((down > up) & (down > 0), down, 0.0))

    def wilder_sum(values: FloatArray) -> FloatArray:
        # Wilder's running sum starts with period - 1 changes: the first bar has none
        total = np.full(len(values), np.nan)
        total[period - 2] = values[: period - 1].sum()
        for i in range(period - 1, len(values)):
            total[i] = total[i - 1] * (1.0 - 1.0 / period) + values[i]
        return total

    ranges = wilder_sum(true_range(bars))
    plus, minus = (100.0 * wilder_sum(move) / ranges for move in moves)
    directional = 100.0 * np.abs(plus - minus) / (plus + minus)
    adx = wilder(directional[period - 1 :], period)
    np.testing.assert_allclose(value_of(bars, "plus_di")[27:], plus[26:], rtol=1e-9)
    np.testing.assert_allclose(value_of(bars, "minus_di")[27:], minus[26:], rtol=1e-9)
    np.testing.assert_allclose(value_of(bars, "adx")[27:], adx[period - 1 :], rtol=1e-9)


def test_stochastic_is_the_slow_one_with_simple_means() -> None:
    bars = walk(300)
    highest = pd.Series(bars.high).rolling(14).max()
    lowest = pd.Series(bars.low).rolling(14).min()
    k = (100.0 * (pd.Series(bars.close) - lowest) / (highest - lowest)).rolling(3).mean()
    np.testing.assert_allclose(value_of(bars, "stoch_k")[17:], k.to_numpy()[17:], rtol=1e-9)
    np.testing.assert_allclose(value_of(bars, "stoch_d"), k.rolling(3).mean().to_numpy(), rtol=1e-9)


@pytest.mark.parametrize("definition", DEFAULT_INDICATORS, ids=lambda definition: definition.name)
def test_the_first_value_stands_at_the_bar_that_min_bars_required_says(definition: IndicatorDefinition) -> None:
    values = compute(walk(260), [definition]).values
    assert np.isnan(values[: definition.min_bars_required - 1]).all()
    assert np.isfinite(values[definition.min_bars_required - 1 :]).all()


@pytest.mark.parametrize("n_bars", [0, 1, 2, 3])
def test_too_few_bars_have_no_value_and_raise_nothing(n_bars: int) -> None:
    bars = walk(3)[:n_bars] if n_bars else empty_bars("AAPL", Timeframe.DAILY)
    computed = compute(bars, DEFAULT_INDICATORS)
    assert computed.values.shape == (n_bars, 25)
    assert np.isnan(computed.values).all()


@pytest.mark.parametrize("definition", DEFAULT_INDICATORS, ids=lambda definition: definition.name)
def test_one_bar_short_of_min_bars_required_there_is_no_value(definition: IndicatorDefinition) -> None:
    assert np.isnan(compute(walk(definition.min_bars_required - 1), [definition]).values).all()


def test_a_greater_min_bars_required_delays_the_first_value() -> None:
    values = compute(walk(80), [replace(BY_NAME["sma_20"], min_bars_required=60)]).values[:, 0]
    assert np.isnan(values[:59]).all()
    assert np.isfinite(values[59:]).all()


def test_the_result_is_one_matrix_in_c_order_with_the_fixed_output_names() -> None:
    computed = compute(walk(30), [BY_NAME[name] for name in ("macd", "stochastic", "bollinger_bands", "adx", "rsi")])
    assert computed.outputs == (
        "macd", "macd_signal", "macd_hist", "stoch_k", "stoch_d", "bb_upper", "bb_middle", "bb_lower",
        "adx", "plus_di", "minus_di", "rsi",
    )  # fmt: skip
    assert computed.values.flags.c_contiguous
    assert computed.values.dtype == np.float64


def test_no_definitions_make_a_matrix_without_columns() -> None:
    assert compute(walk(30), []).values.shape == (30, 0)


def test_strided_columns_give_the_same_values_as_contiguous_ones() -> None:
    bars = walk(200)
    matrix = np.stack([bars.open, bars.high, bars.low, bars.close], axis=1)
    strided = replace(bars, open=matrix[:, 0], high=matrix[:, 1], low=matrix[:, 2], close=matrix[:, 3])
    np.testing.assert_array_equal(compute(strided, DEFAULT_INDICATORS).values, compute(bars, DEFAULT_INDICATORS).values)


@pytest.mark.parametrize("column", ["open", "high", "low", "close"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_price_that_is_not_finite_is_refused_by_name(column: str, bad: float) -> None:
    bars = walk(40)
    prices = getattr(bars, column).copy()
    prices[17] = bad
    with pytest.raises(ValueError, match=f"AAPL daily: {column} of the bar 2001-01-18"):
        compute(replace(bars, **{column: prices}), DEFAULT_INDICATORS)


def test_an_overflow_inside_the_library_is_no_value_rather_than_infinity() -> None:
    bars = walk(60)
    huge = replace(bars, **{name: getattr(bars, name) * 1e200 for name in ("open", "high", "low", "close")})
    assert not np.isinf(compute(huge, DEFAULT_INDICATORS).values).any()


def test_rsi_of_prices_that_never_moved_is_talibs_zero() -> None:
    assert value_of(bars_of(np.full(40, 12.5)), "rsi")[-1] == 0.0


@given(bars=any_bars(), data=st.data())
@settings(max_examples=60, deadline=None)
def test_values_at_a_bar_never_depend_on_later_bars(bars: Bars, data: st.DataObject) -> None:
    length = data.draw(st.integers(1, len(bars)))
    np.testing.assert_array_equal(
        compute(bars[:length], DEFAULT_INDICATORS).values, compute(bars, DEFAULT_INDICATORS).values[:length]
    )


@given(bars=any_bars())
@settings(max_examples=60, deadline=None)
def test_oscillators_stay_within_their_bounds(bars: Bars) -> None:
    computed = compute(bars, DEFAULT_INDICATORS)
    for output in ("rsi", "stoch_k", "stoch_d", "adx", "plus_di", "minus_di"):
        values = computed.values[:, computed.outputs.index(output)]
        known = values[~np.isnan(values)]
        assert ((known >= -1e-9) & (known <= 100.0 + 1e-9)).all(), output


@given(bars=any_bars())
@settings(max_examples=60, deadline=None)
def test_bands_and_ranges_keep_their_order(bars: Bars) -> None:
    computed = compute(bars, DEFAULT_INDICATORS)
    columns = dict(zip(computed.outputs, computed.values.T, strict=True))
    known = ~np.isnan(columns["bb_middle"])
    assert (columns["bb_upper"] >= columns["bb_middle"])[known].all()
    assert (columns["bb_lower"] <= columns["bb_middle"])[known].all()
    assert (columns["atr"][~np.isnan(columns["atr"])] >= 0.0).all()
