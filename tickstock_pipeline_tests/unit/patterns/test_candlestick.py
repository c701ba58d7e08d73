"""Each candlestick on bars drawn by hand after the textbook (Nison 1991), and its direction, levels and context."""

from dataclasses import replace

import numpy as np
import pytest

from tickstock_pipeline.market.bar import Bars, empty_bars
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.patterns.defaults import DEFAULT_PATTERNS
from tickstock_pipeline.patterns.detections import Detections
from tickstock_pipeline.patterns.engine import detect
from tickstock_pipeline.patterns.measures import WINDOW_BARS

Candle = tuple[float, float, float, float]

BEFORE = 25
# Candles as (open, high, low, close); 100 is the last close before them, ordinary bodies are 1.0, ranges 1.5.
HAMMER: Candle = (100.0, 100.3, 97.0, 100.25)
SHOOTING_STAR: Candle = (100.5, 103.5, 100.2, 100.25)


def drawn(step: float, *candles: Candle, volume: int = 2000) -> Bars:
    """25 ordinary candles that move by ``step`` a bar to a close of 100, then ``candles``, at twice the volume."""
    close = 100.0 + step * np.arange(1 - BEFORE, 1)
    open_ = close - np.copysign(1.0, step)
    high, low = np.maximum(open_, close) + 0.25, np.minimum(open_, close) - 0.25
    prices = np.vstack([np.column_stack([open_, high, low, close]), np.array(candles).reshape(-1, 4)])
    volumes = np.full(len(prices), 1000, np.int64)
    volumes[-1] = volume
    return Bars(
        "IBM",
        Timeframe.DAILY,
        np.datetime64("2001-01-01", "us") + np.arange(len(prices)) * np.timedelta64(1, "D"),
        *(np.ascontiguousarray(column) for column in prices.T),
        volumes,
    )


def found(bars: Bars, pattern: str, threshold: float = 0.0) -> Detections:
    (definition,) = (row for row in DEFAULT_PATTERNS if row.name == pattern)
    return detect(bars, [replace(definition, confidence_threshold=threshold)])[0]


def at_the_end(bars: Bars, pattern: str, threshold: float = 0.0) -> Detections:
    detections = found(bars, pattern, threshold)
    return detections[detections.index == len(bars) - 1]


TEXTBOOK = [
    ("doji", 1.0, [(100.5, 101.5, 99.5, 100.5)], 0),
    ("doji", -1.0, [(99.5, 100.5, 98.5, 99.5)], 0),
    ("hammer", -1.0, [HAMMER], +1),
    ("hanging_man", 1.0, [(101.0, 101.3, 98.0, 101.25)], -1),
    ("shooting_star", 1.0, [SHOOTING_STAR], -1),
    ("engulfing", -1.0, [(100.0, 100.2, 99.0, 99.2), (99.0, 101.6, 98.9, 101.5)], +1),
    ("engulfing", 1.0, [(100.0, 101.0, 99.9, 100.8), (101.0, 101.1, 98.4, 98.5)], -1),
    ("harami", -1.0, [(100.0, 100.2, 96.8, 97.0), (98.0, 98.7, 97.9, 98.6)], +1),
    ("harami", 1.0, [(100.0, 103.2, 99.8, 103.0), (102.0, 102.1, 101.3, 101.4)], -1),
    ("morning_star", -1.0, [(100.0, 100.2, 96.8, 97.0), (96.5, 96.7, 96.0, 96.3), (96.8, 99.7, 96.7, 99.5)], +1),
    (
        "evening_star",
        1.0,
        [(100.0, 103.2, 99.8, 103.0), (103.5, 104.0, 103.3, 103.7), (103.2, 103.3, 100.3, 100.5)],
        -1,
    ),
]


@pytest.mark.parametrize(("pattern", "step", "candles", "direction"), TEXTBOOK)
def test_the_textbooks_drawing_is_detected_at_its_last_candle_with_its_direction(
    pattern: str, step: float, candles: list[Candle], direction: int
) -> None:
    bars = drawn(step, *candles)
    detections = at_the_end(bars, pattern, threshold=0.5)
    assert detections.pattern == pattern
    assert detections.direction.tolist() == [direction]
    assert detections.formation_bars.tolist() == [len(candles)]
    assert detections.volume_confirmed.tolist() == [True]


@pytest.mark.parametrize(("pattern", "step", "candles", "direction"), TEXTBOOK)
def test_ordinary_candles_before_it_are_no_pattern(
    pattern: str, step: float, candles: list[Candle], direction: int
) -> None:
    assert found(drawn(step, *candles), pattern).index.tolist() == [BEFORE + len(candles) - 1]


