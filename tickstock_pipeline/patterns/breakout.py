"""Price breakout: the first close beyond the range of the bars before it.

At t, upwards, with N = ``lookback``, level(t) = highest high of the N bars before t, ATR that of the bar before t::

    close(t) > level(t) + margin · ATR    and not the same of t - 1 and its own level and ATR

Downwards mirrored, with the lowest low. Only the first close of a run beyond its ranges counts: a trend is one
breakout, not one a day. The published form is Donchian's channel rule (R. Donchian's four-week rule, in Murphy, J. J.
(1999), Technical Analysis of the Financial Markets); target: the height of the range from its broken end, as Edwards
and Magee measure a rectangle. The stop is one average true range inside the range: a close there has failed.

Components: *distance* beyond the level in ATRs together with *touches*, the bars of the range that came within half an
ATR of the level; *tightness* of the range, its height in ATRs over the square root of N (less is better); *close*,
where in its range the bar closed; relative volume.

It depends on the 2 + ``lookback`` bars up to t, at least on 21.
"""

from math import sqrt

import numpy as np

from tickstock_pipeline.indicators.parameters import Parameter, Parameters
from tickstock_pipeline.market.bar import IntArray
from tickstock_pipeline.patterns.confidence import graded, mean_of_four, mean_of_two
from tickstock_pipeline.patterns.detections import BEARISH, BULLISH, Detection
from tickstock_pipeline.patterns.event import EventPattern, location
from tickstock_pipeline.patterns.function import PatternFunction
from tickstock_pipeline.patterns.grading import CONFIRMING_VOLUME
from tickstock_pipeline.patterns.measures import WINDOW_BARS, Measures, highest_before
from tickstock_pipeline.patterns.series import Series
from tickstock_pipeline.patterns.watch import levels

_TOUCH_ATR = 0.5


def _candidates(measures: Measures, parameters: Parameters) -> IntArray:
    bars, margin = int(parameters["lookback"]), parameters["margin"]
    close, beyond = measures.column("close"), np.full(len(measures), np.inf)
    beyond[1:] = margin * measures.average_true_range[:-1]
    found = np.zeros(len(measures), np.bool_)
    for side, ahead in ((BULLISH, "high"), (BEARISH, "low")):
        level = highest_before(side * measures.column(ahead), bars)
        is_beyond = side * close - level > beyond
        found[1:] |= (side * close[1:] >= level[1:] + beyond[1:]) & ~is_beyond[:-1]
    return np.flatnonzero(found)


def _judge(bars: Series, at: int, parameters: Parameters) -> Detection | None:
    i, lookback, margin = at - bars.base, int(parameters["lookback"]), parameters["margin"]
    unit, close = bars.atr[i - 1], bars.close[i]
    # Nothing that the bar before spans is beyond its range and others'.
    if not unit > 0.0 or bars.low[i - 1] <= close <= bars.high[i - 1]:
        return None
    highs, lows = bars.high[i - lookback : i], bars.low[i - lookback : i]
    top, bottom = max(highs), min(lows)
    if close > top + margin * unit:
        side, level = BULLISH, top
        level_before = max(bars.high[i - 1 - lookback : i - 1])
    elif close < bottom - margin * unit:
        side, level = BEARISH, bottom
        level_before = min(bars.low[i - 1 - lookback : i - 1])
    else:
        return None
    if side * (bars.close[i - 1] - level_before) > margin * bars.atr[i - 2]:
        return None
    near = level - side * _TOUCH_ATR * unit
    touches = sum(high >= near for high in highs) if side > 0 else sum(low <= near for low in lows)
    height = top - bottom
    distance = side * (close - level) / unit
    tightness = height / unit / sqrt(lookback)
    relative_volume = bars.relative_volume(at)
    return Detection(
        direction=side,
        confidence=mean_of_four(
            mean_of_two(graded(distance, 0.0, 1.5), graded(touches, 1.0, 5.0)),
            graded(tightness, 2.0, 0.75),
            graded(location(side, bars, i), 0.5, 1.0),
            graded(relative_volume, 0.5, 2.0),
        ),
        formation_bars=lookback + 1,
        volume_confirmed=relative_volume >= CONFIRMING_VOLUME,
        levels={**levels(side, close, level - side * unit, level + side * height), "level": level},
        context={
            "distance_atr": distance,
            "touches": float(touches),
            "height_atr": height / unit,
            "relative_volume": relative_volume,
        },
    )


def _window(parameters: Parameters) -> int:
    return max(int(parameters["lookback"]) + 2, WINDOW_BARS)


BREAKOUT_FUNCTIONS: tuple[PatternFunction, ...] = (
    EventPattern(
        "price_breakout",
        _candidates,
        _judge,
        _window,
        ("entry", "stop", "target", "level"),
        ("distance_atr", "touches", "height_atr", "relative_volume"),
    ).function((Parameter("lookback", int, 2, 500), Parameter("margin", float, 0.0, 10.0))),
)
