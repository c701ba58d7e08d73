"""Series for tests of formations: random walks with gaps, flat stretches, spikes and silence, and drawn ones."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.timeframe import Timeframe

GRID = 64
MIRROR = 1024.0
"""Prices on the grid of 1/64 and below this reflect at its half without rounding."""


def on_grid(open_: np.ndarray, high: np.ndarray, low: np.ndarray, close: np.ndarray, volume: np.ndarray) -> Bars:
    """Bars from prices in units of the grid."""
    time = np.datetime64("2001-01-01", "us") + np.arange(len(close)) * np.timedelta64(1, "D")
    prices = (np.asarray(column, np.float64) / GRID for column in (open_, high, low, close))
    return Bars("IBM", Timeframe.DAILY, time, *prices, volume.astype(np.int64))


def walk(seed: int, n_bars: int) -> Bars:
    """A walk whose volatility and drift change every few dozen bars; each kind of trouble comes up in most seeds."""
    random = np.random.default_rng(seed)
    moves, breadths = [], []
    while len(moves) < n_bars:
        length = int(random.integers(5, 60))
        kind = random.integers(0, 6)
        scale = 0 if kind == 0 else int(random.integers(8, 60))
        drift = random.normal(0.0, 0.4) * scale
        steps = random.normal(drift, scale, length)
        if kind == 1:
            steps += np.where(random.random(length) < 0.2, random.normal(0.0, 6.0 * scale, length), 0.0)
        moves.extend(np.rint(steps).astype(int).tolist())
        breadths.extend([scale] * length)
    move, breadth = np.array(moves[:n_bars]), np.array(breadths[:n_bars])
    close = 512 * GRID + np.cumsum(move)
    # Reflected, not clipped: the walk must stay a walk
    close = np.abs((close - 64 * GRID) % (2 * 896 * GRID) - 896 * GRID) + 64 * GRID
    gap = np.where(random.random(n_bars) < 0.1, random.normal(0.0, 3.0 * breadth), 0.0)
    before = np.concatenate([close[:1], close[:-1]])
    open_ = np.clip(before + np.rint(gap), 32 * GRID, 992 * GRID)
    high = np.maximum(open_, close) + np.rint(np.abs(random.normal(0.0, 0.5 * breadth)))
    low = np.minimum(open_, close) - np.rint(np.abs(random.normal(0.0, 0.5 * breadth)))
    volume = np.rint(random.lognormal(7.0, 0.5, n_bars) * np.where(random.random(n_bars) < 0.05, 5.0, 1.0))
    volume[random.random(n_bars) < 0.02] = 0
    return on_grid(open_, np.clip(high, 1, 1023 * GRID), np.clip(low, 1, 1023 * GRID), close, volume)


@st.composite
def walks(draw: st.DrawFn, longest: int = 400) -> Bars:
    """Any walk; some with bars that are all alike."""
    bars = walk(draw(st.integers(0, 2**32 - 1)), draw(st.integers(1, longest)))
    if draw(st.booleans()):
        return bars
    first = draw(st.integers(0, len(bars) - 1))
    count = draw(st.integers(1, 40))
    repeated = np.clip(np.arange(len(bars)), None, first)
    repeated[first + count :] = np.arange(first + count, len(bars))
    return replace(bars[repeated], time=bars.time)


def mirrored(bars: Bars) -> Bars:
    """Upside down: every price from the other end of 0 to :data:`MIRROR`."""
    return replace(
        bars, open=MIRROR - bars.open, high=MIRROR - bars.low, low=MIRROR - bars.high, close=MIRROR - bars.close
    )


def zigzag(
    points: Sequence[tuple[int, float]], *, wiggle: float = 1.0, volumes: Sequence[tuple[int, int]] = ()
) -> Bars:
    """A drawing: straight lines of closes through (bar, price) points, every bar ``wiggle`` above and below.

    Parameters
    ----------
    points : positions and closes, the first at 0
    wiggle : half the range of a bar
    volumes : positions whose volume is not 1,000
    """
    at, price = np.array(points, np.float64).T
    close = np.interp(np.arange(int(at[-1]) + 1), at, price)
    volume = np.full(len(close), 1000, np.int64)
    for position, shares in volumes:
        volume[position] = shares
    before = np.concatenate([close[:1], close[:-1]])
    time = np.datetime64("2001-01-01", "us") + np.arange(len(close)) * np.timedelta64(1, "D")
    top, bottom = np.maximum(close, before), np.minimum(close, before)
    high, low = np.maximum(close + wiggle, top), np.minimum(close - wiggle, bottom)
    return Bars("IBM", Timeframe.DAILY, time, before, high, low, close, volume)
