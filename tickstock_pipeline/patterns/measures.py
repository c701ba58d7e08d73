"""Measures of bars that patterns are judged by: candle anatomy, recent averages, the trend before, relative volume.

Every measure at t is a function of a fixed number of bars up to t: none remembers the first bar given, so where a
series begins changes nothing once it has :data:`WINDOW_BARS` bars. Sums run over lags, not over bars, in one fixed
order: the same window gives the same bits at any position.
"""

from functools import cached_property, partial

import numpy as np

from tickstock_pipeline.indicators.inputs import Inputs
from tickstock_pipeline.market.bar import Bars, FloatArray, IntArray
from tickstock_pipeline.patterns.confidence import ratio
from tickstock_pipeline.patterns.series import ATR_BARS, CompleteSeries

AVERAGE_BARS = 10
"""Bars before a candle that its body and range are compared with; TA-Lib's own window."""
TREND_BARS = 10
"""Bars before a formation whose closes are its trend."""
VOLUME_BARS = 20
"""Bars before a candle that its volume is compared with."""
WINDOW_BARS = VOLUME_BARS + 1
"""Bars up to and with t that decide everything at t, for formations of up to eleven bars."""
_TREND_STEPS = TREND_BARS - 1
_SPARSE = 12  # one bar of so many or fewer: quicker to add up for these than for all


class Measures:
    """Measures of ``bars``, each computed at most once, on demand; (n_bars,) float64, NaN before it is known.

    Parameters
    ----------
    bars : a series, or its columns where they have been checked before
    first : position of the first bar whose detections are asked for; those of earlier bars may be left out

    Raises
    ------
    ValueError
        If a price is not finite.
    """

    def __init__(self, bars: Bars | Inputs, first: int = 0) -> None:
        self.first = first
        self.inputs = bars if isinstance(bars, Inputs) else Inputs(bars)
        self._averages: dict[int, FloatArray] = {}
        self._sums: dict[tuple[str, int], FloatArray] = {}

    def __len__(self) -> int:
        return len(self.inputs)

    def column(self, name: str) -> FloatArray:
        """A column of the bars, float64."""
        return self.inputs.column(name)

    @cached_property
    def body(self) -> FloatArray:
        """Distance from open to close, never negative."""
        return np.abs(self.column("close") - self.column("open"))

    @cached_property
    def range(self) -> FloatArray:
        """Distance from low to high."""
        return self.column("high") - self.column("low")

    def upper_shadow_at(self, at: IntArray) -> FloatArray:
        """Distance from the body to the high of the bars ``at``, (n,) each."""
        open_, close = self.column("open").take(at), self.column("close").take(at)
        return self.column("high").take(at) - np.maximum(open_, close)

    def lower_shadow_at(self, at: IntArray) -> FloatArray:
        """Distance from the low to the body of the bars ``at``, (n,) each."""
        open_, close = self.column("open").take(at), self.column("close").take(at)
        return np.minimum(open_, close) - self.column("low").take(at)

    def average_body_at(self, at: IntArray) -> FloatArray:
        """Mean body of the :data:`AVERAGE_BARS` bars before each of ``at``, (n,) each."""
        return self._sum_at("body", at - 1, AVERAGE_BARS) / AVERAGE_BARS

    def average_range_at(self, at: IntArray) -> FloatArray:
        """Mean range of the :data:`AVERAGE_BARS` bars before each of ``at``, (n,) each."""
        return self._sum_at("range", at - 1, AVERAGE_BARS) / AVERAGE_BARS

    @cached_property
    def relative_volume(self) -> FloatArray:
        """Volume over the mean volume of the bars before; 0 where that is 0: nothing to compare with."""
        if not self._has_exact_volume_sums:
            return ratio(self.inputs.volume, _mean_before(self.inputs.volume, VOLUME_BARS))
        relative = np.full(len(self), np.nan)
        relative[VOLUME_BARS:] = self.relative_volume_at(np.arange(VOLUME_BARS, len(self)))
        return relative

    @cached_property
    def average_true_range(self) -> FloatArray:
        """Mean of the :data:`ATR_BARS` true ranges up to and with the bar's own."""
        return _sum_until(self.true_range, ATR_BARS) / ATR_BARS

    def average(self, period: int) -> FloatArray:
        """Mean of the ``period`` closes up to and with the bar's own; NaN before the bar before :attr:`first`."""
        return _average(self.column("close"), self.first, self._averages, period)

    @cached_property
    def series(self) -> CompleteSeries:
        """The bars one value at a time, for formations that are followed from bar to bar."""
        columns = {name: self.column(name) for name in ("high", "low", "close", "volume")}
        # Not :meth:`average`: in a cycle with its measures, all of it would stay until the garbage collector finds it.
        average = partial(_average, columns["close"], self.first, self._averages)
        return CompleteSeries(
            {**columns, "atr": self.average_true_range, "relative_volume": self.relative_volume}, average
        )

    @cached_property
    def _has_exact_volume_sums(self) -> bool:
        # Whole numbers below 2**53: float64 adds them without rounding, so in whatever order, and so does int64.
        volume = self.inputs.shares
        return volume.dtype == np.int64 and len(volume) > 0 and int(volume.max()) * len(volume) < 2**53

    @cached_property
    def _volume_before(self) -> IntArray:
        # (n_bars + 1,), sums of all bars before each position
        return np.concatenate([[0], np.add.accumulate(self.inputs.shares)])

    def relative_volume_at(self, at: IntArray) -> FloatArray:
        """:attr:`relative_volume` of the bars ``at``, which have :data:`VOLUME_BARS` bars before them."""
        if not self._has_exact_volume_sums:
            return self.relative_volume.take(at)
        before = self._volume_before
        mean = (before.take(at) - before.take(at - VOLUME_BARS)) / VOLUME_BARS
        return ratio(self.inputs.shares.take(at).astype(np.float64), mean)

    @cached_property
    def true_range(self) -> FloatArray:
        """Distance from low to high, the close before included."""
        high, low, close = self.column("high"), self.column("low"), self.column("close")
        true_range = np.full(len(self), np.nan)
        true_range[1:] = np.maximum(high[1:], close[:-1]) - np.minimum(low[1:], close[:-1])
        return true_range

    def moved_before(self, last: IntArray) -> FloatArray:
        """Change of close over the :data:`TREND_BARS` bars that end at each of ``last``, (n,) each."""
        close = self.column("close")
        return close.take(last) - close.take(last - _TREND_STEPS)

    def trend_before(self, last: IntArray, moved: FloatArray) -> FloatArray:
        """The trend into formations.

        Parameters
        ----------
        last : (n,) int64 positions of the last bars before the formations, each with :data:`TREND_BARS` bars before it
        moved : :meth:`moved_before` of these

        Returns
        -------
        (n,) float64, ``moved`` in mean true ranges of the same bars; negative = falling.
        """
        mean = self._sum_at("true_range", last, _TREND_STEPS) / _TREND_STEPS
        trend: FloatArray = np.sign(moved) * ratio(np.abs(moved), mean)
        return trend

    def _sum_at(self, name: str, last: IntArray, count: int) -> FloatArray:
        """Sums of the ``count`` values of a measure that end at each of ``last``: those of :func:`_sum_until`."""
        values: FloatArray = getattr(self, name)
        sums = self._sums.get((name, count))
        if sums is None and len(last) * _SPARSE > len(values):
            sums = self._sums[name, count] = _sum_until(values, count)
        if sums is not None:
            return sums.take(last)
        total = values.take(last)
        for lag in range(1, count):
            total += values.take(last - lag)
        return total


