"""Support and resistance: a price at which several pivots turned, its test from above and its break from below.

A level is known when a pivot high is confirmed (for support: a pivot low, all of it upside down). Going back from that
pivot through the earlier highs among the last twelve pivots,

- a high within ``tolerance · ATR`` of the newest one is a *touch*, ATR being that of the bar of the confirmation;
- a high above that ends the search: the level did not hold there;
- a lower high is passed over.

From two touches on it is a level: their mean. A newer level takes an older one's place, and a level is out of date
``max_bars`` bars after the confirmation of its last touch. (Support and resistance as in Murphy, J. J. (1999),
Technical Analysis of the Financial Markets, and Edwards, R. D. and Magee, J., Technical Analysis of Stock Trends.)

*Resistance break*: the first close more than ``margin · ATR`` above the level. Target: the height from the lowest pivot
between the first touch and the last to the level, above the level (the measured move of a rectangle); stop: one ATR
below the level. Components: *distance* above the level in ATRs together with *touches*; *height* in ATRs; *base*, the
bars from first touch to break; relative volume.

*Support test*: prices come down to the support again and turn within the bar, ``|low - level| <= tolerance · ATR`` and
``close > level``. A close more than ``tolerance · ATR`` below the level ends it without a test. The next test needs the
next touch: a confirmed pivot at the level. Target: the highest pivot between the touches; stop: one ATR below the
level. Components: *precision*, distance of the low from the level in ATRs (less is better), together with *touches*;
*rejection*, where in its range the bar closed; *height* from the level to the target in ATRs; relative volume.
"""

from collections.abc import Sequence
from typing import NamedTuple

from tickstock_pipeline.indicators.parameters import Parameter, Parameters
from tickstock_pipeline.patterns.confidence import graded, mean_of_two
from tickstock_pipeline.patterns.detections import Detection
from tickstock_pipeline.patterns.event import location
from tickstock_pipeline.patterns.function import PatternFunction
from tickstock_pipeline.patterns.measures import WINDOW_BARS
from tickstock_pipeline.patterns.pivots import HIGH, LOW, Pivot
from tickstock_pipeline.patterns.series import ATR_BARS, Series
from tickstock_pipeline.patterns.watch import PivotWatch, WatchedPattern, completed, levels

_FEWEST_TOUCHES = 2


class Level(NamedTuple):
    """A support or a resistance.

    Attributes
    ----------
    price : mean of the touches
    touches : how many
    first, newest : positions of the first and the last of them
    opposite : price of the furthest pivot on the other side between the first touch and the last
    unit : average true range when it became known
    last : position of the last bar at which it is up to date
    """

    price: float
    touches: int
    first: int
    newest: int
    opposite: float
    unit: float
    last: int


def level_of(pivots: Sequence[Pivot], tolerance: float, unit: float, max_bars: int) -> Level | None:
    """The level at which the newest pivot is a touch.

    Parameters
    ----------
    pivots : alternating, oldest first
    tolerance : price units
    unit : the average true range now
    max_bars : from the newest pivot's confirmation on
    """
    newest = pivots[-1]
    side = newest.kind
    total, touches, first = newest.price, 1, newest.at
    opposite = pending = side * pivots[-2].price if len(pivots) > 1 else 0.0
    for position in range(len(pivots) - 3, -1, -2):
        pivot = pivots[position]
        difference = side * (pivot.price - newest.price)
        if difference > tolerance:
            break
        pending = min(pending, side * pivots[position + 1].price)
        if difference >= -tolerance:
            total += pivot.price
            touches += 1
            first = pivot.at
            opposite = pending
    if touches < _FEWEST_TOUCHES:
        return None
    return Level(total / touches, touches, first, newest.at, side * opposite, unit, newest.known_at + max_bars)


class LevelWatch(PivotWatch[Level]):
    """Levels at which the newest pivot is a touch."""

    __slots__ = ()

    def begin(self, bars: Series, at: int, pivots: Sequence[Pivot]) -> Level | None:
        """See :meth:`Watch.begin`."""
        unit = bars.atr[at - bars.base]
        return level_of(pivots, self._parameters["tolerance"] * unit, unit, int(self._parameters["max_bars"]))


