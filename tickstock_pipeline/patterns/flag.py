"""Flag: a steep move, the pole, a short and shallow pause against it, and a close out of the pause in its direction.

Bullish, with P = ``pole_bars``; the bearish one is the same upside down.

- *Pole*: bar p has the highest high of the P + 1 bars up to it, later than their lowest low; its height, high(p) minus
  that low, is at least ``pole_height`` times the ATR of the bar P bars before p: the ATR of before the move.
- *Flag*: the bars after p. No high exceeds high(p), and no low gives back more than ``retracement`` of the pole's
  height.
- *Upper line* of the flag at t: from high(p) along the highs of the bars between p and t, so that it touches at least
  one of them and none is above it.
- It is complete at the first close above the line after at least ``min_bars`` bars of flag, out of date after
  ``max_bars``. A newer pole takes an older one's place.

Target: the pole's height above the line at t, the flag flying at half-mast; stop: the lowest low of the flag. (Edwards,
R. D. and Magee, J., Technical Analysis of Stock Trends; Murphy, J. J. (1999), Technical Analysis of the Financial
Markets; Bulkowski, T. N., Encyclopedia of Chart Patterns, asks for at most three weeks.)

Components: *pole*, its height in ATRs; *shallowness*, the part of the pole given back (less is better); *distance* of
the close above the line in ATRs together with the *quiet* of the flag, the mean relative volume of its bars (less is
better); relative volume of the break.

It depends on the bars up to t from 14 + ``pole_bars`` + ``max_bars`` before: no more.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from tickstock_pipeline.indicators.parameters import Parameter, Parameters
from tickstock_pipeline.patterns.confidence import graded, mean_of_two
from tickstock_pipeline.patterns.detections import Detection
from tickstock_pipeline.patterns.function import PatternFunction
from tickstock_pipeline.patterns.measures import VOLUME_BARS, WINDOW_BARS, highest_before
from tickstock_pipeline.patterns.pivots import Pivot
from tickstock_pipeline.patterns.series import ATR_BARS, CompleteSeries, Series
from tickstock_pipeline.patterns.watch import Watch, WatchedPattern, completed, levels, positive


@dataclass(slots=True)
class _Flag:
    """A pole and the flag on it so far; prices times side."""

    pole_at: int
    pole_from: int
    top: float
    height: float
    unit: float
    before: "_Flag | None"  # the setup that its first bar may still complete
    slope: float = -inf
    lowest: float = inf
    volume: float = 0.0


class FlagWatch(Watch[_Flag]):
    """Bullish flags; with ``side`` -1 bearish ones."""

    __slots__ = ("_first", "_parameters", "_pole_bars", "_side")

    def __init__(self, parameters: Parameters, side: int = 1) -> None:
        super().__init__()
        self._side = side
        self._parameters = parameters
        self._pole_bars = int(parameters["pole_bars"])
        self._first = max(ATR_BARS + self._pole_bars, VOLUME_BARS)

    def attach(self, bars: Series) -> None:
        """See :meth:`Watch.attach`."""

    def starts(self, bars: CompleteSeries, first: int) -> Iterator[tuple[int, Sequence[Pivot]]]:
        """See :meth:`Watch.starts`; the ends of poles, some of which :meth:`begin` refuses."""
        reach = self._pole_bars
        before = max(0, first - reach)  # the bars that the first pole may look back on
        high, low, atr = (bars.arrays[name][before:] for name in ("high", "low", "atr"))
        if len(high) <= reach:
            return
        tops, bottoms = (high, low) if self._side > 0 else (-low, -high)
        top, furthest, lowest = (
            tops[reach:],
            highest_before(tops, reach)[reach:],
            -highest_before(-bottoms, reach)[reach:],
        )
        is_pole = (top > furthest) & (top - lowest >= self._parameters["pole_height"] * atr[:-reach])
        for at in (np.flatnonzero(is_pole) + (before + reach)).tolist():
            if at >= first:
                yield at, ()

    def start_now(self, bars: Series) -> Sequence[Pivot] | None:
        """See :meth:`Watch.start_now`."""
        if bars.length < 2:
            return None
        is_further = bars.high[-1] > bars.high[-2] if self._side > 0 else bars.low[-1] < bars.low[-2]
        return () if is_further else None

    def state(self) -> _Flag | None:
        """See :meth:`Watch.state`."""
        return None if self.setup is None else replace(self.setup)

    def begin(self, bars: Series, at: int, pivots: Sequence[Pivot]) -> _Flag | None:
        """See :meth:`Watch.begin`."""
        if at < self._first:
            return None
        side, i, pole_bars = self._side, at - bars.base, self._pole_bars
        if side > 0:
            ahead, behind = bars.high, bars.low
            if ahead[i] <= max(ahead[i - pole_bars : i]):
                return None
            top, low = ahead[i], min(behind[i - pole_bars : i])
        else:
            ahead, behind = bars.low, bars.high
            if ahead[i] >= min(ahead[i - pole_bars : i]):
                return None
            top, low = -ahead[i], -max(behind[i - pole_bars : i])
        unit = bars.atr[i - pole_bars]
        height = top - low
        if not (unit > 0.0 and height >= self._parameters["pole_height"] * unit):
            return None
        if side * behind[i] < low:
            return None
        pole_from = next(lag for lag in range(1, pole_bars + 1) if side * behind[i - lag] == low)
        setup = self.setup
        if setup is not None:
            setup.before = None
        return _Flag(at, at - pole_from, top, height, unit, setup)

    def advance(self, setup: _Flag, bars: Series, at: int) -> Detection | None:
        """See :meth:`Watch.advance`."""
        if at == setup.pole_at:
            before, setup.before = setup.before, None
            return self._break_of(before, bars, at) if before is not None else None
        detection = self._break_of(setup, bars, at)
        if detection is not None:
            self.setup = None
            return detection
        side, i = self._side, at - bars.base
        high, low = (bars.high[i], bars.low[i]) if side > 0 else (-bars.low[i], -bars.high[i])
        setup.lowest = min(setup.lowest, low)
        setup.slope = max(setup.slope, (high - setup.top) / (at - setup.pole_at))
        setup.volume += bars.relative_volume(at)
        is_deep = setup.top - setup.lowest > self._parameters["retracement"] * setup.height
        if high > setup.top or is_deep or at - setup.pole_at > self._parameters["max_bars"]:
            self.setup = None
        return None

    def _break_of(self, setup: _Flag, bars: Series, at: int) -> Detection | None:
        flag_bars = at - setup.pole_at - 1
        if flag_bars < self._parameters["min_bars"]:
            return None
        side, unit = self._side, setup.unit
        close = side * bars.close[at - bars.base]
        line = setup.top + setup.slope * (at - setup.pole_at)
        if close <= line:
            return None
        distance = (close - line) / unit
        pullback = (setup.top - setup.lowest) / setup.height
        quiet = setup.volume / flag_bars
        return completed(
            bars,
            at,
            side,
            setup.pole_from,
            (
                graded(setup.height / unit, 3.0, 10.0),
                graded(pullback, 0.6, 0.2),
                mean_of_two(graded(distance, 0.0, 1.0), graded(quiet, 1.5, 0.75)),
            ),
            {
                **levels(side, side * close, side * setup.lowest, side * (line + setup.height)),
                "level": positive(side * line),
            },
            {
                "pole_start_bars_ago": float(at - setup.pole_from),
                "pole_end_bars_ago": float(at - setup.pole_at),
                "pole_height_atr": setup.height / unit,
                "retracement": pullback,
                "slope_atr": side * setup.slope / unit,
                "distance_atr": distance,
                "flag_relative_volume": quiet,
            },
        )


def _watches(parameters: Parameters) -> tuple[FlagWatch, ...]:
    return FlagWatch(parameters), FlagWatch(parameters, side=-1)


def _bars_needed(parameters: Parameters) -> int:
    return max(ATR_BARS + int(parameters["pole_bars"]), VOLUME_BARS) + int(parameters["min_bars"]) + 2


def _window(parameters: Parameters) -> int:
    # The newest pole that can still be open, and the bars that its height and its ATR look back on
    return ATR_BARS + int(parameters["pole_bars"]) + int(parameters["max_bars"]) + WINDOW_BARS + 2


def _rule(parameters: Parameters) -> str | None:
    shortest, longest = parameters["min_bars"], parameters["max_bars"]
    return None if shortest <= longest else f"min_bars ({shortest}) must not exceed max_bars ({longest})."


FLAG_FUNCTIONS: tuple[PatternFunction, ...] = (
    WatchedPattern(
        "flag",
        _watches,
        _bars_needed,
        ("entry", "stop", "target", "level"),
        (
            "pole_start_bars_ago",
            "pole_end_bars_ago",
            "pole_height_atr",
            "retracement",
            "slope_atr",
            "distance_atr",
            "flag_relative_volume",
            "relative_volume",
        ),
        history=lambda parameters: int(parameters["pole_bars"]) + 2,
    ).function(
        (
            Parameter("pole_bars", int, 1, 200),
            Parameter("pole_height", float, 0.5, 100.0),
            Parameter("retracement", float, 0.0, 1.0),
            Parameter("min_bars", int, 1, 200),
            Parameter("max_bars", int, 1, 500),
        ),
        window=_window,
        rule=_rule,
    ),
)
