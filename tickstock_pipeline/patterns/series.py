"""Bars one value at a time: what formations that are followed from bar to bar read, in batch and live alike.

Plain Python floats, because a formation looks at a few values of a few bars, where an array operation costs more than
it computes. They are the bits of the arrays: float64 either way, and sums run over lags in the same order.
"""

from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Mapping, Sequence
from math import nan
from typing import Any

import numpy as np

from tickstock_pipeline.market.bar import FloatArray
from tickstock_pipeline.patterns.pivots import PivotTracker

ATR_BARS = 14
"""True ranges in an average true range; a simple mean, so that it remembers no more bars than these."""

_COLUMNS = ("high", "low", "close", "volume", "atr")
_READ_OFTEN = ("high", "low", "close", "atr")
_EXACT = 2.0**53
_SPARE_BARS = 16  # held beyond the history asked for, so that bars are dropped many at a time


class Series(ABC):
    """Columns of bars by position; the bar at ``at`` is at ``column[at - base]``.

    Attributes
    ----------
    base : position of the first bar held
    length : bars in the series, those no longer held included
    high, low, close : prices; the open is of no use to a formation
    volume : shares
    atr : mean of the :data:`ATR_BARS` true ranges up to and with the bar's own
    """

    __slots__ = (*_COLUMNS, "_trackers", "base", "length")

    def __init__(self, length: int, columns: Sequence[Sequence[float]]) -> None:
        self.base = 0
        self.length = length
        self.high, self.low, self.close, self.volume, self.atr = columns
        self._trackers: dict[float, PivotTracker] = {}

    @abstractmethod
    def relative_volume(self, at: int) -> float:
        """Volume over the mean of the bars before, as in :mod:`tickstock_pipeline.patterns.measures`."""

    @abstractmethod
    def averages(self, period: int, at: int) -> tuple[float, float]:
        """Simple moving averages of the close: at the bar before ``at``, and at ``at``."""

    @abstractmethod
    def pivots(self, reversal: float) -> PivotTracker:
        """The pivots of the series, one tracker for all who ask for the same reversal."""


class CompleteSeries(Series):
    """All bars of a series, for a batch.

    Parameters
    ----------
    arrays : columns by name, (n_bars,) float64 each
    average_of : period → simple moving averages of the close, (n_bars,) float64
    """

    __slots__ = ("_average_of", "_averages", "_relative_volume", "arrays")

    def __init__(self, arrays: Mapping[str, FloatArray], average_of: Callable[[int], FloatArray]) -> None:
        # A list is read fastest; an array is made faster, and read for few bars.
        super().__init__(
            len(arrays["close"]),
            [arrays[name].tolist() if name in _READ_OFTEN else _packed(arrays[name]) for name in _COLUMNS],
        )
        self.arrays = arrays
        self._relative_volume = _packed(arrays["relative_volume"])
        self._average_of = average_of
        self._averages: dict[int, array[float]] = {}

    def relative_volume(self, at: int) -> float:
        """See :meth:`Series.relative_volume`."""
        return self._relative_volume[at]

    def averages(self, period: int, at: int) -> tuple[float, float]:
        """See :meth:`Series.averages`."""
        averages = self._averages.get(period)
        if averages is None:
            averages = self._averages[period] = _packed(self._average_of(period))
        return averages[at - 1], averages[at]

    def pivots(self, reversal: float) -> PivotTracker:
        """See :meth:`Series.pivots`."""
        if reversal not in self._trackers:
            tracker = PivotTracker(reversal, keeps_all=True)
            tracker.advance(0, self.high, self.low, self.atr)
            self._trackers[reversal] = tracker
        return self._trackers[reversal]