class ResistanceWatch(LevelWatch):
    """Resistances until they are broken."""

    __slots__ = ()

    kind = HIGH

    def pause(self, setup: Level, bars: Series, at: int, end: int) -> int:
        """See :meth:`Watch.pause`."""
        price, margin = setup.price, self._parameters["margin"] * setup.unit
        last = max(at, min(end, setup.last))
        for i, close in enumerate(bars.close[at - bars.base : last - bars.base], at):
            if close - price > margin:
                return i
        return last

    def advance(self, setup: Level, bars: Series, at: int) -> Detection | None:
        """See :meth:`Watch.advance`."""
        i = at - bars.base
        close, unit, price = bars.close[i], setup.unit, setup.price
        if close - price <= self._parameters["margin"] * unit:
            if at >= setup.last:
                self.setup = None
            return None
        self.setup = None
        if bars.close[i - 1] - price > self._parameters["margin"] * unit:
            return None
        height, distance = price - setup.opposite, (close - price) / unit
        return completed(
            bars,
            at,
            HIGH,
            setup.first,
            (
                mean_of_two(graded(distance, 0.0, 1.5), graded(setup.touches, 1.0, 4.0)),
                graded(height / unit, 2.0, 8.0),
                graded(at - setup.first, 10.0, 60.0),
            ),
            {**levels(HIGH, close, price - unit, price + height), "level": price},
            {
                "touches": float(setup.touches),
                "first_touch_bars_ago": float(at - setup.first),
                "last_touch_bars_ago": float(at - setup.newest),
                "distance_atr": distance,
                "height_atr": height / unit,
            },
        )


class SupportWatch(LevelWatch):
    """Supports until they are tested."""

    __slots__ = ()

    kind = LOW

    def pause(self, setup: Level, bars: Series, at: int, end: int) -> int:
        """See :meth:`Watch.pause`."""
        price, tolerance = setup.price, self._parameters["tolerance"] * setup.unit
        last = max(at, min(end, setup.last))
        seen = slice(at - bars.base, last - bars.base)
        for i, low, close in zip(range(at, last), bars.low[seen], bars.close[seen], strict=True):
            if abs(low - price) <= tolerance or price - close > tolerance:
                return i
        return last

    def advance(self, setup: Level, bars: Series, at: int) -> Detection | None:
        """See :meth:`Watch.advance`."""
        i = at - bars.base
        low, close, unit, price = bars.low[i], bars.close[i], setup.unit, setup.price
        tolerance = self._parameters["tolerance"] * unit
        if not (abs(low - price) <= tolerance and close > price):
            if price - close > tolerance or at >= setup.last:
                self.setup = None
            return None
        self.setup = None
        height = setup.opposite - price
        precision = abs(low - price) / unit
        rejection = location(HIGH, bars, i)
        return completed(
            bars,
            at,
            HIGH,
            setup.first,
            (
                mean_of_two(graded(precision, 1.0, 0.0), graded(setup.touches, 1.0, 4.0)),
                graded(rejection, 0.25, 0.9),
                graded(height / unit, 2.0, 8.0),
            ),
            {**levels(HIGH, close, price - unit, setup.opposite), "level": price},
            {
                "touches": float(setup.touches),
                "first_touch_bars_ago": float(at - setup.first),
                "last_touch_bars_ago": float(at - setup.newest),
                "precision_atr": precision,
                "rejection": rejection,
                "height_atr": height / unit,
            },
        )


def _resistance(parameters: Parameters) -> tuple[ResistanceWatch, ...]:
    return (ResistanceWatch(parameters),)


def _support(parameters: Parameters) -> tuple[SupportWatch, ...]:
    return (SupportWatch(parameters),)


def _bars_needed(parameters: Parameters) -> int:
    return max(ATR_BARS + 4, WINDOW_BARS)


_COMMON = (
    Parameter("reversal", float, 0.5, 20.0),
    Parameter("tolerance", float, 0.0, 10.0),
    Parameter("max_bars", int, 1, 5000),
)

LEVEL_FUNCTIONS: tuple[PatternFunction, ...] = (
    WatchedPattern(
        "support_test",
        _support,
        _bars_needed,
        ("entry", "stop", "target", "level"),
        (
            "touches",
            "first_touch_bars_ago",
            "last_touch_bars_ago",
            "precision_atr",
            "rejection",
            "height_atr",
            "relative_volume",
        ),
    ).function(_COMMON),
    WatchedPattern(
        "resistance_break",
        _resistance,
        _bars_needed,
        ("entry", "stop", "target", "level"),
        (
            "touches",
            "first_touch_bars_ago",
            "last_touch_bars_ago",
            "distance_atr",
            "height_atr",
            "relative_volume",
        ),
    ).function((*_COMMON, Parameter("margin", float, 0.0, 10.0))),
)
