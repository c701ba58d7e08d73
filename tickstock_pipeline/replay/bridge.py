"""Finer bars made from coarser ones: minutes from a day, seconds from a minute. Pure, seeded, exact.

What is made is invented, but adds up: the first open, highest high, lowest low, last close and the sum of volumes are
those of the coarse bar, to the last bit and share.

1. A Brownian bridge runs from the open to the close: a random walk less the straight line to its own end, laid over
   the line from open to close. Its points are the closes of the fine bars, and each opens where the one before closed.
2. What lies above both open and close is stretched so that the highest point is the high, what lies below both so that
   the lowest is the low. Where the walk never went beyond them, the nearest bar's wick does.
3. Where the four prices are whole cents (or hundredths of a cent), every price is; a price that is neither is kept as
   it is, and nothing is rounded.
4. Each fine bar gets a wick of random length within the coarse bar's range.
5. The volume is split by random weights, more at the start and end of the session, in whole shares and at least one
   for each bar; a coarse bar of fewer shares than fine bars gets as many bars as it has shares.

The draws depend on the seed, the symbol and the coarse bar's time alone, so the same minutes come out whatever range
they are asked for in.
"""

import zlib
from typing import NamedTuple

import numpy as np

from tickstock_pipeline.market.bar import Bars, FloatArray, IntArray, TimeArray, empty_bars, joined
from tickstock_pipeline.market.calendar import TradingCalendar
from tickstock_pipeline.market.timeframe import Timeframe

_MINUTE = np.timedelta64(60_000_000, "us")
_WALK_SCALE = 0.9  # of the range; most of the stretching then is of little consequence
_WICK_SCALE = 0.4  # of a typical step
_TICKS_PER_UNIT = (100, 10_000)


class Parts(NamedTuple):
    """The fine bars that one coarse bar consists of, oldest first.

    Attributes
    ----------
    slot : (n,) int64, ascending: which of the coarse bar's equal periods each lies in
    open, high, low, close : (n,) float64
    volume : (n,) int64, shares
    """

    slot: IntArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: IntArray


class Whole(NamedTuple):
    """A coarse bar's values."""

    open: float
    high: float
    low: float
    close: float
    volume: int


