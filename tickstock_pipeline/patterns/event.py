"""Events: patterns that one bar and a fixed number of bars before it decide.

1. A prefilter over arrays leaves the few bars at which the event may be.
2. One function of single values judges each of them, and each new bar of a live series. So batch and live are one.

This module holds what events have in common, and two of them.

*Volume spike*: relative volume of at least ``multiple``. Its direction is that of the close against the close before,
neutral where they are equal; it has no levels. Components: relative volume in multiples of ``multiple``; *record*, the
volume over the highest of the 20 bars before; *move*, the change of close in ATRs of the bar before; *close*, where in
its range the bar closed, towards the direction.

*Gap*, upwards::

    low(t) > high(t - 1)    and    low(t) - high(t - 1) >= size · ATR(t - 1)

Downwards mirrored. A gap lies between the ranges of two bars, not between a close and an open (Edwards, R. D. and
Magee, J., Technical Analysis of Stock Trends). Stop: its far edge, where it is closed. Components: *width* in ATRs;
*clearance*, how far its near edge is beyond the furthest price of the 20 bars before, in ATRs; *held*, where in its
range the bar closed; relative volume.

Both depend on the 21 bars up to t.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tickstock_pipeline.indicators.parameters import Parameter, Parameters
from tickstock_pipeline.market.bar import IntArray
from tickstock_pipeline.patterns.confidence import FLOOR, graded, mean_of_four
from tickstock_pipeline.patterns.detections import BEARISH, BULLISH, NEUTRAL, Detection, Detections, in_columns
from tickstock_pipeline.patterns.function import PatternFunction
from tickstock_pipeline.patterns.grading import CONFIRMING_VOLUME
from tickstock_pipeline.patterns.measures import VOLUME_BARS, WINDOW_BARS, Measures
from tickstock_pipeline.patterns.series import LiveSeries, Series
from tickstock_pipeline.patterns.watch import levels

Judge = Callable[[Series, int, Parameters], Detection | None]
"""A series, the bar's position and the parameters → the event at that bar. Only called at ``bars_needed`` or later."""


@dataclass(frozen=True, slots=True)
class EventPattern:
    """A pattern that a window of bars decides.

    Attributes
    ----------
    name : the pattern's
    candidates : positions of bars among which are all with the event, increasing
    judge : whether a bar has it
    window : parameters → bars up to and with t that decide the result at t; the earliest event is at the last of them
    levels, context : names that its detections have
    averages : parameters that are periods of moving averages which ``judge`` reads
    """

    name: str
    candidates: Callable[[Measures, Parameters], IntArray]
    judge: Judge
    window: Callable[[Parameters], int]
    levels: tuple[str, ...]
    context: tuple[str, ...]
    averages: tuple[str, ...] = ()

    def detect(self, measures: Measures, parameters: Parameters) -> Detections:
        """All events in a series."""
        first = max(self.window(parameters) - 1, measures.first)
        found: list[tuple[int, Detection]] = []
        if len(measures) > first:
            bars = measures.series
            for at in self.candidates(measures, parameters).tolist():
                if at >= first:
                    detection = self.judge(bars, at, parameters)
                    if detection is not None:
                        found.append((at, detection))
        return in_columns(self.name, found, self.levels, self.context)

    def live(self, series: LiveSeries, parameters: Parameters) -> "LiveEvent":
        """The event in a live series."""
        # What averages look back on, the series keeps for them.
        series.hold(WINDOW_BARS if self.averages else self.window(parameters))
        for period in self.averages:
            series.averages(int(parameters[period]), series.length - 1)
        return LiveEvent(self.judge, series, parameters, self.window(parameters) - 1)

    def function(
        self, parameters: tuple[Parameter, ...], rule: Callable[[Parameters], str | None] = lambda parameters: None
    ) -> PatternFunction:
        """The registry's entry."""
        return PatternFunction(
            self.name, parameters, self.window, self.detect, live=self.live, window=self.window, rule=rule
        )


@dataclass(frozen=True, slots=True)
class LiveEvent:
    """One event in one live series; has no state of its own."""

    judge: Judge
    series: LiveSeries
    parameters: Parameters
    first: int

    def update(self) -> Detection | None:
        """See :meth:`LivePattern.update`."""
        at = self.series.length - 1
        return self.judge(self.series, at, self.parameters) if at >= self.first else None

    def state(self) -> None:
        """See :meth:`LivePattern.state`."""

    def restore(self, state: None) -> None:
        """See :meth:`LivePattern.restore`."""


