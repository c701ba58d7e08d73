"""Measures of bars that patterns are judged by: candle anatomy, recent averages, the trend before, relative volume.

Every measure at t is a function of a fixed number of bars up to t: none remembers the first bar given, so where a
series begins changes nothing once it has :data:`WINDOW_BARS` bars. Sums run over lags, not over bars, in one fixed
order: the same window gives the same bits at any position.
"""

from functools import cached_property

import numpy as np

from tickstock_pipeline.indicators.inputs import PRICE_COLUMNS, Inputs
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

    @cached_property
    def upper_shadow(self) -> FloatArray:
        """Distance from the body to the high."""
        return self.column("high") - np.maximum(self.column("open"), self.column("close"))

    @cached_property
    def lower_shadow(self) -> FloatArray:
        """Distance from the low to the body."""
        return np.minimum(self.column("open"), self.column("close")) - self.column("low")

    @cached_property
    def average_body(self) -> FloatArray:
        """Mean body of the bars before."""
        return _mean_before(self.body, AVERAGE_BARS)

    @cached_property
    def average_range(self) -> FloatArray:
        """Mean range of the bars before."""
        return _mean_before(self.range, AVERAGE_BARS)

    @cached_property
    def relative_volume(self) -> FloatArray:
        """Volume over the mean volume of the bars before; 0 where that is 0: nothing to compare with."""
        return ratio(self.inputs.volume, _mean_before(self.inputs.volume, VOLUME_BARS))

    @cached_property
    def average_true_range(self) -> FloatArray:
        """Mean of the :data:`ATR_BARS` true ranges up to and with the bar's own."""
        high, low, close = self.column("high"), self.column("low"), self.column("close")
        true_range = np.full(len(self), np.nan)
        true_range[1:] = np.maximum(high[1:], close[:-1]) - np.minimum(low[1:], close[:-1])
        return _sum_until(true_range, ATR_BARS) / ATR_BARS

    def average(self, period: int) -> FloatArray:
        """Mean of the ``period`` closes up to and with the bar's own; NaN before the bar before :attr:`first`."""
        if period not in self._averages:
            average = np.full(len(self), np.nan)
            start = max(0, self.first - period)
            average[start:] = _sum_until(self.column("close")[start:], period) / period
            self._averages[period] = average
        return self._averages[period]

    @cached_property
    def series(self) -> CompleteSeries:
        """The bars one value at a time, for formations that are followed from bar to bar."""
        columns = {name: self.column(name) for name in (*PRICE_COLUMNS, "volume")}
        return CompleteSeries(
            {**columns, "atr": self.average_true_range, "relative_volume": self.relative_volume}, self.average
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
            return self.relative_volume[at]
        before = self._volume_before
        mean = (before[at] - before[at - VOLUME_BARS]) / VOLUME_BARS
        return ratio(self.inputs.shares[at].astype(np.float64), mean)

    @cached_property
    def _true_range_sum(self) -> FloatArray:
        # Of the bars between the first and the last of the TREND_BARS that end at t
        high, low, close = self.column("high"), self.column("low"), self.column("close")
        true_range = np.full(len(self), np.nan)
        true_range[1:] = np.maximum(high[1:], close[:-1]) - np.minimum(low[1:], close[:-1])
        return _sum_until(true_range, _TREND_STEPS)

    def trend_before(self, at: IntArray, formation_bars: int | IntArray) -> FloatArray:
        """The trend into formations whose last bars are ``at``.

        Parameters
        ----------
        at : (n,) int64 positions, with :data:`TREND_BARS` bars before the formation
        formation_bars : length of the formation, whose own bars are left out; one for all or (n,)

        Returns
        -------
        (n,) float64, change of close over the :data:`TREND_BARS` bars before the formation, in mean true ranges;
        negative = falling.
        """
        last = at - formation_bars
        close = self.column("close")
        moved = close[last] - close.take(last - _TREND_STEPS, mode="clip")
        trend: FloatArray = np.sign(moved) * ratio(np.abs(moved), self._true_range_sum[last] / _TREND_STEPS)
        return trend


def _sum_until(values: FloatArray, count: int) -> FloatArray:
    """Sums of the ``count`` values that end at each position; NaN where there are fewer."""
    total = np.full(len(values), np.nan)
    if len(values) >= count:
        first = count - 1
        total[first:] = values[first:]
        for lag in range(1, count):
            total[first:] += values[first - lag : len(values) - lag]
    return total


def _mean_before(values: FloatArray, count: int) -> FloatArray:
    """Means of the ``count`` values before each position, its own left out."""
    mean = np.full(len(values), np.nan)
    mean[1:] = _sum_until(values, count)[:-1] / count
    return mean
