"""Triangle: highs and lows that run towards each other, and a close out of them before they meet.

The last four pivots are two highs and two lows. The upper line runs through the highs, the lower one through the lows.
ATR is that of the bar at which the newest pivot is known. Between its two pivots a line is *flat* when it moves by no
more than ``flat · ATR``. The formation has taken shape as

- *ascending* triangle: the upper line flat, the lower one rising;
- *descending* triangle: the lower line flat, the upper one falling;
- *symmetrical* triangle: the upper line falling, the lower one rising;

when the lines are at least ``height · ATR`` apart at the first of the pivots, it is at least ``min_bars`` from the
first to the last pivot, at most ``max_bars`` from the first pivot to the apex where the lines meet, and the close
before was between them. It is complete at the first close outside the lines, in the direction of that close, whatever
the kind, and out of date at the apex. Target: the height at the first pivot, from the line broken; stop: the other
line. (Edwards, R. D. and Magee, J., Technical Analysis of Stock Trends; Murphy, J. J. (1999), Technical Analysis of the
Financial Markets, who wants the break before three quarters of the way to the apex.)

Components: *distance* outside in ATRs together with *touches*, the unbroken run of pivots up to the newest that lie
within half an ATR of their line; *height* in ATRs; *room*, the part of the way to the apex that is left; relative
volume.
"""

from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

from tickstock_pipeline.indicators.parameters import Parameter, Parameters
from tickstock_pipeline.patterns.confidence import graded, mean_of_two
from tickstock_pipeline.patterns.detections import BEARISH, BULLISH, Detection
from tickstock_pipeline.patterns.function import PatternFunction
from tickstock_pipeline.patterns.measures import WINDOW_BARS
from tickstock_pipeline.patterns.pivots import HIGH, Pivot
from tickstock_pipeline.patterns.series import ATR_BARS, Series
from tickstock_pipeline.patterns.watch import PivotWatch, WatchedPattern, completed, levels, positive

_TOUCH_ATR = 0.5
_TURNS = ("first_bars_ago", "second_bars_ago", "third_bars_ago", "last_bars_ago")
ASCENDING, DESCENDING, SYMMETRICAL = 1, -1, 0


class _Triangle(NamedTuple):
    kind: int
    upper: Pivot
    lower: Pivot
    upper_slope: float
    lower_slope: float
    first: int
    turns: tuple[int, ...]
    height: float
    apex: float
    touches: int
    unit: float

    def top(self, at: int) -> float:
        """The upper line at a bar."""
        return self.upper.price + self.upper_slope * (at - self.upper.at)

    def bottom(self, at: int) -> float:
        """The lower line at a bar."""
        return self.lower.price + self.lower_slope * (at - self.lower.at)


