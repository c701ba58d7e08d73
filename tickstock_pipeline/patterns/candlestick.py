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

from collections.abc import Mapping

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

    def positions(self, inputs: Inputs) -> tuple[IntArray, DirectionArray]:
        """Bars of ``inputs`` that the recogniser marks, and the direction of each."""
        all_marks = self._recognise(inputs)[0]
        at = (all_marks != 0).nonzero()[0]
        if len(at) and at[0] < self.first:
            at = at[np.searchsorted(at, self.first) :]
        return at, self.directions(all_marks[at])

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
        return graded(measures, [detector.marks(*detector.positions(measures.inputs))])[0]

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
