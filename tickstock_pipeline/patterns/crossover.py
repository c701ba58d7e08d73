"""Golden cross and death cross: a fast simple moving average of the close crosses a slow one.

With d = fast average - slow average, a golden cross is at t when d(t) > 0 and d(t - 1) <= 0, a death cross when
d(t) < 0 and d(t - 1) >= 0. Averages that differ by less than 1e-12 of the slow one are equal: flat prices cross nothing
by rounding. The classic periods are 50 and 200 (Murphy, J. J. (1999), Technical Analysis of the Financial Markets).

Components: the *angle* of the crossing, change of d in a bar, in ATRs; the *slope* of the slow average in the direction
of the cross, in ATRs a bar; the *lead* of the close beyond the slow average, in ATRs; relative volume. The stop is the
slow average; a cross measures no move, so there is no target.

It depends on the 1 + ``slow_period`` bars up to t, at least on 21: each average is summed anew at each bar.
"""

from functools import partial

import numpy as np

from tickstock_pipeline.indicators.parameters import Parameter, Parameters
from tickstock_pipeline.market.bar import IntArray
from tickstock_pipeline.patterns.confidence import graded, mean_of_four
from tickstock_pipeline.patterns.detections import BEARISH, BULLISH, Detection
from tickstock_pipeline.patterns.event import EventPattern
from tickstock_pipeline.patterns.function import PatternFunction
from tickstock_pipeline.patterns.grading import CONFIRMING_VOLUME
from tickstock_pipeline.patterns.measures import WINDOW_BARS, Measures
from tickstock_pipeline.patterns.series import Series
from tickstock_pipeline.patterns.watch import levels

_EQUAL = 1e-12


def _candidates(side: int, measures: Measures, parameters: Parameters) -> IntArray:
    fast, slow = (measures.average(int(parameters[name])) for name in ("fast_period", "slow_period"))
    is_beyond = side * (fast - slow) > _EQUAL * slow
    return np.flatnonzero(is_beyond[1:] & ~is_beyond[:-1]) + 1


def _judge(side: int, bars: Series, at: int, parameters: Parameters) -> Detection | None:
    i = at - bars.base
    fast_before, fast = bars.averages(int(parameters["fast_period"]), at)
    slow_before, slow = bars.averages(int(parameters["slow_period"]), at)
    lead = side * (fast - slow)
    if not lead > _EQUAL * slow:
        return None
    lead_before = side * (fast_before - slow_before)
    if not lead_before <= _EQUAL * slow_before:
        return None
    unit = bars.atr[i]
    close, relative_volume = bars.close[i], bars.relative_volume(at)
    if unit > 0.0:
        angle = (lead - lead_before) / unit
        slope = side * (slow - slow_before) / unit
        distance = side * (close - slow) / unit
    else:
        # Averages go on crossing where prices have stood still for as long as an average true range looks back.
        angle = slope = distance = 0.0
    both_levels = levels(side, close, slow, 0.0)
    return Detection(
        direction=side,
        confidence=mean_of_four(
            graded(angle, 0.0, 0.15),
            graded(slope, -0.05, 0.05),
            graded(distance, 0.0, 5.0),
            graded(relative_volume, 0.5, 2.0),
        ),
        formation_bars=int(parameters["slow_period"]),
        volume_confirmed=relative_volume >= CONFIRMING_VOLUME,
        levels={"entry": both_levels["entry"], "stop": both_levels["stop"]},
        context={
            "angle_atr": angle,
            "slope_atr": side * slope,
            "distance_atr": distance,
            "relative_volume": relative_volume,
        },
    )


def _window(parameters: Parameters) -> int:
    return max(int(parameters["slow_period"]) + 1, WINDOW_BARS)


def _rule(parameters: Parameters) -> str | None:
    fast, slow = parameters["fast_period"], parameters["slow_period"]
    return None if fast < slow else f"fast_period ({fast}) must be less than slow_period ({slow})."


CROSSOVER_FUNCTIONS: tuple[PatternFunction, ...] = tuple(
    EventPattern(
        name,
        partial(_candidates, side),
        partial(_judge, side),
        _window,
        ("entry", "stop"),
        ("angle_atr", "slope_atr", "distance_atr", "relative_volume"),
        averages=("fast_period", "slow_period"),
    ).function((Parameter("fast_period", int, 1, 1000), Parameter("slow_period", int, 2, 1000)), _rule)
    for name, side in (("golden_cross", BULLISH), ("death_cross", BEARISH))
)