class LiveSeries(Series):
    """A series that grows bar by bar and holds only as many bars as its readers ask for.

    1. It is made from the history, which may be empty.
    2. Readers say what they need: :meth:`hold`, :meth:`averages`, :meth:`pivots`. Not after the first :meth:`push`.
    3. :meth:`push` takes each new bar in, once for all readers.
    4. :meth:`state` marks a bar to come back to. The bars since then are held, and no bar is held twice for it.

    Parameters
    ----------
    history : all bars so far, from the anchor on
    volume_bars : bars before one with whose mean its volume is compared
    """

    __slots__ = (
        "_averages",
        "_earlier_closes",
        "_held",
        "_held_closes",
        "_is_marked",
        "_ranges",
        "_relative_volume",
        "_volume_bars",
        "history",
    )

    high: "array[float]"
    low: "array[float]"
    close: "array[float]"
    volume: "array[float]"
    atr: "array[float]"

    def __init__(self, history: CompleteSeries, volume_bars: int) -> None:
        super().__init__(history.length, [array("d") for _ in _COLUMNS])
        self.history: CompleteSeries | None = history
        self._volume_bars = volume_bars
        self._held = max(volume_bars, ATR_BARS) + 1
        self._is_marked = False
        # The newest true ranges, newest first
        self._ranges: array[float] = array("d")
        self._relative_volume = nan
        # Averages look back on more bars than anything else does, and on their closes only: those before the bars held.
        self._earlier_closes: array[float] = array("d")
        self._held_closes = 0
        self._averages: dict[int, tuple[float, float]] = {}

    def hold(self, bars: int) -> None:
        """Keep at least the newest ``bars`` bars."""
        self._held = max(self._held, bars)

    def relative_volume(self, at: int) -> float:
        """See :meth:`Series.relative_volume`; ``at`` is the newest bar."""
        return self._relative_volume

    def averages(self, period: int, at: int) -> tuple[float, float]:
        """See :meth:`Series.averages`; ``at`` is the newest bar."""
        if period not in self._averages:
            history = self.complete_history()
            newest = history.averages(period, history.length - 1) if history.length else (nan, nan)
            self._averages[period] = newest
            self._held_closes = max(self._held_closes, period)
        return self._averages[period]

    def pivots(self, reversal: float) -> PivotTracker:
        """See :meth:`Series.pivots`."""
        if reversal not in self._trackers:
            tracker = PivotTracker(reversal)
            tracker.restore(self.complete_history().pivots(reversal).state())
            self._trackers[reversal] = tracker
        return self._trackers[reversal]

    def push(self, high: float, low: float, close: float, volume: float) -> None:
        """Take the next bar in.

        Parameters
        ----------
        high, low, close : finite prices
        volume : shares, a whole number
        """
        if self.history is not None:
            self._settle(self.history)
        self.high.append(high)
        self.low.append(low)
        self.close.append(close)
        self.volume.append(volume)
        self.atr.append(self._newest_atr())
        self._relative_volume = self._newest_relative_volume()
        if self._held_closes:
            self._average()
        at = self.length
        self.length = at + 1
        unit = self.atr[-1]
        for tracker in self._trackers.values():
            tracker.advance(at, (high,), (low,), (unit,))
        if not self._is_marked and len(self.close) > self._held + _SPARE_BARS:
            self._drop_old_bars()

    def state(self) -> tuple[object, ...]:
        """What it takes, besides the bars held, to come back to this bar; the one asked for before is of no use then.

        From now on the bars that it takes are kept. So ask again from time to time.
        """
        self._drop_old_bars()
        self._is_marked = True
        return self.length, *(tracker.state() for tracker in self._trackers.values())

    def restore(self, state: tuple[Any, ...]) -> None:
        """Come back to the bar at which :meth:`state` was asked for last, from any later one, torn or not."""
        self.length, *trackers = state
        for name in _COLUMNS:
            del getattr(self, name)[self.length - self.base :]
        self._ranges = _true_ranges(self.high, self.low, self.close)
        if self._held_closes and self.length:
            self._average()
        for tracker, earlier in zip(self._trackers.values(), trackers, strict=True):
            tracker.restore(earlier)

    def complete_history(self) -> CompleteSeries:
        """All bars of the history, for readers to catch up with.

        Raises
        ------
        ValueError
            After the first :meth:`push`.
        """
        if self.history is None:
            raise ValueError("what a live series keeps is settled before its first new bar")
        return self.history

    def _settle(self, history: CompleteSeries) -> None:
        """Take over from the history what readers look back on; only now is it known how much that is."""
        self.base = max(0, history.length - self._held)
        for name in _COLUMNS:
            getattr(self, name).extend(getattr(history, name)[self.base :])
        self._ranges = _true_ranges(self.high, self.low, self.close)
        self._earlier_closes.extend(history.close[max(0, history.length - self._held_closes) : self.base])
        self.history = None

    def _newest_atr(self) -> float:
        if self.length == 0:
            return nan
        top, bottom, before = self.high[-1], self.low[-1], self.close[-2]
        ranges = self._ranges
        ranges.insert(0, _true_range(top, bottom, before))
        if len(ranges) > ATR_BARS:
            ranges.pop()
        return _sum(ranges) / ATR_BARS if len(ranges) == ATR_BARS else nan

    def _newest_relative_volume(self) -> float:
        if self.length < self._volume_bars:
            return nan
        before = self.volume[-self._volume_bars - 1 : -1]
        total = sum(before)
        # Shares are whole numbers: below this limit their sums are exact, so in whatever order.
        if total >= _EXACT:
            total = _sum(before[::-1])
        mean = total / self._volume_bars
        return self.volume[-1] / mean if mean else 0.0

    def _average(self) -> None:
        # Newest first, one after the other, as the arrays of a batch are summed; np.sum would add pairwise.
        newest_first = np.frombuffer(self._earlier_closes + self.close)[: -self._held_closes - 1 : -1]
        sums = np.add.accumulate(newest_first)
        averages = self._averages
        for period, (_, before) in averages.items():
            averages[period] = before, float(sums[period - 1]) / period if period <= len(sums) else nan

    def _drop_old_bars(self) -> None:
        surplus = len(self.close) - self._held
        if surplus <= 0:
            return
        earlier = self._earlier_closes
        earlier.extend(self.close[:surplus])
        del earlier[: max(0, len(earlier) - max(0, self._held_closes - self._held))]
        for name in _COLUMNS:
            del getattr(self, name)[:surplus]
        self.base += surplus


def _true_range(top: float, bottom: float, before: float) -> float:
    return (top if top > before else before) - (bottom if bottom < before else before)


def _true_ranges(high: "array[float]", low: "array[float]", close: "array[float]") -> "array[float]":
    """The newest :data:`ATR_BARS` true ranges of these bars, or as many as there are; newest first."""
    newest = slice(None, -ATR_BARS - 1, -1)
    return array("d", map(_true_range, high[newest], low[newest], close[-2 : -ATR_BARS - 2 : -1]))


def _sum(values: Sequence[float]) -> float:
    """One after the other, which the built-in ``sum`` does no longer do since Python 3.12."""
    total = 0.0
    for value in values:
        total += value
    return total


def _packed(values: FloatArray) -> "array[float]":
    return array("d", values.tobytes())
