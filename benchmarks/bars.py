"""Made-up bars for measurements: random walks that look like ten years of days."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tickstock_pipeline.analysis import DefinitionSet, definition_set
from tickstock_pipeline.indicators.defaults import DEFAULT_INDICATORS
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.patterns.candlestick import CANDLESTICKS
from tickstock_pipeline.patterns.defaults import DEFAULT_PATTERNS

TEN_YEARS = 2520

WITH_CANDLESTICKS: DefinitionSet = definition_set(
    Timeframe.DAILY, DEFAULT_INDICATORS, [row for row in DEFAULT_PATTERNS if row.function in CANDLESTICKS]
)
WITH_ALL_PATTERNS: DefinitionSet = definition_set(
    Timeframe.DAILY, DEFAULT_INDICATORS, [replace(row, enabled=True) for row in DEFAULT_PATTERNS]
)


def walk(seed: int, n_bars: int = TEN_YEARS) -> Bars:
    """One symbol's days."""
    random = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(random.standard_t(5, n_bars) * 0.012))
    open_ = close * np.exp(random.normal(0.0, 0.008, n_bars))
    return Bars(
        f"S{seed:04}",
        Timeframe.DAILY,
        np.datetime64("2001-01-01", "us") + np.arange(n_bars) * np.timedelta64(1, "D"),
        open_,
        np.maximum(open_, close) * (1.0 + random.exponential(0.006, n_bars)),
        np.minimum(open_, close) * (1.0 - random.exponential(0.006, n_bars)),
        close,
        random.integers(100_000, 2_000_000, n_bars),
    )


def walks(count: int, n_bars: int = TEN_YEARS) -> Sequence[Bars]:
    """That many symbols' days."""
    return [walk(seed, n_bars) for seed in range(count)]