def minutes_from_days(daily: Bars, calendar: TradingCalendar, *, seed: int = 0, trading_share: float = 1.0) -> Bars:
    """Minutes that roll up to exactly these days.

    Parameters
    ----------
    daily : daily bars as traded
    calendar : the minutes of a day are those from its opening to its closing, 210 on a half day; a day that is not a
        session has none
    seed : another one gives other minutes
    trading_share : about which share of the minutes has a bar, (0, 1]; every day has at least one

    Raises
    ------
    ValueError
        If the bars are not daily.
    """
    if daily.timeframe is not Timeframe.DAILY:
        raise ValueError(f"minutes are made from daily bars, not from {daily.timeframe.value} bars")
    daily = daily[calendar.is_session(daily.time)]
    openings, closings = calendar.opening(daily.time), calendar.closing(daily.time)
    pieces = []
    for row in range(len(daily)):
        n_slots = int((closings[row] - openings[row]) // _MINUTE)
        parts = parts_of(
            whole_of(daily, row), n_slots, generator(seed, daily.symbol, daily.time[row]), trading_share=trading_share
        )
        pieces.append(bars_of(daily.symbol, parts, openings[row]))
    return joined(pieces) if pieces else empty_bars(daily.symbol, Timeframe.MINUTE)


def parts_of(
    whole: Whole,
    n_slots: int,
    draw: np.random.Generator,
    *,
    trading_share: float = 1.0,
    shares_per_part: int = 1,
    is_session: bool = True,
) -> Parts:
    """The fine bars of one coarse bar.

    Parameters
    ----------
    whole : a valid bar (see ``market.bar.refusal_reasons``)
    n_slots : of how many periods the coarse one consists, > 0
    draw : where the randomness comes from
    trading_share : about which share of the periods has a bar, (0, 1]
    shares_per_part : how many each fine bar should have at least; a coarse bar with fewer shares becomes one fine bar
    is_session : whether the coarse bar is a session, which has more volume at its ends
    """
    most = max(1, whole.volume // shares_per_part) if whole.volume else n_slots
    slot = _slots(most, n_slots, draw, trading_share)
    n = len(slot)
    least = min(shares_per_part, whole.volume // n)
    unit = _ticks_per_unit(whole)
    open_, high, low, close = (np.rint(np.array(whole[:4]) * unit) if unit else np.array(whole[:4])).tolist()
    path = _path(open_, high, low, close, n, draw)
    wicks = np.abs(draw.normal(0.0, _WICK_SCALE * (high - low) / np.sqrt(n), (2, n)))
    if unit:
        path, wicks = np.rint(path), np.rint(wicks)
    top, bottom = np.maximum(path[:-1], path[1:]), np.minimum(path[:-1], path[1:])
    highs, lows = np.minimum(top + wicks[0], high), np.maximum(bottom - wicks[1], low)
    highs[np.argmax(top)], lows[np.argmin(bottom)] = high, low
    scale = float(unit or 1)
    prices = path[:-1] / scale, highs / scale, lows / scale, path[1:] / scale
    return Parts(slot, *prices, _volumes(whole.volume, least, slot, n_slots, draw, is_session))


def whole_of(bars: Bars, row: int) -> Whole:
    """The values of one bar."""
    return Whole(
        float(bars.open[row]),
        float(bars.high[row]),
        float(bars.low[row]),
        float(bars.close[row]),
        int(bars.volume[row]),
    )


def bars_of(symbol: str, parts: Parts, start: np.datetime64) -> Bars:
    """The parts of a day as 1min bars, of which slot 0 begins at ``start``."""
    time: TimeArray = start + parts.slot * _MINUTE
    return Bars(symbol, Timeframe.MINUTE, time, parts.open, parts.high, parts.low, parts.close, parts.volume)


def generator(seed: int, symbol: str, time: np.datetime64) -> np.random.Generator:
    """The draws for one coarse bar."""
    instant = int(time.astype("datetime64[us]").astype(np.int64)) & (2**63 - 1)
    return np.random.Generator(np.random.PCG64([seed, zlib.crc32(symbol.encode()), instant]))


def _slots(most: int, n_slots: int, draw: np.random.Generator, trading_share: float) -> IntArray:
    n = n_slots if trading_share >= 1 else max(1, int(draw.binomial(n_slots, trading_share)))
    n = min(n, most)
    if n == n_slots:
        return np.arange(n_slots, dtype=np.int64)
    return np.sort(draw.choice(n_slots, n, replace=False)).astype(np.int64)


def _ticks_per_unit(whole: Whole) -> int:
    """In which ticks all four prices are whole numbers; 0: in none."""
    prices = np.array(whole[:4])
    return next((unit for unit in _TICKS_PER_UNIT if (np.rint(prices * unit) / unit == prices).all()), 0)


def _path(open_: float, high: float, low: float, close: float, n: int, draw: np.random.Generator) -> FloatArray:
    """n + 1 points from open to close, within low and high."""
    walk = np.concatenate(([0.0], np.cumsum(draw.normal(0.0, 1.0, n))))
    steps = np.linspace(0.0, 1.0, n + 1)
    path: FloatArray = open_ + (close - open_) * steps
    path += (walk - walk[-1] * steps) * (_WALK_SCALE * (high - low) / np.sqrt(n))
    top, bottom = max(open_, close), min(open_, close)
    highest, lowest = path.max(), path.min()
    if highest > top:
        path = np.where(path > top, top + (path - top) * ((high - top) / (highest - top)), path)
    if lowest < bottom:
        path = np.where(path < bottom, bottom - (bottom - path) * ((bottom - low) / (bottom - lowest)), path)
    path = np.clip(path, low, high)
    path[0], path[-1] = open_, close
    return path


def _volumes(
    volume: int, least: int, slot: IntArray, n_slots: int, draw: np.random.Generator, is_session: bool
) -> IntArray:
    n = len(slot)
    if not volume:
        return np.zeros(n, np.int64)
    weights = draw.gamma(2.0, 1.0, n) + 1e-9
    if is_session:
        weights *= 1.0 + 2.0 * (2.0 * (slot + 0.5) / n_slots - 1.0) ** 2
    shares = weights / weights.sum() * (volume - least * n)
    whole: IntArray = np.floor(shares).astype(np.int64)
    left = volume - least * n - int(whole.sum())
    if 0 <= left <= n:
        whole[np.argsort(whole - shares, kind="stable")[:left]] += 1
    else:
        # float64 counts in steps of more than one share above 2**53
        whole[np.argmax(whole)] += left
    return whole + least
