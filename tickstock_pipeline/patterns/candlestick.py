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

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np

from tickstock_pipeline.indicators.inputs import Inputs
from tickstock_pipeline.indicators.parameters import Parameter, Parameters
from tickstock_pipeline.indicators.talib_functions import candlestick_call
from tickstock_pipeline.market.bar import FloatArray, IntArray
from tickstock_pipeline.patterns.confidence import both, grade, ratio
from tickstock_pipeline.patterns.detections import BEARISH, BULLISH, NEUTRAL, Detections, DirectionArray
from tickstock_pipeline.patterns.function import Detector, PatternFunction
from tickstock_pipeline.patterns.grading import Candlestick, Form, Marks, graded
from tickstock_pipeline.patterns.measures import WINDOW_BARS, Measures

_DOJI_BODY = 0.1  # of the average range: TA-Lib's BodyDoji


def _doji(m: Measures, at: IntArray) -> Form:
    """Body small against what a doji may have; shadows balanced, and the candle of ordinary length."""
    average_range, extent = m.average_range_at(at), m.range.take(at)
    body = 1.0 - ratio(m.body.take(at), _DOJI_BODY * average_range)
    balance = 1.0 - ratio(np.abs(m.upper_shadow_at(at) - m.lower_shadow_at(at)), extent)
    length = ratio(extent, average_range)
    return grade(body, 0.0, 1.0), both(grade(balance, 0.0, 1.0), grade(length, 0.25, 1.25))


def _one_long_shadow(m: Measures, at: IntArray, shadow: FloatArray) -> Form:
    """Body small against the average; the shadow most of the candle, and of the average range or more."""
    body = 1.0 - ratio(m.body.take(at), m.average_body_at(at))
    share = ratio(shadow, m.range.take(at))
    length = ratio(shadow, m.average_range_at(at))
    return grade(body, 0.0, 1.0), both(grade(share, 0.5, 0.8), grade(length, 0.25, 1.0))


def _lower_shadow(m: Measures, at: IntArray) -> Form:
    return _one_long_shadow(m, at, m.lower_shadow_at(at))


def _upper_shadow(m: Measures, at: IntArray) -> Form:
    return _one_long_shadow(m, at, m.upper_shadow_at(at))


def _engulfing(m: Measures, at: IntArray) -> Form:
    """Second body far larger than the first, and large against the average range; hardly any shadows on it."""
    body = m.body.take(at)
    larger = 1.0 - ratio(m.body.take(at - 1), body)
    length = ratio(body, m.average_range_at(at))
    unshadowed = ratio(body, m.range.take(at))
    return both(grade(larger, 0.0, 0.75), grade(length, 0.25, 1.0)), grade(unshadowed, 0.5, 0.9)


def _harami(m: Measures, at: IntArray) -> Form:
    """First body long, second small against it; the whole second candle, shadows too, small against the first."""
    first = at - 1
    first_body = m.body.take(first)
    long = ratio(first_body, m.average_body_at(first))
    smaller = 1.0 - ratio(m.body.take(at), first_body)
    quieter = 1.0 - ratio(m.range.take(at), m.range.take(first))
    return both(grade(long, 1.0, 2.5), grade(smaller, 0.25, 0.9)), grade(quieter, 0.0, 0.75)


def _star(m: Measures, at: IntArray) -> Form:
    """First body long, third closing deep into it; the star's body small, hardly any shadows on the third candle."""
    first, star = at - 2, at - 1
    first_body, close = m.body.take(first), m.column("close")
    long = ratio(first_body, m.average_body_at(first))
    depth = ratio(np.abs(close.take(at) - close.take(first)), first_body)
    small = 1.0 - ratio(m.body.take(star), m.average_body_at(star))
    unshadowed = ratio(m.body.take(at), m.range.take(at))
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

CANDLESTICKS: Mapping[str, Candlestick] = {candlestick.name: candlestick for candlestick in _CANDLESTICKS}


class CandlestickDetector:
    """One candlestick as a definition asks for it: finds marks, which are graded later, many at once.

    Parameters
    ----------
    candlestick : what to look for
    parameters : its recogniser's
    pattern : the definition's name
    min_bars_required : bars up to and with the earliest detection
    threshold : least confidence of a detection
    """

    def __init__(
        self, candlestick: Candlestick, parameters: Parameters, pattern: str, min_bars_required: int, threshold: float
    ) -> None:
        self.candlestick = candlestick
        self.pattern = pattern
        self.threshold = threshold
        self.first = max(WINDOW_BARS, min_bars_required) - 1
        self._recognise = candlestick.recogniser.bound(parameters)

    def recognised(self, inputs: Inputs, first: int = 0) -> IntArray:
        """The recogniser's marks at all bars, (n_bars,) int32: 0 where there is none, and before bar ``first``."""
        marks = cast(IntArray, self._recognise(inputs)[0])
        marks[: max(first, self.first)] = 0
        return marks

    def marked(self, recognised: Sequence[IntArray]) -> Marks:
        """What was recognised in several series, at positions in them one after the other."""
        joined = recognised[0] if len(recognised) == 1 else np.concatenate(recognised)
        at = (joined != 0).nonzero()[0]
        return self.marks(at, self.directions(joined.take(at)))

    def directions(self, marks: IntArray) -> DirectionArray:
        """The directions of detections at marks, (n,) each."""
        if self.candlestick.direction is None:
            return np.sign(marks).astype(np.int8)
        return np.full(len(marks), self.candlestick.direction, np.int8)

    def marks(self, at: IntArray, direction: DirectionArray) -> Marks:
        """Positions in whatever they are graded in."""
        return Marks(self.pattern, self.candlestick, at, direction, self.threshold)


def _detector_of(candlestick: Candlestick) -> Detector:
    def detect(measures: Measures, parameters: Parameters) -> Detections:
        detector = CandlestickDetector(candlestick, parameters, candlestick.name, 0, 0.0)
        return graded(measures, [detector.marked([detector.recognised(measures.inputs, measures.first)])])[0]

    return detect


CANDLESTICK_FUNCTIONS: tuple[PatternFunction, ...] = tuple(
    PatternFunction(
        name=candlestick.name,
        parameters=tuple(Parameter(ours, float, 0.0, 1.0) for ours in candlestick.recogniser.renamed.values()),
        bars_needed=lambda parameters: WINDOW_BARS,
        detect=_detector_of(candlestick),
        recogniser=candlestick.recogniser,
    )
    for candlestick in CANDLESTICKS.values()
)
