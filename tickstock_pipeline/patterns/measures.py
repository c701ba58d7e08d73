"""Measures of bars that patterns are judged by: candle anatomy, recent averages, the trend before, relative volume.

Every measure at t is a function of a fixed number of bars up to t: none remembers the first bar given, so where a
series begins changes nothing once it has :data:`WINDOW_BARS` bars. Sums run over lags, not over bars, in one fixed
order: the same window gives the same bits at any position.
"""

from functools import cached_property

import numpy as np

from tickstock_pipeline.indicators.inputs import Inputs
from tickstock_pipeline.market.bar import Bars, FloatArray, IntArray
from tickstock_pipeline.patterns.confidence import ratio

AVERAGE_BARS = 10
"""Bars before a candle that its body and range are compared with; TA-Lib's own window."""
TREND_BARS = 10
"""Bars before a formation whose closes are its trend."""
VOLUME_BARS = 20
"""Bars before a candle that its volume is compared with."""
WINDOW_BARS = VOLUME_BARS + 1
"""Bars up to and with t that decide everything at t, for formations of up to eleven bars."""


class Measures:
    """Measures of ``bars``, each computed at most once, on demand; (n_bars,) float64, NaN before it is known.

    Raises
    ------
    ValueError
        If a price is not finite.
    """

    def __init__(self, bars: Bars) -> None:
        self.inputs = Inputs(bars)

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
    def _change_atr(self) -> FloatArray:
        # Change of close over the TREND_BARS bars that end at t, in mean true ranges of the same bars.
        high, low, close = self.column("high"), self.column("low"), self.column("close")
        change = np.full(len(self), np.nan)
        steps = TREND_BARS - 1
        if len(self) <= steps:
            return change
        true_range = np.full(len(self), np.nan)
        true_range[1:] = np.maximum(high[1:], close[:-1]) - np.minimum(low[1:], close[:-1])
        mean_true_range = _sum_until(true_range, steps) / steps
        moved = close[steps:] - close[:-steps]
        change[steps:] = np.sign(moved) * ratio(np.abs(moved), mean_true_range[steps:])
        return change

    def trend_before(self, at: IntArray, formation_bars: int) -> FloatArray:
        """The trend into formations whose last bars are ``at``.

        Parameters
        ----------
        at : (n,) int64 positions
        formation_bars : length of the formation, whose own bars are left out

        Returns
        -------
        (n,) float64, change of close over the :data:`TREND_BARS` bars before the formation, in mean true ranges;
        negative = falling.
        """
        return self._change_atr[at - formation_bars]


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
