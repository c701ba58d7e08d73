"""Seeded random walks as daily bars on the exchange's sessions."""

import numpy as np

from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.timeframe import Timeframe


def daily_bars(n_symbols: int, first_year: int, last_year: int) -> list[Bars]:
    """Bars of ``n_symbols`` symbols on every session of the years given, prices in cents."""
    sessions = trading_calendar().sessions(np.datetime64(f"{first_year}-01-01"), np.datetime64(f"{last_year}-12-31"))
    time = sessions.astype("datetime64[us]")
    return [_walk(f"S{number:04d}", time, np.random.default_rng(number)) for number in range(n_symbols)]


def _walk(symbol: str, time: np.ndarray, random: np.random.Generator) -> Bars:
    n_bars = len(time)
    close = np.round(100 * np.exp(np.cumsum(random.normal(0, 0.02, n_bars))), 2)
    open_ = np.round(close * np.exp(random.normal(0, 0.01, n_bars)), 2)
    high = np.round(np.maximum(open_, close) * (1 + random.exponential(0.008, n_bars)), 2)
    low = np.round(np.minimum(open_, close) * (1 - random.uniform(0, 0.015, n_bars)), 2)
    volume = random.lognormal(13, 0.6, n_bars).astype(np.int64)
    return Bars(symbol, Timeframe.DAILY, time, open_, high, low, close, volume)
