"""Bars one value at a time: what formations that are followed from bar to bar read, in batch and live alike.

Plain Python floats, because a formation looks at a few values of a few bars, where an array operation costs more than
it computes. They are the bits of the arrays: float64 either way, and sums run over lags in the same order.
"""

from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from math import nan
from typing import Any

import numpy as np

from tickstock_pipeline.market.bar import FloatArray
from tickstock_pipeline.patterns.pivots import PivotTracker

ATR_BARS = 14
"""True ranges in an average true range; a simple mean, so that it remembers no more bars than these."""

_COLUMNS = ("high", "low", "close", "volume", "atr", "relative_volume")
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
    relative_volume : over the mean of the bars before, as in :mod:`tickstock_pipeline.patterns.measures`
    """

    __slots__ = (*_COLUMNS, "_averages", "_trackers", "base", "length")

    def __init__(self, length: int, columns: Sequence[Sequence[float]]) -> None:
        self.base = 0
        self.length = length
        self.high, self.low, self.close, self.volume, self.atr, self.relative_volume = columns
        self._averages: dict[int, Sequence[float]] = {}
        self._trackers: dict[float, PivotTracker] = {}

    @abstractmethod
    def average(self, period: int) -> Sequence[float]:
        """Simple moving averages of the close, aligned with the columns."""

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

    __slots__ = ("_average_of", "arrays")

    def __init__(self, arrays: Mapping[str, FloatArray], average_of: Callable[[int], FloatArray]) -> None:
        # A list is read fastest; an array is made faster, and read for few bars.
        super().__init__(
            len(arrays["close"]),
            [arrays[name].tolist() if name in _READ_OFTEN else _packed(arrays[name]) for name in _COLUMNS],
        )
        self.arrays = arrays
        self._average_of = average_of

    def average(self, period: int) -> Sequence[float]:
        """See :meth:`Series.average`."""
        if period not in self._averages:
            self._averages[period] = _packed(self._average_of(period))
        return self._averages[period]

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
    2. Readers say what they need: :meth:`hold`, :meth:`average`, :meth:`pivots`. Not after the first :meth:`push`.
    3. :meth:`push` takes each new bar in, once for all readers.

    Parameters
    ----------
    history : all bars so far, from the anchor on
    volume_bars : bars before one with whose mean its volume is compared
    """

    __slots__ = ("_averages_kept", "_closes", "_held", "_held_closes", "_ranges", "_volume_bars", "history")

    high: "array[float]"
    low: "array[float]"
    close: "array[float]"
    volume: "array[float]"
    atr: "array[float]"
    relative_volume: "array[float]"

    def __init__(self, history: CompleteSeries, volume_bars: int) -> None:
        super().__init__(history.length, [array("d", getattr(history, name)) for name in _COLUMNS])
        self.history: CompleteSeries | None = history
        self._volume_bars = volume_bars
        newest = slice(-ATR_BARS - 1, None)
        last = zip(history.high[newest], history.low[newest], history.close[newest], strict=True)
        self._ranges = [max(top, before) - min(bottom, before) for (_, _, before), (top, bottom, _) in pairwise(last)]
        self._held = max(volume_bars, ATR_BARS) + 1
        # Averages look back on more bars than anything else does, and on their closes only.
        self._closes: array[float] = array("d")
        self._held_closes = 0
        self._averages_kept: list[tuple[int, array[float]]] = []

    def hold(self, bars: int) -> None:
        """Keep at least the newest ``bars`` bars."""
        self._held = max(self._held, bars)

    def average(self, period: int) -> Sequence[float]:
        """See :meth:`Series.average`."""
        if period not in self._averages:
            averages = array("d", self.complete_history().average(period))
            self._averages[period] = averages
            self._averages_kept.append((period, averages))
            self._held_closes = max(self._held_closes, period)
            self._closes = array("d", self.close[-self._held_closes :])
        return self._averages[period]

    def pivots(self, reversal: float) -> PivotTracker:
        """See :meth:`Series.pivots`."""
        if reversal not in self._trackers:
            history = self.complete_history()
            tracker = PivotTracker(reversal)
            tracker.advance(0, history.high, history.low, history.atr)
            self._trackers[reversal] = tracker
        return self._trackers[reversal]

    def push(self, high: float, low: float, close: float, volume: float) -> None:
        """Take the next bar in.

        Parameters
        ----------
        high, low, close : finite prices
        volume : shares, a whole number
        """
        self.history = None
        self.high.append(high)
        self.low.append(low)
        self.close.append(close)
        self.volume.append(volume)
        self.atr.append(self._newest_atr())
        self.relative_volume.append(self._newest_relative_volume())
        if self._averages_kept:
            self._add_averages(close)
        at = self.length
        self.length = at + 1
        unit = self.atr[-1]
        for tracker in self._trackers.values():
            tracker.advance(at, (high,), (low,), (unit,))
        if len(self.close) > self._held + _SPARE_BARS:
            self._drop_old_bars()

    def state(self) -> tuple[object, ...]:
        """What it takes to come back to this bar, in as little memory as that takes."""
        self._drop_old_bars()
        columns = [getattr(self, name).tobytes() for name in _COLUMNS]
        averages = [values.tobytes() for _, values in self._averages_kept]
        trackers = [tracker.state() for tracker in self._trackers.values()]
        closes = self._closes[-self._held_closes :] if self._held_closes else self._closes
        return self.base, self.length, tuple(self._ranges), closes.tobytes(), columns, averages, trackers

    def restore(self, state: tuple[Any, ...]) -> None:
        """Come back to the bar at which :meth:`state` was asked for."""
        self.base, self.length, ranges, closes, columns, averages, trackers = state
        self._ranges = list(ranges)
        self._closes = array("d", closes)
        for name, values in zip(_COLUMNS, columns, strict=True):
            setattr(self, name, array("d", values))
        self._averages_kept = [
            (period, array("d", values)) for (period, _), values in zip(self._averages_kept, averages, strict=True)
        ]
        self._averages = dict(self._averages_kept)
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

    def _newest_atr(self) -> float:
        if self.length == 0:
            return nan
        top, bottom, before = self.high[-1], self.low[-1], self.close[-2]
        ranges = self._ranges
        ranges.append((top if top > before else before) - (bottom if bottom < before else before))
        if len(ranges) > ATR_BARS:
            del ranges[0]
        return _sum(ranges[::-1]) / ATR_BARS if len(ranges) == ATR_BARS else nan

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

    def _add_averages(self, close: float) -> None:
        closes = self._closes
        closes.append(close)
        # Newest first, one after the other, as the arrays of a batch are summed; np.sum would add pairwise.
        newest_first = np.array(closes[-self._held_closes :])[::-1]
        sums = np.add.accumulate(newest_first)
        for period, averages in self._averages_kept:
            averages.append(float(sums[period - 1]) / period if period <= len(sums) else nan)
        if len(closes) > self._held_closes + _SPARE_BARS:
            del closes[: -self._held_closes]

    def _drop_old_bars(self) -> None:
        surplus = len(self.close) - self._held
        if surplus <= 0:
            return
        for name in _COLUMNS:
            del getattr(self, name)[:surplus]
        for _, averages in self._averages_kept:
            del averages[:surplus]
        self.base += surplus


def _sum(values: Sequence[float]) -> float:
    """One after the other, which the built-in ``sum`` does no longer do since Python 3.12."""
    total = 0.0
    for value in values:
        total += value
    return total


def _packed(values: FloatArray) -> "array[float]":
    return array("d", values.tobytes())
