"""Double top and double bottom: two turns at one price, and a close beyond the turn between them.

The last four pivots are a low L0, a first top H1, a valley L and a second top H2. ATR is that of the bar at which H2 is
known. The formation has taken shape when

- the tops are level: ``|H1 - H2| <= tolerance · ATR``;
- the valley is deep: ``max(H1, H2) - L >= height · ATR``;
- the tops are apart: ``min_bars <= bars from H1 to H2 <= max_bars``;
- a rise led into it: ``L0 < L``.

It is complete at the first close below L (the confirmation of Edwards, R. D. and Magee, J., Technical Analysis of Stock
Trends; Bulkowski, T. N., Encyclopedia of Chart Patterns), given up at a high above both tops, and out of date when as
many bars have passed since H2 as lie between the tops. Target: the height below the valley; stop: the higher top.
A double bottom is the same upside down.

Components: *symmetry*, the difference of the tops in ATRs (less is better) together with the *time ratio* of the way
down and the way up again; *height* in ATRs; *distance* of the close below the valley in ATRs; relative volume.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from tickstock_pipeline.indicators.parameters import Parameter, Parameters
from tickstock_pipeline.patterns.confidence import graded, mean_of_two
from tickstock_pipeline.patterns.detections import Detection
from tickstock_pipeline.patterns.function import PatternFunction
from tickstock_pipeline.patterns.measures import WINDOW_BARS
from tickstock_pipeline.patterns.pivots import HIGH, Pivot
from tickstock_pipeline.patterns.series import ATR_BARS, Series
from tickstock_pipeline.patterns.watch import PivotWatch, WatchedPattern, completed, furthest, levels


class _Setup(NamedTuple):
    first: Pivot
    valley: Pivot
    second: Pivot
    unit: float
    neckline: float
    top: float
    last: int


class DoubleWatch(PivotWatch[_Setup]):
    """Double tops; with ``side`` -1 double bottoms."""

    __slots__ = ()

    kind = HIGH

    def begin(self, bars: Series, at: int, pivots: Sequence[Pivot]) -> _Setup | None:
        """See :meth:`Watch.begin`."""
        if len(pivots) < 4:
            return None
        before, first, valley, second = pivots[-4:]
        side, limits, unit = self._side, self._parameters, bars.atr[at - bars.base]
        neckline = side * valley.price
        top = max(side * first.price, side * second.price)
        span = second.at - first.at
        has_shape = (
            abs(first.price - second.price) <= limits["tolerance"] * unit
            and top - neckline >= limits["height"] * unit
            and limits["min_bars"] <= span <= limits["max_bars"]
            and side * before.price < neckline
            and side * bars.close[at - 1 - bars.base] >= neckline
        )
        return _Setup(first, valley, second, unit, neckline, top, second.at + span) if has_shape else None

    def pause(self, setup: _Setup, bars: Series, at: int, end: int) -> int:
        """See :meth:`Watch.pause`."""
        side, neckline, top = self._side, setup.neckline, setup.top
        last = max(at, min(end, setup.last))
        seen = slice(at - bars.base, last - bars.base)
        ahead = bars.high if side > 0 else bars.low
        for i, close, extreme in zip(range(at, last), bars.close[seen], ahead[seen], strict=True):
            if side * close < neckline or side * extreme > top:
                return i
        return last

    def advance(self, setup: _Setup, bars: Series, at: int) -> Detection | None:
        """See :meth:`Watch.advance`."""
        side = self._side
        close = side * bars.close[at - bars.base]
        if close >= setup.neckline:
            if furthest(side, bars, at) > setup.top or at >= setup.last:
                self.setup = None
            return None
        self.setup = None
        first, valley, second, unit = setup.first, setup.valley, setup.second, setup.unit
        height = setup.top - setup.neckline
        difference = abs(first.price - second.price) / unit
        distance = (setup.neckline - close) / unit
        down, up = valley.at - first.at, second.at - valley.at
        time_ratio = min(down, up) / max(down, up)
        prices = levels(-side, side * close, side * setup.top, side * (setup.neckline - height))
        return completed(
            bars,
            at,
            -side,
            first.at,
            (
                mean_of_two(graded(difference, 1.5, 0.0), graded(time_ratio, 0.2, 0.8)),
                graded(height / unit, 2.0, 8.0),
                graded(distance, 0.0, 1.0),
            ),
            {**prices, "level": valley.price},
            {
                "first_bars_ago": float(at - first.at),
                "middle_bars_ago": float(at - valley.at),
                "second_bars_ago": float(at - second.at),
                "difference_atr": difference,
                "height_atr": height / unit,
                "distance_atr": distance,
                "time_ratio": time_ratio,
            },
        )


def _watches(side: int, parameters: Parameters) -> tuple[DoubleWatch, ...]:
    return (DoubleWatch(parameters, side),)


def _bars_needed(parameters: Parameters) -> int:
    return max(ATR_BARS + int(parameters["min_bars"]) + 2, WINDOW_BARS)


def _rule(parameters: Parameters) -> str | None:
    shortest, longest = parameters["min_bars"], parameters["max_bars"]
    return None if shortest <= longest else f"min_bars ({shortest}) must not exceed max_bars ({longest})."


DOUBLE_FUNCTIONS: tuple[PatternFunction, ...] = tuple(
    WatchedPattern(
        name,
        partial(_watches, side),
        _bars_needed,
        ("entry", "stop", "target", "level"),
        (
            "first_bars_ago",
            "middle_bars_ago",
            "second_bars_ago",
            "difference_atr",
            "height_atr",
            "distance_atr",
            "time_ratio",
            "relative_volume",
        ),
    ).function(
        (
            Parameter("reversal", float, 0.5, 20.0),
            Parameter("tolerance", float, 0.0, 10.0),
            Parameter("height", float, 0.0, 50.0),
            Parameter("min_bars", int, 2, 500),
            Parameter("max_bars", int, 2, 1000),
        ),
        rule=_rule,
    )
    for name, side in (("double_top", 1), ("double_bottom", -1))
)