class TriangleWatch(PivotWatch[_Triangle]):
    """Triangles of all three kinds."""

    __slots__ = ()

    kind = 0

    def begin(self, bars: Series, at: int, pivots: Sequence[Pivot]) -> _Triangle | None:
        """See :meth:`Watch.begin`."""
        if len(pivots) < 4:
            return None
        limits, unit, i = self._parameters, bars.atr[at - bars.base], at - bars.base
        one, other = (pivots[-4], pivots[-2]), (pivots[-3], pivots[-1])
        highs, lows = (one, other) if pivots[-2].kind == HIGH else (other, one)
        kind = _kind_of(highs[0].price - highs[1].price, lows[1].price - lows[0].price, limits["flat"] * unit)
        if kind is None:
            return None
        first, newest = pivots[-4].at, pivots[-1].at
        upper_slope = (highs[1].price - highs[0].price) / (highs[1].at - highs[0].at)
        lower_slope = (lows[1].price - lows[0].price) / (lows[1].at - lows[0].at)
        turns = tuple(pivot.at for pivot in pivots[-4:])
        shape = _Triangle(kind, highs[1], lows[1], upper_slope, lower_slope, first, turns, 0.0, 0.0, 0, unit)
        height, closing = shape.top(first) - shape.bottom(first), lower_slope - upper_slope
        if not (closing > 0.0 and height >= limits["height"] * unit and newest - first >= limits["min_bars"]):
            return None
        apex = first + height / closing
        is_inside = shape.bottom(at - 1) <= bars.close[i - 1] <= shape.top(at - 1)
        if not (at < apex and apex - first <= limits["max_bars"] and is_inside):
            return None
        return shape._replace(height=height, apex=apex, touches=4 + _more_touches(shape, pivots[:-4]))

    def pause(self, setup: _Triangle, bars: Series, at: int, end: int) -> int:
        """See :meth:`Watch.pause`."""
        upper, upper_slope, upper_at = setup.upper.price, setup.upper_slope, setup.upper.at
        lower, lower_slope, lower_at = setup.lower.price, setup.lower_slope, setup.lower.at
        last = max(at, min(end, ceil(setup.apex)))
        for i, close in enumerate(bars.close[at - bars.base : last - bars.base], at):
            if not lower + lower_slope * (i - lower_at) <= close <= upper + upper_slope * (i - upper_at):
                return i
        return last

    def advance(self, setup: _Triangle, bars: Series, at: int) -> Detection | None:
        """See :meth:`Watch.advance`."""
        if at >= setup.apex:
            self.setup = None
            return None
        close, top, bottom = bars.close[at - bars.base], setup.top(at), setup.bottom(at)
        if bottom <= close <= top:
            return None
        self.setup = None
        direction, line, other = (BULLISH, top, bottom) if close > top else (BEARISH, bottom, top)
        unit, height = setup.unit, setup.height
        distance = direction * (close - line) / unit
        room = (setup.apex - at) / (setup.apex - setup.first)
        return completed(
            bars,
            at,
            direction,
            setup.first,
            (
                mean_of_two(graded(distance, 0.0, 1.0), graded(setup.touches, 3.0, 6.0)),
                graded(height / unit, 2.0, 8.0),
                graded(room, 0.0, 0.25),
            ),
            {**levels(direction, close, other, line + direction * height), "level": positive(line)},
            {
                "kind": float(setup.kind),
                "touches": float(setup.touches),
                **{name: float(at - turn) for name, turn in zip(_TURNS, setup.turns, strict=True)},
                "distance_atr": distance,
                "height_atr": height / unit,
                "room": room,
            },
        )


def _kind_of(fall: float, rise: float, flat: float) -> int | None:
    if abs(fall) <= flat:
        return ASCENDING if rise > flat else None
    if fall < 0.0:
        return None
    if abs(rise) <= flat:
        return DESCENDING
    return SYMMETRICAL if rise > 0.0 else None


def _more_touches(shape: _Triangle, earlier: Sequence[Pivot]) -> int:
    touches = 0
    for pivot in reversed(earlier):
        line = shape.top(pivot.at) if pivot.kind == HIGH else shape.bottom(pivot.at)
        if abs(pivot.price - line) > _TOUCH_ATR * shape.unit:
            break
        touches += 1
    return touches


def _watches(parameters: Parameters) -> tuple[TriangleWatch, ...]:
    return (TriangleWatch(parameters),)


def _bars_needed(parameters: Parameters) -> int:
    return max(ATR_BARS + int(parameters["min_bars"]) + 2, WINDOW_BARS)


def _rule(parameters: Parameters) -> str | None:
    shortest, longest = parameters["min_bars"], parameters["max_bars"]
    return None if shortest <= longest else f"min_bars ({shortest}) must not exceed max_bars ({longest})."


TRIANGLE_FUNCTIONS: tuple[PatternFunction, ...] = (
    WatchedPattern(
        "triangle",
        _watches,
        _bars_needed,
        ("entry", "stop", "target", "level"),
        (
            "kind",
            "touches",
            *_TURNS,
            "distance_atr",
            "height_atr",
            "room",
            "relative_volume",
        ),
    ).function(
        (
            Parameter("reversal", float, 0.5, 20.0),
            Parameter("flat", float, 0.0, 10.0),
            Parameter("height", float, 0.0, 50.0),
            Parameter("min_bars", int, 3, 500),
            Parameter("max_bars", int, 4, 2000),
        ),
        rule=_rule,
    ),
)