def location(side: int, bars: Series, i: int) -> float:
    """Where in its range a bar closed: 1 at the end that ``side`` points to, 0 at the other; 1 without a range."""
    extent = bars.high[i] - bars.low[i]
    if extent == 0.0:
        return 1.0
    return (bars.close[i] - bars.low[i] if side > 0 else bars.high[i] - bars.close[i]) / extent


# Volume spike


def _spike_candidates(measures: Measures, parameters: Parameters) -> IntArray:
    return np.flatnonzero(measures.relative_volume >= parameters["multiple"])


def _judge_spike(bars: Series, at: int, parameters: Parameters) -> Detection | None:
    i = at - bars.base
    relative_volume, multiple = bars.relative_volume(at), parameters["multiple"]
    if relative_volume < multiple:
        return None
    change = bars.close[i] - bars.close[i - 1]
    direction = BULLISH if change > 0.0 else BEARISH if change < 0.0 else NEUTRAL
    unit = bars.atr[i - 1]
    change_atr = change / unit if unit > 0.0 else 0.0
    highest = max(bars.volume[i - VOLUME_BARS : i])
    record = bars.volume[i] / highest
    return Detection(
        direction=direction,
        confidence=mean_of_four(
            graded(relative_volume / multiple, 1.0, 3.0),
            graded(record, 0.5, 2.0),
            graded(abs(change_atr), 0.0, 2.0),
            graded(location(direction, bars, i), 0.5, 1.0) if direction != NEUTRAL else FLOOR,
        ),
        formation_bars=1,
        volume_confirmed=relative_volume >= CONFIRMING_VOLUME,
        levels={},
        context={
            "relative_volume": relative_volume,
            "volume_to_highest": record,
            "change_atr": change_atr,
        },
    )


# Gap


def _gap_candidates(measures: Measures, parameters: Parameters) -> IntArray:
    high, low = measures.column("high"), measures.column("low")
    least = parameters["size"] * measures.average_true_range[:-1]
    upwards, downwards = low[1:] - high[:-1], low[:-1] - high[1:]
    # Never both: the wider of the two is the gap, if it is one
    width = np.maximum(upwards, downwards)
    return np.flatnonzero((width >= least) & (width > 0.0)) + 1


def _judge_gap(bars: Series, at: int, parameters: Parameters) -> Detection | None:
    i = at - bars.base
    unit = bars.atr[i - 1]
    if bars.low[i] > bars.high[i - 1]:
        side, near, far = BULLISH, bars.low[i], bars.high[i - 1]
    elif bars.high[i] < bars.low[i - 1]:
        side, near, far = BEARISH, bars.high[i], bars.low[i - 1]
    else:
        return None
    width = side * (near - far)
    if not (unit > 0.0 and width >= parameters["size"] * unit):
        return None
    before = slice(i - VOLUME_BARS, i)
    furthest = max(bars.high[before]) if side > 0 else min(bars.low[before])
    clearance = side * (near - furthest) / unit
    held = location(side, bars, i)
    relative_volume = bars.relative_volume(at)
    both_levels = levels(side, bars.close[i], far, 0.0)
    return Detection(
        direction=side,
        confidence=mean_of_four(
            graded(width / unit, 0.0, 2.0),
            graded(clearance, -2.0, 1.0),
            graded(held, 0.25, 1.0),
            graded(relative_volume, 0.5, 2.0),
        ),
        formation_bars=2,
        volume_confirmed=relative_volume >= CONFIRMING_VOLUME,
        levels={"entry": both_levels["entry"], "stop": both_levels["stop"]},
        context={
            "gap_atr": width / unit,
            "clearance_atr": clearance,
            "close_location": held,
            "relative_volume": relative_volume,
        },
    )


def _twenty_before(parameters: Parameters) -> int:
    return WINDOW_BARS


EVENT_FUNCTIONS: tuple[PatternFunction, ...] = (
    EventPattern(
        "volume_spike",
        _spike_candidates,
        _judge_spike,
        _twenty_before,
        (),
        ("relative_volume", "volume_to_highest", "change_atr"),
    ).function((Parameter("multiple", float, 1.5, 100.0),)),
    EventPattern(
        "gap",
        _gap_candidates,
        _judge_gap,
        _twenty_before,
        ("entry", "stop"),
        ("gap_atr", "clearance_atr", "close_location", "relative_volume"),
    ).function((Parameter("size", float, 0.0, 20.0),)),
)
