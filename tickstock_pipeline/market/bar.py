"""What a bar is, stated once, and the arrays that carry bars between layers.

A bar is (symbol, timeframe, start) with open, high, low and close in the currency of the listing and volume in shares.
Its interval is closed on the left and open on the right; it is stamped at its START, in UTC. Prices are as traded
(raw); splits are facts of their own, applied at read time by :mod:`tickstock_pipeline.market.adjustment`.

Daily, weekly and monthly bars are keyed by a date: the session, the last session of the ISO week, the last session of
the month. A period without a trade has no bar: nothing is invented. A bar is revisable: a later message for the same
key replaces the earlier one. A bar that breaks a rule of :func:`refusal_reasons` never enters a bar table.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tickstock_pipeline.market.timeframe import Timeframe

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
TimeArray = NDArray[np.datetime64]
"""``datetime64[us]``, UTC. A date-keyed bar holds midnight of its date."""


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars of one symbol in one timeframe, oldest first, no key twice.

    Attributes
    ----------
    symbol, timeframe : what the bars are of
    time : (n_bars,) datetime64[us], UTC; the START of an intraday bar, midnight of the key date of the others
    open, high, low, close : (n_bars,) float64, currency of the listing
    volume : (n_bars,) int64, shares
    """

    symbol: str
    timeframe: Timeframe
    time: TimeArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: IntArray

    def __len__(self) -> int:
        return len(self.time)

    def __getitem__(self, index: slice | IntArray | BoolArray) -> Self:
        """Some of the bars: a slice (views), a mask or an index array, in the order asked for."""
        return replace(
            self,
            time=self.time[index],
            open=self.open[index],
            high=self.high[index],
            low=self.low[index],
            close=self.close[index],
            volume=self.volume[index],
        )

    def since(self, first: np.datetime64) -> Self:
        """The bars whose time is ``first`` or later (views)."""
        return self[int(np.searchsorted(self.time, first)) :]

    def until(self, last: np.datetime64) -> Self:
        """The bars whose time is ``last`` or earlier (views)."""
        return self[: int(np.searchsorted(self.time, last, side="right"))]


def empty_bars(symbol: str, timeframe: Timeframe) -> Bars:
    """A series without a bar."""
    floats = np.empty(0, np.float64)
    return Bars(symbol, timeframe, np.empty(0, "datetime64[us]"), floats, floats, floats, floats, np.empty(0, np.int64))


def joined(series: Sequence[Bars]) -> Bars:
    """Consecutive pieces of one symbol's series as one.

    Raises
    ------
    ValueError
        If there is no piece, or the pieces are not one series in order of time.
    """
    if len({(bars.symbol, bars.timeframe) for bars in series}) != 1:
        raise ValueError("pieces of exactly one series are needed")
    time = np.concatenate([bars.time for bars in series])
    if not (time[1:] > time[:-1]).all():
        raise ValueError("the pieces overlap or are not in order of time")
    return Bars(
        series[0].symbol,
        series[0].timeframe,
        time,
        open=np.concatenate([bars.open for bars in series]),
        high=np.concatenate([bars.high for bars in series]),
        low=np.concatenate([bars.low for bars in series]),
        close=np.concatenate([bars.close for bars in series]),
        volume=np.concatenate([bars.volume for bars in series]),
    )


@dataclass(frozen=True, slots=True)
class RefusedBar:
    """A bar that broke a rule: what it was and why it was refused."""

    symbol: str
    timeframe: Timeframe
    time: str
    """The key as the provider gave it: it may be what is wrong."""
    reason: str
    raw: dict[str, object]


def first_refused(bars: Bars) -> tuple[int, str] | None:
    """Position of the first bar that breaks a rule, and the reason; None if all of them are bars."""
    is_bar = (bars.low > 0) & (bars.low <= np.minimum(bars.open, bars.close))
    is_bar &= (bars.high >= np.maximum(bars.open, bars.close)) & (bars.high < np.inf)
    is_bar &= bars.volume >= 0
    if is_bar.all():
        return None
    at = int(np.argmin(is_bar))
    one = bars[at : at + 1]
    (reason,) = refusal_reasons(one.open, one.high, one.low, one.close, one.volume.astype(np.float64))
    return at, reason


def refusal_reasons(
    open_: FloatArray, high: FloatArray, low: FloatArray, close: FloatArray, volume: FloatArray
) -> list[str]:
    """Why each bar must be refused; an empty string where nothing is wrong.

    Parameters
    ----------
    open_, high, low, close : (n_bars,) float64, as the provider gave them
    volume : (n_bars,) float64 shares; NaN where the provider gave none

    Returns
    -------
    n_bars reasons; the first rule that a bar breaks is its reason.
    """
    prices = np.stack([open_, high, low, close])
    rules: list[tuple[BoolArray, str]] = [
        (~np.logical_and.reduce(np.isfinite(prices)), "a price is missing or not finite"),
        (prices.min(axis=0) <= 0, "a price is not positive"),
        (high < low, "high is below low"),
        (high < np.maximum(open_, close), "high is below open or close"),
        (low > np.minimum(open_, close), "low is above open or close"),
        (~np.isfinite(volume), "volume is missing or not finite"),
        (volume < 0, "volume is negative"),
        # int64's limit, approached from below: float64 has no 2**63 - 1
        (volume >= 2.0**63, "volume is too large"),
    ]
    reasons = np.full(len(open_), "", dtype=object)
    for broken, reason in reversed(rules):
        reasons[broken] = reason
    return [str(reason) for reason in reasons]
