"""Candlestick patterns: TA-Lib says where a formation is, this module how clear it is and what it claims.

1. TA-Lib's recogniser marks bars whose candles fit the pattern. It looks at candles only: it has no notion of the trend
   before them, and gives no degree. Its averages are running sums, so that the last bit of a candle exactly on a
   threshold can depend on the first bar given: the anchor decides it, here as for indicators.
2. Direction is the pattern's own meaning; for engulfing and harami, the sign of TA-Lib's mark (which is ±80 where the
   two bodies share an end, ±100 otherwise).
3. Confidence grades the form (:mod:`tickstock_pipeline.patterns.confidence`). The measures behind *body* and *shadow*
   stand with each pattern below; *trend* is the change of close over the ten bars before, in mean true ranges, against
   the pattern's direction (either way for a doji); *volume* is relative volume.
4. Levels: entry at the close, stop at the far end of the formation, target two risks away. A neutral pattern has none.
   A stop at the close itself leaves no risk to measure: no stop, no target. A target below zero is left out too.

Reference for the shapes: Nison, S. (1991), Japanese Candlestick Charting Techniques; for the recognisers' thresholds,
TA-Lib's candle settings.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tickstock_pipeline.indicators.parameters import Parameter, Parameters
from tickstock_pipeline.indicators.talib_functions import TalibCall, candlestick_call
from tickstock_pipeline.market.bar import FloatArray, IntArray
from tickstock_pipeline.patterns.confidence import both, confidence, grade, ratio
from tickstock_pipeline.patterns.detections import BEARISH, BULLISH, NEUTRAL, Detections, DirectionArray
from tickstock_pipeline.patterns.function import PatternFunction
from tickstock_pipeline.patterns.measures import WINDOW_BARS, Measures

CONFIRMING_VOLUME = 1.5
"""Relative volume from which a detection counts as confirmed by volume."""
TARGET_RISKS = 2.0
"""Distance of the target from the entry, in distances of the stop from the entry."""

_DOJI_BODY = 0.1  # of the average range: TA-Lib's BodyDoji

Form = tuple[FloatArray, FloatArray]
"""The components *body* and *shadow*, (n,) each."""


@dataclass(frozen=True, slots=True)
class Candlestick:
    """One candlestick pattern; calling it detects it.

    Attributes
    ----------
    name : the pattern's
    recogniser : TA-Lib's function
    formation_bars : candles in the formation
    direction : of every detection; None: the sign of TA-Lib's mark
    form : grades the formations whose last bars are given
    """

    name: str
    recogniser: TalibCall
    formation_bars: int
    direction: int | None
    form: Callable[[Measures, IntArray], Form]

    def __call__(self, measures: Measures, parameters: Parameters) -> Detections:
        marks = self.recogniser.run(measures.inputs, parameters)[0]
        # A bar without a range has no candle to judge: TA-Lib calls every quiet minute a doji.
        found = (marks != 0) & (measures.range > 0.0)
        found[: WINDOW_BARS - 1] = False
        at = np.flatnonzero(found).astype(np.int64)
        direction = (
            np.sign(marks[at]).astype(np.int8)
            if self.direction is None
            else np.full(len(at), self.direction, dtype=np.int8)
        )
        trend = measures.trend_before(at, self.formation_bars)
        awaited = np.abs(trend) if self.direction == NEUTRAL else -direction * trend
        relative_volume = measures.relative_volume[at]
        body, shadow = self.form(measures, at)
        extent = measures.range[at]
        return Detections(
            pattern=self.name,
            index=at,
            direction=direction,
            confidence=confidence(body, shadow, grade(awaited, 0.0, 3.0), grade(relative_volume, 0.5, 2.0)),
            formation_bars=np.full(len(at), self.formation_bars, np.int64),
            volume_confirmed=relative_volume >= CONFIRMING_VOLUME,
            levels={} if self.direction == NEUTRAL else _levels(measures, at, direction, self.formation_bars),
            context={
                "trend_atr": trend,
                "relative_volume": relative_volume,
                "body_ratio": ratio(measures.body[at], extent),
                "upper_shadow_ratio": ratio(measures.upper_shadow[at], extent),
                "lower_shadow_ratio": ratio(measures.lower_shadow[at], extent),
            },
        )


def _levels(measures: Measures, at: IntArray, direction: DirectionArray, bars: int) -> dict[str, FloatArray]:
    entry = measures.column("close")[at]
    lowest = np.min([measures.column("low")[at - lag] for lag in range(bars)], axis=0)
    highest = np.max([measures.column("high")[at - lag] for lag in range(bars)], axis=0)
    stop = np.where(direction == BULLISH, lowest, highest)
    target = entry + TARGET_RISKS * (entry - stop)
    has_risk = entry != stop
    return {
        "entry": entry,
        "stop": np.where(has_risk, stop, np.nan),
        "target": np.where(has_risk & (target > 0.0), target, np.nan),
    }


def _doji(m: Measures, at: IntArray) -> Form:
    """Body small against what a doji may have; shadows balanced, and the candle of ordinary length."""
    body = 1.0 - ratio(m.body[at], _DOJI_BODY * m.average_range[at])
    balance = 1.0 - ratio(np.abs(m.upper_shadow[at] - m.lower_shadow[at]), m.range[at])
    length = ratio(m.range[at], m.average_range[at])
    return grade(body, 0.0, 1.0), both(grade(balance, 0.0, 1.0), grade(length, 0.25, 1.25))


def _one_long_shadow(m: Measures, at: IntArray, shadow: FloatArray) -> Form:
    """Body small against the average; the shadow most of the candle, and of the average range or more."""
    body = 1.0 - ratio(m.body[at], m.average_body[at])
    share = ratio(shadow[at], m.range[at])
    length = ratio(shadow[at], m.average_range[at])
    return grade(body, 0.0, 1.0), both(grade(share, 0.5, 0.8), grade(length, 0.25, 1.0))


def _lower_shadow(m: Measures, at: IntArray) -> Form:
    return _one_long_shadow(m, at, m.lower_shadow)


def _upper_shadow(m: Measures, at: IntArray) -> Form:
    return _one_long_shadow(m, at, m.upper_shadow)


def _engulfing(m: Measures, at: IntArray) -> Form:
    """Second body far larger than the first, and large against the average range; hardly any shadows on it."""
    larger = 1.0 - ratio(m.body[at - 1], m.body[at])
    length = ratio(m.body[at], m.average_range[at])
    unshadowed = ratio(m.body[at], m.range[at])
    return both(grade(larger, 0.0, 0.75), grade(length, 0.25, 1.0)), grade(unshadowed, 0.5, 0.9)


def _harami(m: Measures, at: IntArray) -> Form:
    """First body long, second small against it; the whole second candle, shadows too, small against the first."""
    first = at - 1
    long = ratio(m.body[first], m.average_body[first])
    smaller = 1.0 - ratio(m.body[at], m.body[first])
    quieter = 1.0 - ratio(m.range[at], m.range[first])
    return both(grade(long, 1.0, 2.5), grade(smaller, 0.25, 0.9)), grade(quieter, 0.0, 0.75)


def _star(m: Measures, at: IntArray) -> Form:
    """First body long, third closing deep into it; the star's body small, hardly any shadows on the third candle."""
    first, star = at - 2, at - 1
    long = ratio(m.body[first], m.average_body[first])
    depth = ratio(np.abs(m.column("close")[at] - m.column("close")[first]), m.body[first])
    small = 1.0 - ratio(m.body[star], m.average_body[star])
    unshadowed = ratio(m.body[at], m.range[at])
    return both(grade(long, 1.0, 2.5), grade(depth, 0.3, 1.0)), both(
        grade(small, 0.0, 1.0), grade(unshadowed, 0.4, 0.9)
    )