@pytest.mark.parametrize(
    ("pattern", "step", "candles"),
    [
        ("doji", 1.0, [(100.0, 101.0, 99.5, 100.6)]),  # a body of 0.6
        ("hammer", -1.0, [(100.0, 101.0, 97.0, 100.25)]),  # an upper shadow
        ("hammer", -1.0, [SHOOTING_STAR]),
        ("shooting_star", 1.0, [HAMMER]),
        ("engulfing", -1.0, [(100.0, 100.2, 99.0, 99.2), (99.3, 100.0, 99.2, 99.9)]),  # inside, not around
        ("engulfing", -1.0, [(99.2, 100.2, 99.0, 100.0), (99.0, 101.6, 98.9, 101.5)]),  # both rise
        ("harami", -1.0, [(100.0, 100.2, 96.8, 97.0), (96.5, 98.7, 96.4, 98.6)]),  # opens outside
        # third candle closes 10 % into the first body: less than the penetration of 30 %
        ("morning_star", -1.0, [(100.0, 100.2, 96.8, 97.0), (96.5, 96.7, 96.0, 96.3), (96.1, 97.4, 96.0, 97.3)]),
    ],
)
def test_a_drawing_that_breaks_the_definition_is_not_the_pattern(
    pattern: str, step: float, candles: list[Candle]
) -> None:
    assert len(at_the_end(drawn(step, *candles), pattern)) == 0


def test_engulfing_that_shares_an_end_of_the_bodies_has_a_direction_too() -> None:
    # TA-Lib marks it with 80 in place of 100
    bars = drawn(-1.0, (100.0, 100.2, 99.0, 99.2), (99.2, 101.6, 98.9, 101.5))
    assert at_the_end(bars, "engulfing").direction.tolist() == [1]


def test_the_same_candles_are_clearer_after_the_trend_that_they_end() -> None:
    candles = ((100.0, 100.2, 99.0, 99.2), (99.0, 101.6, 98.9, 101.5))
    falling, drifting = (at_the_end(drawn(step, *candles), "engulfing") for step in (-1.0, -0.1))
    assert falling.context["trend_atr"][0] < -3.0 < drifting.context["trend_atr"][0] < 0.0
    assert falling.confidence[0] > drifting.confidence[0]


def test_a_bullish_pattern_after_a_rise_is_graded_as_if_there_were_no_trend() -> None:
    candles = ((100.0, 100.2, 99.0, 99.2), (99.0, 101.6, 98.9, 101.5))
    rising, steep = (at_the_end(drawn(step, *candles), "engulfing") for step in (0.1, 0.5))
    assert 0.0 < rising.context["trend_atr"][0] < steep.context["trend_atr"][0]
    assert rising.confidence[0] == pytest.approx(steep.confidence[0])


def test_more_volume_makes_it_clearer_and_confirms_it_from_one_and_a_half() -> None:
    quiet, usual, heavy = (at_the_end(drawn(-1.0, HAMMER, volume=volume), "hammer") for volume in (600, 1499, 1500))
    assert quiet.confidence[0] < usual.confidence[0] < heavy.confidence[0]
    assert [d.volume_confirmed[0] for d in (quiet, usual, heavy)] == [False, False, True]
    assert heavy.context["relative_volume"][0] == 1.5


def test_a_share_without_volume_has_detections_that_volume_does_not_confirm() -> None:
    bars = drawn(-1.0, HAMMER)
    detections = at_the_end(replace(bars, volume=np.zeros_like(bars.volume)), "hammer")
    assert detections.context["relative_volume"].tolist() == [0.0]
    assert not detections.volume_confirmed[0]
    assert detections.confidence[0] > 0.0


def test_levels_of_a_bullish_pattern_are_its_close_its_low_and_two_risks_above() -> None:
    levels = at_the_end(drawn(-1.0, HAMMER), "hammer").levels
    assert {name: values.tolist() for name, values in levels.items()} == {
        "entry": [100.25], "stop": [97.0], "target": [106.75],
    }  # fmt: skip


def test_levels_of_a_bearish_pattern_span_the_whole_formation() -> None:
    levels = at_the_end(drawn(1.0, (100.0, 105.0, 99.0, 104.0), (103.0, 103.2, 101.8, 102.0)), "harami").levels
    assert {name: values.tolist() for name, values in levels.items()} == {
        "entry": [102.0], "stop": [105.0], "target": [96.0],
    }  # fmt: skip


