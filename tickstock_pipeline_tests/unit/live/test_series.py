"""A live series gives the bits of a batch: for any prices, after any restart, correction, late bar or refusal."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickstock_pipeline.analysis import Analysis, DefinitionSet, analyse, definition_set
from tickstock_pipeline.indicators.defaults import DEFAULT_INDICATORS
from tickstock_pipeline.live.bar import Bar, each_bar
from tickstock_pipeline.live.plan import LivePlan
from tickstock_pipeline.live.series import CHECKPOINT_BARS, LiveResult, LiveSeries, update_many
from tickstock_pipeline.market.adjustment import split_adjusted
from tickstock_pipeline.market.bar import Bars, joined
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.patterns.defaults import DEFAULT_PATTERNS
from tickstock_pipeline.patterns.detections import Detections
from tickstock_pipeline.providers.sample import SampleProvider

EVERYTHING = {
    timeframe: LivePlan(
        definition_set(
            timeframe,
            DEFAULT_INDICATORS,
            [replace(row, confidence_threshold=0.0, enabled=True) for row in DEFAULT_PATTERNS],
        )
    )
    for timeframe in (Timeframe.MINUTE, Timeframe.DAILY)
}
MINUTES = EVERYTHING[Timeframe.MINUTE]


def minutes(
    n_bars: int, *, seed: int = 1, price: float = 100.0, flat: float = 0.0, gaps: float = 0.0, quiet: float = 0.0
) -> Bars:
    """A walk of minutes on a grid of hundredths of ``price`` / 100, so that bodies and ranges have ties.

    ``flat``, ``gaps`` and ``quiet`` are the shares of bars that do not move, that open far away, without volume.
    """
    random = np.random.default_rng(seed)
    moves = np.where(random.random((n_bars, 2)) < flat, 0.0, np.rint(random.standard_t(4, (n_bars, 2)) * [4.0, 8.0]))
    jumps = np.where(random.random(n_bars) < gaps, np.rint(random.normal(0.0, 150.0, n_bars)), 0.0)
    open_ = 10000.0 + np.cumsum(moves[:, 0] + jumps)
    open_ = np.maximum(open_, 2000.0)
    close = np.maximum(open_ + moves[:, 1], 1.0)
    shadows = np.where(random.random((n_bars, 2)) < flat, 0.0, np.rint(random.exponential(4.0, (n_bars, 2))))
    high, low = np.maximum(open_, close) + shadows[:, 0], np.minimum(open_, close) - np.minimum(shadows[:, 1], 500.0)
    volume = np.where(random.random(n_bars) < quiet, 0, random.integers(1, 5000, n_bars))
    # A minute without a trade has no bar
    time = np.datetime64("2024-03-04T14:30", "us") + np.cumsum(random.integers(1, 4, n_bars)) * np.timedelta64(1, "m")
    prices = (column * (price / 10000.0) for column in (open_, high, low, close))
    return Bars("IBM", Timeframe.MINUTE, time, *prices, volume)


def assert_is_the_batchs(live: LiveResult, batch: Analysis, at: int) -> None:
    np.testing.assert_array_equal(live.values, batch.values[at])
    expected = [one[one.index == at] for one in batch.detections]
    assert_same_detections(live.detections, [one for one in expected if len(one)])


def assert_same_detections(live: Sequence[Detections], batch: Sequence[Detections]) -> None:
    assert [one.pattern for one in live] == [one.pattern for one in batch]
    for one, other in zip(live, batch, strict=True):
        for name in ("index", "direction", "confidence", "formation_bars", "volume_confirmed"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=f"{one.pattern} {name}")
            assert getattr(one, name).dtype == getattr(other, name).dtype
        for name in ("levels", "context"):
            assert list(getattr(one, name)) == list(getattr(other, name))
            for key, values in getattr(one, name).items():
                np.testing.assert_array_equal(values, getattr(other, name)[key], err_msg=f"{one.pattern} {key}")


def followed(bars: Bars, plan: LivePlan, start: int) -> Iterator[tuple[int, LiveResult]]:
    series = LiveSeries.replayed(bars[:start], plan)
    for last in each_bar(bars[:start][-1:]):
        yield start - 1, series.revise(last)[0]
    for at, bar in enumerate(each_bar(bars[start:]), start):
        yield at, series.update(bar)


KINDS: list[dict[str, Any]] = [
    {},
    {"flat": 0.4, "quiet": 0.4},
    {"flat": 1.0, "quiet": 1.0},
    {"gaps": 0.05},
    {"price": 1e6, "gaps": 0.02},
    {"price": 1e-4, "flat": 0.2},
    {"price": 1e200},
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_bar_from_the_first_on_is_what_a_batch_says(kind: dict[str, Any]) -> None:
    bars = minutes(420, **kind)
    batch = analyse(bars, MINUTES.definitions)
    for at, result in followed(bars, MINUTES, 0):
        assert_is_the_batchs(result, batch, at)


def test_the_walks_of_these_tests_have_values_and_detections() -> None:
    batch = analyse(minutes(420), MINUTES.definitions)
    assert np.isfinite(batch.values[-1]).all()
    assert sum(len(detections) > 0 for detections in batch.detections) >= 6


@pytest.mark.parametrize("symbol", ["AAPL", "IBM"])
def test_real_days_are_what_a_batch_says_across_restarts(symbol: str) -> None:
    provider = SampleProvider()
    days = (date(2000, 3, 1), date(2013, 3, 1))
    bars = provider.fetch_bars(symbol, Timeframe.DAILY, *days).bars
    bars = split_adjusted(bars, provider.fetch_splits(symbol))
    plan = EVERYTHING[Timeframe.DAILY]
    batch = analyse(bars, plan.definitions)
    random = np.random.default_rng(0)
    series = LiveSeries.replayed(bars[:250], plan)
    for at, bar in enumerate(each_bar(bars[250:]), 250):
        if random.random() < 0.01:
            series = LiveSeries.replayed(bars[:at], plan)
        assert_is_the_batchs(series.update(bar), batch, at)


@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 10**6), start=st.integers(0, 330), data=st.data())
@settings(max_examples=30, deadline=None)
def test_a_restart_at_any_bar_changes_nothing(kind: dict[str, Any], seed: int, start: int, data: st.DataObject) -> None:
    end = data.draw(st.integers(start + 1, start + 90))
    bars = minutes(end, seed=seed, **kind)
    batch = analyse(bars, MINUTES.definitions)
    for at, result in followed(bars, MINUTES, start):
        assert_is_the_batchs(result, batch, at)


@given(seed=st.integers(0, 10**6), start=st.integers(1, 300), data=st.data())
@settings(max_examples=30, deadline=None)
def test_the_newest_bar_can_be_sent_again_any_number_of_times(seed: int, start: int, data: st.DataObject) -> None:
    bars = minutes(start + 100, seed=seed, gaps=0.02)
    batch = analyse(bars, MINUTES.definitions)
    series = LiveSeries.replayed(bars[:start], MINUTES)
    for at, bar in enumerate(each_bar(bars[start:]), start):
        result = series.update(bar._replace(close=bar.low, volume=bar.volume * 3))
        for _ in range(data.draw(st.integers(1, 2))):
            (result,) = series.revise(bar)
        assert_is_the_batchs(result, batch, at)


def test_the_last_bar_of_a_replay_can_be_sent_again() -> None:
    for n_bars in (1, 2, 100, 199, 200, 201, 300):
        bars = minutes(n_bars)
        (last,) = each_bar(bars[-1:])
        wrong = replace(bars, close=np.append(bars.close[:-1], bars.low[-1]))
        series = LiveSeries.replayed(wrong, MINUTES)
        assert series.can_revise(last.time)
        assert_is_the_batchs(series.revise(last)[-1], analyse(bars, MINUTES.definitions), n_bars - 1)
        assert len(series) == n_bars


@given(back=st.integers(0, 40), n_bars=st.sampled_from([60, 205, 290, 330]), is_late=st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_late_or_corrected_bar_ends_in_the_results_of_the_right_order(back: int, n_bars: int, is_late: bool) -> None:
    bars = minutes(n_bars, seed=4)
    batch = analyse(bars, MINUTES.definitions)
    at = n_bars - 1 - back
    sent = list(each_bar(bars))
    series = LiveSeries.replayed(bars[:0], MINUTES)
    for position, bar in enumerate(sent):
        if position != at:
            series.update(bar)
        elif not is_late or position == n_bars - 1:
            series.update(bar._replace(open=bar.high, close=bar.high))
    if not series.can_revise(sent[at].time):
        with pytest.raises(ValueError, match="cannot be revised; replay from the anchor"):
            series.revise(sent[at])
        return
    results = series.revise(sent[at])
    assert len(results) == back + 1
    for position, result in enumerate(results, at):
        assert_is_the_batchs(result, batch, position)
    assert len(series) == n_bars


def test_bars_older_than_the_last_checkpoint_need_a_replay() -> None:
    bars = minutes(200 + 3 * CHECKPOINT_BARS)
    series = LiveSeries.replayed(bars[:200], MINUTES)
    sent = list(each_bar(bars))
    for bar in sent[200:]:
        series.update(bar)
    assert series.can_revise(sent[-1].time)
    assert not series.can_revise(sent[-2 - CHECKPOINT_BARS].time)
    with pytest.raises(ValueError, match=r"IBM: a bar of 2024-03-04T.* cannot be revised; replay from the anchor"):
        series.revise(sent[100])
    with pytest.raises(ValueError, match="cannot be revised"):
        series.revise(sent[-1]._replace(time=sent[-1].time + 60_000_000))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["open", "high", "low", "close"])
def test_a_price_that_is_not_finite_is_refused_and_changes_nothing(name: str, bad: float) -> None:
    bars = minutes(260)
    batch = analyse(bars, MINUTES.definitions)
    series = LiveSeries.replayed(bars[:250], MINUTES)
    for at, bar in enumerate(each_bar(bars[250:]), 250):
        with pytest.raises(ValueError, match=f"IBM: {name} of the bar of 2024-.* is"):
            series.update(bar._replace(**{name: bad}))
        assert_is_the_batchs(series.update(bar), batch, at)
        with pytest.raises(ValueError, match=f"IBM: {name} of the bar"):
            series.revise(bar._replace(**{name: bad}))


class Fickle:
    """A price that becomes no number after it has been read as one a few times: some handles take it, the next not."""

    def __init__(self, price: float, reads: int) -> None:
        self._price, self._reads = price, reads

    def __add__(self, other: float) -> float:
        return self._price + other

    __radd__ = __add__

    def __float__(self) -> float:
        self._reads -= 1
        if self._reads < 0:
            raise ArithmeticError("no number any more")
        return self._price


def test_a_bar_that_the_engine_rejects_half_way_leaves_the_series_as_it_was() -> None:
    bars = minutes(300)
    batch = analyse(bars, MINUTES.definitions)
    series = LiveSeries.replayed(bars[:240], MINUTES)
    for at, bar in enumerate(each_bar(bars[240:]), 240):
        with pytest.raises(ArithmeticError):
            series.update(bar._replace(close=Fickle(bar.low, at % 26)))  # type: ignore[arg-type]
        assert_is_the_batchs(series.update(bar), batch, at)
        with pytest.raises(ArithmeticError):
            series.revise(bar._replace(close=Fickle(bar.low, at % 26)))  # type: ignore[arg-type]
        assert_is_the_batchs(series.revise(bar)[0], batch, at)


def test_a_volume_that_does_not_fit_is_refused_and_changes_nothing() -> None:
    bars = minutes(300)
    batch = analyse(bars, MINUTES.definitions)
    series = LiveSeries.replayed(bars[:299], MINUTES)
    (last,) = each_bar(bars[-1:])
    with pytest.raises(OverflowError):
        series.update(last._replace(volume=2**63))
    assert_is_the_batchs(series.update(last), batch, 299)


def test_a_bar_that_is_not_newer_is_refused() -> None:
    bars = minutes(50)
    (last,) = each_bar(bars[-1:])
    series = LiveSeries.replayed(bars, MINUTES)
    with pytest.raises(ValueError, match="is not newer than the newest one"):
        series.update(last)
    assert len(series) == 50


def test_a_series_of_another_timeframe_is_refused() -> None:
    with pytest.raises(ValueError, match="1min bars of IBM with the definitions of daily"):
        LiveSeries.replayed(minutes(5), EVERYTHING[Timeframe.DAILY])


def test_a_replay_refuses_prices_that_are_not_finite() -> None:
    bars = minutes(250)
    for at in (100, 249):
        close = bars.close.copy()
        close[at] = np.nan
        with pytest.raises(ValueError, match="IBM"):
            LiveSeries.replayed(replace(bars, close=close), MINUTES)


def test_many_series_at_once_give_what_each_gives_alone() -> None:
    walks = [replace(minutes(330, seed=seed, flat=0.1), symbol=f"S{seed}") for seed in range(12)]
    # Series of different lengths: some have no open handle yet
    starts = [5 + 27 * place for place in range(12)]
    together = [LiveSeries.replayed(bars[:start], MINUTES) for bars, start in zip(walks, starts, strict=True)]
    batches = [analyse(bars, MINUTES.definitions) for bars in walks]
    for step in range(20):
        bars = [next(each_bar(walk[start + step :])) for walk, start in zip(walks, starts, strict=True)]
        for start, batch, result in zip(starts, batches, update_many(together, bars), strict=True):
            assert_is_the_batchs(result, batch, start + step)


def test_one_bad_bar_among_many_leaves_all_series_as_they_were() -> None:
    bars = minutes(250)
    series = [LiveSeries.replayed(bars[:249], MINUTES) for _ in range(3)]
    (last,) = each_bar(bars[-1:])
    with pytest.raises(ValueError, match="close of the bar"):
        update_many(series, [last, last, last._replace(close=math.nan)])
    assert [len(one) for one in series] == [249] * 3
    assert update_many([], []) == []


def test_series_of_different_plans_are_not_mixed() -> None:
    bars = minutes(30)
    other = LivePlan(MINUTES.definitions)
    (last,) = each_bar(bars[-1:])
    with pytest.raises(ValueError, match="follows another plan"):
        update_many([LiveSeries.replayed(bars[:29], MINUTES), LiveSeries.replayed(bars[:29], other)], [last, last])


@pytest.mark.parametrize(
    "definitions",
    [
        definition_set(Timeframe.MINUTE, [], []),
        definition_set(Timeframe.MINUTE, DEFAULT_INDICATORS, []),
        definition_set(Timeframe.MINUTE, [], DEFAULT_PATTERNS),
        definition_set(
            Timeframe.MINUTE,
            [replace(row, min_bars_required=row.min_bars_required + 70) for row in DEFAULT_INDICATORS],
            [replace(row, min_bars_required=row.min_bars_required + 200) for row in DEFAULT_PATTERNS],
        ),
    ],
    ids=["nothing", "indicators", "patterns", "late"],
)
def test_any_set_of_definitions_is_followed(definitions: DefinitionSet) -> None:
    bars = minutes(320, seed=9)
    batch = analyse(bars, definitions)
    for at, result in followed(bars, LivePlan(definitions), 0):
        assert_is_the_batchs(result, batch, at)


def test_bars_one_by_one_make_the_series_again() -> None:
    bars = minutes(30)
    one_by_one = list(each_bar(bars))
    assert one_by_one[3] == Bar(
        int(bars.time[3].astype(np.int64)), bars.open[3], bars.high[3], bars.low[3], bars.close[3], int(bars.volume[3])
    )
    assert len(one_by_one) == len(joined([bars]))


def test_what_has_a_batch_form_only_is_followed_with_the_same_bits() -> None:
    supertrend = replace(
        DEFAULT_INDICATORS[0], name="a_supertrend", function="pandas_ta:supertrend", parameters={}, min_bars_required=12
    )
    definitions = definition_set(Timeframe.MINUTE, [supertrend, *DEFAULT_INDICATORS], DEFAULT_PATTERNS)
    bars = minutes(290)
    batch = analyse(bars, definitions)
    series = LiveSeries.replayed(bars[:210], LivePlan(definitions))
    for at, bar in enumerate(each_bar(bars[210:]), 210):
        series.update(bar._replace(close=bar.low))
        (result,) = series.revise(bar)
        assert_is_the_batchs(result, batch, at)
        assert np.isfinite(result.values[0])