_CANDLESTICKS = (
    Candlestick("doji", candlestick_call("CDLDOJI"), 1, NEUTRAL, _doji),
    Candlestick("hammer", candlestick_call("CDLHAMMER"), 1, BULLISH, _lower_shadow),
    Candlestick("engulfing", candlestick_call("CDLENGULFING"), 2, None, _engulfing),
    Candlestick("shooting_star", candlestick_call("CDLSHOOTINGSTAR"), 1, BEARISH, _upper_shadow),
    Candlestick("hanging_man", candlestick_call("CDLHANGINGMAN"), 1, BEARISH, _lower_shadow),
    Candlestick("harami", candlestick_call("CDLHARAMI"), 2, None, _harami),
    Candlestick("morning_star", candlestick_call("CDLMORNINGSTAR", {"penetration": "penetration"}), 3, BULLISH, _star),
    Candlestick("evening_star", candlestick_call("CDLEVENINGSTAR", {"penetration": "penetration"}), 3, BEARISH, _star),
)

CANDLESTICK_FUNCTIONS: tuple[PatternFunction, ...] = tuple(
    PatternFunction(
        name=candlestick.name,
        parameters=tuple(Parameter(ours, float, 0.0, 1.0) for ours in candlestick.recogniser.renamed.values()),
        bars_needed=lambda parameters: WINDOW_BARS,
        detect=candlestick,
        recogniser=candlestick.recogniser,
    )
    for candlestick in _CANDLESTICKS
)