def test_a_stop_at_the_close_leaves_no_stop_and_no_target() -> None:
    levels = at_the_end(drawn(1.0, (101.0, 101.25, 98.0, 101.25)), "hanging_man").levels
    assert levels["entry"].tolist() == [101.25]
    assert np.isnan(levels["stop"]).all()
    assert np.isnan(levels["target"]).all()


def test_a_target_below_zero_is_left_out() -> None:
    bars = drawn(0.01, (100.5, 180.0, 100.2, 100.25))
    lowered = replace(bars, **{name: getattr(bars, name) - 90.0 for name in ("open", "high", "low", "close")})
    levels = at_the_end(lowered, "shooting_star").levels
    assert np.isnan(levels["target"]).all()
    assert levels["stop"][0] == pytest.approx(90.0)


def test_a_neutral_pattern_has_no_levels() -> None:
    assert at_the_end(drawn(1.0, (100.5, 101.5, 99.5, 100.5)), "doji").levels == {}


def test_context_says_what_the_last_candle_looked_like() -> None:
    context = at_the_end(drawn(-1.0, (100.0, 100.0, 96.0, 99.5)), "hammer").context
    assert sorted(context) == ["body_ratio", "lower_shadow_ratio", "relative_volume", "trend_atr", "upper_shadow_ratio"]
    assert [context[f"{part}_ratio"][0] for part in ("body", "upper_shadow", "lower_shadow")] == [0.125, 0.0, 0.875]
    # nine falls of 1.0 over nine true ranges of 1.5, before the hammer itself
    assert context["trend_atr"][0] == pytest.approx(-9.0 / 1.5)


def test_bars_without_a_range_are_no_dojis() -> None:
    assert len(found(drawn(1.0, *[(100.0, 100.0, 100.0, 100.0)] * 30), "doji")) == 0


def test_a_trend_without_any_range_is_no_trend() -> None:
    bars = drawn(1.0, *[(100.0, 100.0, 100.0, 100.0)] * 30, (100.0, 101.0, 99.0, 100.0))
    assert at_the_end(bars, "doji").context["trend_atr"].tolist() == [0.0]


def test_the_threshold_drops_what_is_below_it_and_keeps_what_reaches_it() -> None:
    bars = drawn(-1.0, HAMMER)
    confidence = float(at_the_end(bars, "hammer").confidence[0])
    assert len(at_the_end(bars, "hammer", threshold=confidence)) == 1
    assert len(at_the_end(bars, "hammer", threshold=float(np.nextafter(confidence, 1.0)))) == 0


def test_penetration_is_the_definitions_own() -> None:
    candles = TEXTBOOK[-2][2]
    (definition,) = (row for row in DEFAULT_PATTERNS if row.name == "morning_star")
    assert len(detect(drawn(-1.0, *candles), [replace(definition, parameters={"penetration": 0.9})])[0]) == 0


def test_a_definition_of_another_name_names_its_detections() -> None:
    (definition,) = (row for row in DEFAULT_PATTERNS if row.name == "hammer")
    assert detect(drawn(-1.0, HAMMER), [replace(definition, name="deep_hammer")])[0].pattern == "deep_hammer"


@pytest.mark.parametrize("n_bars", [0, 1, 2, 9, 10, 11, WINDOW_BARS - 1])
def test_too_few_bars_have_no_detection_and_raise_nothing(n_bars: int) -> None:
    bars = drawn(-1.0, HAMMER)[-n_bars:] if n_bars else empty_bars("IBM", Timeframe.DAILY)
    assert [len(detections) for detections in detect(bars, DEFAULT_PATTERNS)] == [0] * len(DEFAULT_PATTERNS)


def test_the_window_is_all_that_a_detection_needs() -> None:
    assert len(at_the_end(drawn(-1.0, HAMMER)[-WINDOW_BARS:], "hammer")) == 1


def test_a_greater_min_bars_required_delays_the_first_detection() -> None:
    bars = drawn(-1.0, HAMMER)
    (definition,) = (row for row in DEFAULT_PATTERNS if row.name == "hammer")
    assert len(detect(bars, [replace(definition, min_bars_required=len(bars))])[0]) == 1
    assert len(detect(bars, [replace(definition, min_bars_required=len(bars) + 1)])[0]) == 0


def test_a_price_that_is_not_finite_is_refused() -> None:
    bars = drawn(-1.0, (100.0, 100.3, float("nan"), 100.25))
    with pytest.raises(ValueError, match="low of the bar"):
        detect(bars, DEFAULT_PATTERNS)
