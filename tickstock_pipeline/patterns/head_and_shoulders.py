"""Head and shoulders, and inverse: three turns of which the middle one goes furthest, and a close through the neckline.

The last six pivots are a low L0, the left shoulder S1, a low A, the head H, a low B and the right shoulder S2. ATR is
that of the bar at which S2 is known. The formation has taken shape when

- the head stands out: ``H - max(S1, S2) >= prominence · ATR``;
- the shoulders are level: ``|S1 - S2| <= tolerance · ATR``, and so are the lows: ``|A - B| <= tolerance · ATR``;
- both shoulders are above both lows;
- neither side lasts more than four times as long as the other: bars from S1 to H and from H to S2;
- it is no longer than ``max_bars`` from S1 to S2, and a rise led into it: ``L0 < A``.

The neckline runs through A and B. The formation is complete at the first close below it, given up at a high above S2,
and out of date when as many bars have passed since S2 as lie between the shoulders. Target: the height of the head
above the neckline, below the neckline at t; stop: the right shoulder. (Edwards, R. D. and Magee, J., Technical Analysis
of Stock Trends; Bulkowski, T. N., Encyclopedia of Chart Patterns.) The inverse is the same upside down.

Components: *symmetry*, the differences of the shoulders and of the lows in ATRs (less is better) together with the
*time ratio* of the two sides; *height* of the head above the neckline in ATRs; *distance* of the close below the
neckline in ATRs; relative volume.
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
from tickstock_pipeline.patterns.watch import PivotWatch, WatchedPattern, completed, furthest, levels, positive

_LEAST_TIME_RATIO = 0.25
_FEWEST_BARS = 6  # between six pivots, at different bars


class _Setup(NamedTuple):
    left: Pivot
    head: Pivot
    right: Pivot
    neck: Pivot
    slope: float
    lows_difference: float
    unit: float
    last: int

    def neckline(self, at: int) -> float:
        """The neckline at a bar, in prices."""
        return self.neck.price + self.slope * (at - self.neck.at)


class HeadAndShouldersWatch(PivotWatch[_Setup]):
    """Head and shoulders; with ``side`` -1 the inverse."""

    __slots__ = ()

    kind = HIGH

    def begin(self, bars: Series, at: int, pivots: Sequence[Pivot]) -> _Setup | None:
        """See :meth:`Watch.begin`."""
        if len(pivots) < 6:
            return None
        before, left, a, head, b, right = pivots[-6:]
        side, limits, unit = self._side, self._parameters, bars.atr[at - bars.base]
        tolerance = limits["tolerance"] * unit
        shoulders = side * left.price, side * right.price
        lows = side * a.price, side * b.price
        if not (
            side * head.price - max(shoulders) >= limits["prominence"] * unit
            and abs(left.price - right.price) <= tolerance
            and abs(a.price - b.price) <= tolerance
            and min(shoulders) > max(lows)
            and _time_ratio(left, head, right) >= _LEAST_TIME_RATIO
            and right.at - left.at <= limits["max_bars"]
            and side * before.price < lows[0]
        ):
            return None
        slope = (b.price - a.price) / (b.at - a.at)
        difference = abs(a.price - b.price) / unit
        setup = _Setup(left, head, right, a, slope, difference, unit, 2 * right.at - left.at)
        was_above = side * (bars.close[at - 1 - bars.base] - setup.neckline(at - 1)) >= 0.0
        return setup if was_above else None

    def pause(self, setup: _Setup, bars: Series, at: int, end: int) -> int:
        """See :meth:`Watch.pause`."""
        side, price, slope, origin = self._side, setup.neck.price, setup.slope, setup.neck.at
        limit, last = side * setup.right.price, max(at, min(end, setup.last))
        seen = slice(at - bars.base, last - bars.base)
        ahead = bars.high if side > 0 else bars.low
        for i, close, extreme in zip(range(at, last), bars.close[seen], ahead[seen], strict=True):
            if side * (close - (price + slope * (i - origin))) < 0.0 or side * extreme > limit:
                return i
        return last

    def advance(self, setup: _Setup, bars: Series, at: int) -> Detection | None:
        """See :meth:`Watch.advance`."""
        side = self._side
        close, neckline = bars.close[at - bars.base], setup.neckline(at)
        if side * (close - neckline) >= 0.0:
            if furthest(side, bars, at) > side * setup.right.price or at >= setup.last:
                self.setup = None
            return None
        self.setup = None
        left, head, right, unit = setup.left, setup.head, setup.right, setup.unit
        height = side * (head.price - setup.neckline(head.at))
        shoulders = abs(left.price - right.price) / unit
        distance = side * (neckline - close) / unit
        time_ratio = _time_ratio(left, head, right)
        prices = levels(-side, close, right.price, neckline - side * height)
        level_grade = mean_of_two(graded(shoulders, 2.0, 0.0), graded(setup.lows_difference, 2.0, 0.0))
        return completed(
            bars,
            at,
            -side,
            left.at,
            (
                mean_of_two(level_grade, graded(time_ratio, 0.2, 0.8)),
                graded(height / unit, 2.0, 8.0),
                graded(distance, 0.0, 1.0),
            ),
            {**prices, "level": positive(neckline)},
            {
                "left_shoulder_bars_ago": float(at - left.at),
                "head_bars_ago": float(at - head.at),
                "right_shoulder_bars_ago": float(at - right.at),
                "shoulders_difference_atr": shoulders,
                "lows_difference_atr": setup.lows_difference,
                "height_atr": height / unit,
                "distance_atr": distance,
                "time_ratio": time_ratio,
            },
        )


def _time_ratio(left: Pivot, head: Pivot, right: Pivot) -> float:
    before, after = head.at - left.at, right.at - head.at
    return min(before, after) / max(before, after)


def _watches(side: int, parameters: Parameters) -> tuple[HeadAndShouldersWatch, ...]:
    return (HeadAndShouldersWatch(parameters, side),)


def _bars_needed(parameters: Parameters) -> int:
    return max(ATR_BARS + _FEWEST_BARS, WINDOW_BARS)


HEAD_AND_SHOULDERS_FUNCTIONS: tuple[PatternFunction, ...] = tuple(
    WatchedPattern(
        name,
        partial(_watches, side),
        _bars_needed,
        ("entry", "stop", "target", "level"),
        (
            "left_shoulder_bars_ago",
            "head_bars_ago",
            "right_shoulder_bars_ago",
            "shoulders_difference_atr",
            "lows_difference_atr",
            "height_atr",
            "distance_atr",
            "time_ratio",
            "relative_volume",
        ),
    ).function(
        (
            Parameter("reversal", float, 0.5, 20.0),
            Parameter("prominence", float, 0.0, 20.0),
            Parameter("tolerance", float, 0.0, 20.0),
            Parameter("max_bars", int, 4, 1000),
        )
    )
    for name, side in (("head_and_shoulders", 1), ("inverse_head_and_shoulders", -1))
)
