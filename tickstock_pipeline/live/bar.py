"""A bar by itself, as it arrives, and the newest bars of a series in little memory."""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tickstock_pipeline.indicators.inputs import Inputs
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.timeframe import Timeframe

BAR_COLUMNS = ("open", "high", "low", "close", "volume")
_PRICES = 4
_BEFORE_ALL_TIME = -(2**63)


class Bar(NamedTuple):
    """One bar of a series, split-adjusted like the others.

    Attributes
    ----------
    time : as in :class:`Bars`, in microseconds since 1970
    open, high, low, close : finite prices
    volume : shares
    """

    time: int
    open: float
    high: float
    low: float
    close: float
    volume: int


def each_bar(bars: Bars) -> Iterator[Bar]:
    """The bars of a series one by one."""
    times = bars.time.astype("datetime64[us]").astype(np.int64).tolist()
    columns = (getattr(bars, name).tolist() for name in BAR_COLUMNS)
    return map(Bar._make, zip(times, *columns, strict=True))


class RecentBars:
    """The newest bars of a series, in the order of their times; 48 bytes each.

    Attributes
    ----------
    first : position in the series of the oldest bar held
    end : position after the newest bar: the number of bars in the series
    """

    __slots__ = ("_prices", "_volumes_and_times", "end", "first")

    def __init__(self, bars: Bars, first: int = 0) -> None:
        self.first = first
        self.end = first + len(bars)
        prices = np.stack([bars.open, bars.high, bars.low, bars.close], axis=1, dtype=np.float64)
        times = bars.time.astype("datetime64[us]").astype(np.int64)
        self._prices = array("d", prices.tobytes())
        self._volumes_and_times = array("q", np.stack([bars.volume, times], axis=1, dtype=np.int64).tobytes())

    @property
    def newest_time(self) -> int:
        """Of the newest bar, in microseconds since 1970; none is older than the first bar that can be."""
        return self._volumes_and_times[-1] if self._volumes_and_times else _BEFORE_ALL_TIME

    def append(self, bar: Bar) -> None:
        """Take in the next bar."""
        time, open_, high, low, close, volume = bar
        self._volumes_and_times.extend((volume, time))
        self._prices.extend((open_, high, low, close))
        self.end += 1

    def drop_before(self, position: int) -> None:
        """Forget the bars before a position."""
        surplus = position - self.first
        if surplus > 0:
            del self._prices[: _PRICES * surplus]
            del self._volumes_and_times[: 2 * surplus]
            self.first = position

    def cut(self, position: int) -> list[Bar]:
        """Take out the bars from a position on, and give them back; a bar that could not be appended is gone."""
        start, held = position - self.first, self.end - self.first
        prices = self._prices[_PRICES * start : _PRICES * held]
        others = self._volumes_and_times[2 * start : 2 * held]
        del self._prices[_PRICES * start :]
        del self._volumes_and_times[2 * start :]
        self.end = position
        return [
            Bar._make((time, *prices[_PRICES * i : _PRICES * (i + 1)], volume))
            for i, (volume, time) in enumerate(zip(others[::2], others[1::2], strict=True))
        ]

    def position_of(self, time: int) -> int:
        """Where a bar of this time stands, or would have to stand."""
        return self.first + bisect_left(self._volumes_and_times[1::2], time)

    def as_bars(self, symbol: str, timeframe: Timeframe) -> Bars:
        """All bars held, as a series."""
        open_, high, low, close = _columns(self._prices, _PRICES)
        volume, times = _columns(self._volumes_and_times, 2)
        return Bars(symbol, timeframe, times.view("datetime64[us]"), open_, high, low, close, volume)


def newest_of_each(series: Iterable[RecentBars], count: int) -> Inputs:
    """The newest ``count`` bars of many series, one series after the other."""
    prices, volumes_and_times = array("d"), array("q")
    for recent in series:
        prices.extend(recent._prices[-_PRICES * count :])
        volumes_and_times.extend(recent._volumes_and_times[-2 * count :])
    return Inputs.of_columns(_columns(prices, _PRICES), _columns(volumes_and_times, 2)[0])


def _columns(values: "array[Any]", width: int) -> list[NDArray[Any]]:
    """Columns of rows that stand one after the other."""
    return list(np.ascontiguousarray(np.array(values).reshape(-1, width).T))