def _average(close: FloatArray, first: int, known: dict[int, FloatArray], period: int) -> FloatArray:
    """See :meth:`Measures.average`; ``known`` are those computed before."""
    if period not in known:
        average = np.full(len(close), np.nan)
        start = max(0, first - period)
        average[start:] = _sum_until(close[start:], period) / period
        known[period] = average
    return known[period]


def _sum_until(values: FloatArray, count: int) -> FloatArray:
    """Sums of the ``count`` values that end at each position; NaN where there are fewer."""
    total = np.full(len(values), np.nan)
    if len(values) >= count:
        first = count - 1
        known = total[first:]
        known[:] = values[first:]
        for lag in range(1, count):
            known += values[first - lag : len(values) - lag]
    return total


def highest_before(values: FloatArray, count: int) -> FloatArray:
    """The highest of the ``count`` values before each position, its own left out; infinite where there are fewer."""
    # Doubling windows: a maximum of maxima needs no rounding, so any order gives the same
    highest = np.full(len(values), np.inf)
    if len(values) > count:
        window, size = values, 1
        while 2 * size <= count:
            window = np.maximum(window[:-size], window[size:])
            size *= 2
        rest = count - size
        if rest:
            window = np.maximum(window[: len(window) - rest], window[rest:])
        highest[count:] = window[:-1]
    return highest


def _mean_before(values: FloatArray, count: int) -> FloatArray:
    """Means of the ``count`` values before each position, its own left out."""
    mean = np.full(len(values), np.nan)
    mean[1:] = _sum_until(values, count)[:-1] / count
    return mean
