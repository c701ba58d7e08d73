"""Trend-line break: a close through a line along rising lows, or through one along falling highs.

A rising line is drawn when a pivot low is confirmed: through it and the earliest low among the last twelve pivots such
that

- the line rises, and no pivot low between is more than ``tolerance · ATR`` under it, ATR being that of the bar of the
  confirmation;
- its two ends are at least ``min_bars`` apart.

A *touch* is an end, or a pivot low between within ``tolerance · ATR`` of the line. The line is broken, a bearish sign,
at the first close more than ``margin · ATR`` below it. A newer line takes an older one's place; a line is out of date
``max_bars`` bars after its second end. Target: the greatest height of the pivot highs between the ends above the line,
below the line at t (Murphy, J. J. (1999), Technical Analysis of the Financial Markets); stop: one ATR above the line.
A falling line is the same upside down, its break bullish.

Components: *distance* through the line in ATRs together with *touches*; *length* of the line in bars; *height* in ATRs;
relative volume.
"""

from collections.abc import Sequence
from typing import NamedTuple

from tickstock_pipeline.indicators.parameters import Parameter, Parameters
from tickstock_pipeline.patterns.confidence import graded, mean_of_two
from tickstock_pipeline.patterns.detections import Detection
from tickstock_pipeline.patterns.function import PatternFunction
from tickstock_pipeline.patterns.measures import WINDOW_BARS
from tickstock_pipeline.patterns.pivots import LOW, Pivot
from tickstock_pipeline.patterns.series import ATR_BARS, Series
from tickstock_pipeline.patterns.watch import PivotWatch, WatchedPattern, completed, levels, positive


class _Line(NamedTuple):
    first: Pivot
    second: Pivot
    slope: float
    touches: int
    height: float
    unit: float

    def at(self, position: int) -> float:
        """The line at a bar, in prices."""
        return self.second.price + self.slope * (position - self.second.at)


class TrendLineWatch(PivotWatch[_Line]):
    """Lines along rising lows; with ``side`` -1 along falling highs."""

    __slots__ = ()

    kind = LOW

    def begin(self, bars: Series, at: int, pivots: Sequence[Pivot]) -> _Line | None:
        """See :meth:`Watch.begin`."""
        side, limits, unit = self._side, self._parameters, bars.atr[at - bars.base]
        tolerance, min_bars = limits["tolerance"] * unit, limits["min_bars"]
        second, *earlier = pivots[::-2]
        price, end = second.price, second.at
        ends, slope = 0, 0.0
        for count, (begin, begin_price, _, _) in enumerate(earlier, 1):
            rise = (price - begin_price) / (end - begin)
            if side * rise <= 0.0:
                break
            if end - begin >= min_bars:
                for low in earlier[: count - 1]:
                    if side * (low.price - price - rise * (low.at - end)) < -tolerance:
                        break
                else:
                    ends, slope = count, rise
        if not ends:
            return None
        line = _Line(earlier[ends - 1], second, slope, 0, 0.0, unit)
        if side * (bars.close[at - 1 - bars.base] - line.at(at - 1)) < -limits["margin"] * unit:
            return None
        touches = 2 + sum(abs(pivot.price - line.at(pivot.at)) <= tolerance for pivot in earlier[: ends - 1])
        height = max(side * (pivot.price - line.at(pivot.at)) for pivot in pivots[-2 : -2 * ends - 1 : -2])
        return line._replace(touches=touches, height=height)

    def pause(self, setup: _Line, bars: Series, at: int, end: int) -> int:
        """See :meth:`Watch.pause`."""
        side, price, slope, origin = self._side, setup.second.price, setup.slope, setup.second.at
        margin = self._parameters["margin"] * setup.unit
        last = max(at, min(end, origin + int(self._parameters["max_bars"])))
        for i, close in enumerate(bars.close[at - bars.base : last - bars.base], at):
            if side * (price + slope * (i - origin) - close) > margin:
                return i
        return last

    def advance(self, setup: _Line, bars: Series, at: int) -> Detection | None:
        """See :meth:`Watch.advance`."""
        side, unit, line = self._side, setup.unit, setup.at(at)
        close = bars.close[at - bars.base]
        through = side * (line - close)
        if through <= self._parameters["margin"] * unit:
            if at - setup.second.at >= self._parameters["max_bars"]:
                self.setup = None
            return None
        self.setup = None
        length = setup.second.at - setup.first.at
        return completed(
            bars,
            at,
            -side,
            setup.first.at,
            (
                mean_of_two(graded(through / unit, 0.0, 1.5), graded(setup.touches, 1.0, 4.0)),
                graded(length, 5.0, 60.0),
                graded(setup.height / unit, 2.0, 8.0),
            ),
            {**levels(-side, close, line + side * unit, line - side * setup.height), "level": positive(line)},
            {
                "touches": float(setup.touches),
                "first_touch_bars_ago": float(at - setup.first.at),
                "last_touch_bars_ago": float(at - setup.second.at),
                "slope_atr": setup.slope / unit,
                "distance_atr": through / unit,
                "height_atr": setup.height / unit,
            },
        )


def _watches(parameters: Parameters) -> tuple[TrendLineWatch, ...]:
    return TrendLineWatch(parameters), TrendLineWatch(parameters, side=-1)


def _bars_needed(parameters: Parameters) -> int:
    return max(ATR_BARS + int(parameters["min_bars"]) + 2, WINDOW_BARS)


TREND_LINE_FUNCTIONS: tuple[PatternFunction, ...] = (
    WatchedPattern(
        "trend_line_break",
        _watches,
        _bars_needed,
        ("entry", "stop", "target", "level"),
        (
            "touches",
            "first_touch_bars_ago",
            "last_touch_bars_ago",
            "slope_atr",
            "distance_atr",
            "height_atr",
            "relative_volume",
        ),
    ).function(
        (
            Parameter("reversal", float, 0.5, 20.0),
            Parameter("tolerance", float, 0.0, 10.0),
            Parameter("margin", float, 0.0, 10.0),
            Parameter("min_bars", int, 2, 500),
            Parameter("max_bars", int, 2, 5000),
        )
    ),
)
