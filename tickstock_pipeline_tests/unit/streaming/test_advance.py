"""Many series take in bars together: one that cannot is left out, and holds up no other."""

import numpy as np
import pytest

from tickstock_pipeline.analysis import definition_set
from tickstock_pipeline.indicators.defaults import DEFAULT_INDICATORS
from tickstock_pipeline.live.bar import each_bar
from tickstock_pipeline.live.plan import LivePlan
from tickstock_pipeline.live.series import CHECKPOINT_BARS, LiveSeries
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.patterns.defaults import DEFAULT_PATTERNS
from tickstock_pipeline.storage.live_rows import BarRow
from tickstock_pipeline.streaming.advance import advance
from tickstock_pipeline.streaming.series_book import WarmSeries
from tickstock_pipeline.streaming.windows import LiveWindow

PLAN = LivePlan(definition_set(Timeframe.MINUTE, DEFAULT_INDICATORS, DEFAULT_PATTERNS))
N_BARS = 390


def minutes(symbol: str) -> Bars:
    random = np.random.default_rng([*symbol.encode()])
    close = np.round(100 + np.cumsum(random.normal(0, 0.05, N_BARS)), 2)
    time = np.datetime64("2026-03-02T14:30", "us") + np.arange(N_BARS) * np.timedelta64(1, "m")
    return Bars(symbol, Timeframe.MINUTE, time, close, close + 0.05, close - 0.05, close, np.full(N_BARS, 1_000))


def followed(bars: Bars, n_updates: int) -> WarmSeries:
    """Replayed, and then brought on by so many bars, so that there is a checkpoint."""
    series = LiveSeries.replayed(bars[:-n_updates], PLAN)
    for bar in each_bar(bars[-n_updates:]):
        series.update(bar)
    midnight = np.datetime64("2026-03-02", "us")
    window = LiveWindow(Timeframe.MINUTE, 2026, midnight, midnight, midnight)
    return WarmSeries(series, window, 1, len(bars), True, (), None, covered_at=None)


def rows(bars: Bars) -> list[BarRow]:
    return [
        BarRow(bars.symbol, bar.time, bar.open, bar.high, bar.low, bar.close, bar.volume, "test")
        for bar in each_bar(bars)
    ]


@pytest.mark.parametrize("age", range(1, CHECKPOINT_BARS, 6))
def test_a_gap_that_moves_the_checkpoint_past_its_own_end_leaves_the_others_alone(age: int) -> None:
    other, one = minutes("IBM"), minutes("AAPL")
    gap = slice(N_BARS - age - 50, N_BARS - age)
    series = {
        "AAPL": followed(one[np.delete(np.arange(N_BARS), gap)], CHECKPOINT_BARS + 20),
        "IBM": followed(other[:-1], 5),
    }
    tails = advance(series, {"AAPL": rows(one[gap]), "IBM": rows(other[-1:])}, Timeframe.MINUTE)

    assert len(tails["IBM"].bars) == 1
    if "AAPL" in tails:
        assert len(tails["AAPL"].bars) == 50 + age
