"""Chart patterns on drawings after the textbooks (Edwards & Magee, Murphy, Bulkowski), and drawings that just miss.

Bars of a drawing reach 1 above and below their close, so pivots are 1 beyond its corners and the average true range is
2, or a little more where the drawing is steep.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.patterns.defaults import DEFAULT_PATTERNS
from tickstock_pipeline.patterns.detections import Detections
from tickstock_pipeline.patterns.engine import detect
from tickstock_pipeline_tests.unit.patterns.walks import zigzag

Points = list[tuple[int, float]]
UPSIDE_DOWN = 256.0


def found(pattern: str, points: Sequence[tuple[int, float]], volumes: Sequence[tuple[int, int]] = ()) -> Detections:
    return found_in(pattern, zigzag(points, volumes=volumes))


def found_in(pattern: str, bars: Bars) -> Detections:
    (definition,) = (row for row in DEFAULT_PATTERNS if row.name == pattern)
    return detect(bars, [replace(definition, confidence_threshold=0.0)])[0]


def upside_down(points: Points) -> Points:
    return [(at, UPSIDE_DOWN - price) for at, price in points]


def prices(detections: Detections) -> dict[str, float]:
    assert len(detections) == 1
    return {name: round(float(values[0]), 6) for name, values in detections.levels.items()}


DOUBLE_TOP: Points = [(0, 112), (12, 100), (40, 130), (52, 118), (64, 130), (80, 110)]
HEAD_AND_SHOULDERS: Points = [
    (0, 112), (12, 100), (30, 120), (38, 112), (50, 130), (62, 112), (70, 120), (90, 95),
]  # fmt: skip
ASCENDING: Points = [(0, 120), (14, 106), (29, 130), (44, 112), (58, 130), (67, 120), (79, 134)]
SYMMETRICAL: Points = [(0, 120), (14, 100), (29, 130), (44, 108), (58, 126), (67, 114), (79, 128)]
RISING_LINE: Points = [(0, 112), (16, 100), (28, 118), (40, 108), (52, 126), (64, 116), (76, 134), (90, 120)]
RESISTANCE: Points = [(0, 112), (16, 104), (28, 130), (40, 116), (52, 130), (64, 118), (79, 136)]
SUPPORT: Points = [(0, 130), (16, 110), (28, 124), (40, 110), (52, 124), (65, 111), (74, 120)]
FLAG: Points = [(0, 100), (30, 100), (38, 124), (48, 119), (52, 131)]


@pytest.mark.parametrize(
    ("pattern", "points", "at", "direction", "levels"),
    [
        ("double_top", DOUBLE_TOP, 75, -1, {"entry": 116.25, "stop": 131.0, "target": 103.0, "level": 117.0}),
        (
            "double_bottom",
            upside_down(DOUBLE_TOP),
            75,
            +1,
            {"entry": 139.75, "stop": 125.0, "target": 153.0, "level": 139.0},
        ),
        (
            "head_and_shoulders",
            HEAD_AND_SHOULDERS,
            78,
            -1,
            {"entry": 110.0, "stop": 121.0, "target": 91.0, "level": 111.0},
        ),
        (
            "inverse_head_and_shoulders",
            upside_down(HEAD_AND_SHOULDERS),
            78,
            +1,
            {"entry": 146.0, "stop": 135.0, "target": 165.0, "level": 145.0},
        ),
    ],
)  # fmt: skip
def test_a_reversal_is_known_at_the_close_through_its_neckline(
    pattern: str, points: Points, at: int, direction: int, levels: dict[str, float]
) -> None:
    detections = found(pattern, points)
    assert detections.index.tolist() == [at]
    assert detections.direction.tolist() == [direction]
    assert prices(detections) == levels


def test_a_double_top_says_where_its_turns_were() -> None:
    detections = found("double_top", DOUBLE_TOP)
    context = {name: float(values[0]) for name, values in detections.context.items()}
    bars_ago = [context[f"{turn}_bars_ago"] for turn in ("first", "middle", "second")]
    assert bars_ago == [75 - 40, 75 - 52, 75 - 64]
    assert detections.formation_bars.tolist() == [36]
    assert context["difference_atr"] == 0.0
    assert context["time_ratio"] == 1.0
    assert context["height_atr"] == pytest.approx(7.0, rel=0.15)


@pytest.mark.parametrize(
    ("points", "why"),
    [
        ([*DOUBLE_TOP[:4], (64, 136), (80, 110)], "the second top is three average true ranges higher"),
        ([*DOUBLE_TOP[:-1], (73, 119)], "no close below the valley"),
        ([*DOUBLE_TOP[:-1], (70, 125), (80, 140), (100, 110)], "a higher top came first"),
        ([*DOUBLE_TOP[:3], (46, 127.5), (52, 130), (80, 110)], "the valley is no pivot"),
        ([(0, 100), (12, 125), (20, 110), (40, 130), (52, 108), (64, 130), (80, 100)], "no rise led into it"),
        ([(0, 112), (12, 100), (40, 130), (95, 118), (150, 130), (166, 110)], "the tops are more than 100 bars apart"),
        ([*DOUBLE_TOP[:-1], (69, 124), (92, 124), (100, 110)], "the break comes too late"),
    ],
)  # fmt: skip
def test_a_near_miss_is_no_double_top(points: Points, why: str) -> None:
    assert len(found("double_top", points)) == 0, why


@pytest.mark.parametrize(
    ("points", "why"),
    [
        ([*HEAD_AND_SHOULDERS[:4], (50, 120), *HEAD_AND_SHOULDERS[5:]], "the head is no higher than its shoulders"),
        ([*HEAD_AND_SHOULDERS[:6], (74, 127), (95, 95)], "one shoulder is far higher than the other"),
        ([*HEAD_AND_SHOULDERS[:5], (62, 105), (70, 120), (90, 90)], "the neckline is steep"),
        ([*HEAD_AND_SHOULDERS[:7], (76, 113)], "no close below the neckline"),
        ([*HEAD_AND_SHOULDERS[:5], (58, 112), (132, 112.5), (140, 120), (158, 95)], "one side is far longer"),
    ],
)
def test_a_near_miss_is_no_head_and_shoulders(points: Points, why: str) -> None:
    assert len(found("head_and_shoulders", points)) == 0, why


def test_an_ascending_triangle_is_broken_by_a_close_above_its_highs() -> None:
    detections = found("triangle", ASCENDING)
    assert detections.index.tolist() == [77]
    assert detections.direction.tolist() == [1]
    assert detections.context["kind"].tolist() == [1.0]
    slope = (119 - 111) / (67 - 44)
    lower = 119 + slope * (77 - 67)
    height = 131 - (119 + slope * (29 - 67))
    assert prices(detections) == pytest.approx(
        {"entry": 120 + 14 / 12 * 10, "stop": lower, "target": 131 + height, "level": 131.0}, abs=1e-5
    )


def test_a_descending_triangle_is_the_same_upside_down() -> None:
    detections = found("triangle", upside_down(ASCENDING))
    assert (detections.index.tolist(), detections.direction.tolist()) == ([77], [-1])
    assert detections.context["kind"].tolist() == [-1.0]


@pytest.mark.parametrize(("last", "direction"), [((79, 128), 1), ((72, 119), None), ((90, 100), -1)])
def test_a_symmetrical_triangle_breaks_either_way_or_not_yet(last: tuple[int, float], direction: int | None) -> None:
    turn = [(72, 119)] if direction == -1 else []
    detections = found("triangle", [*SYMMETRICAL[:-1], *turn, last])
    assert detections.direction.tolist() == ([] if direction is None else [direction])
    assert set(detections.context["kind"].tolist()) <= {0.0}


@pytest.mark.parametrize(
    ("points", "why"),
    [
        ([(0, 120), (14, 100), (29, 120), (44, 108), (58, 128), (67, 118), (79, 140)], "a rising channel"),
        ([(0, 120), (14, 105), (29, 120), (44, 103), (58, 126), (75, 97), (100, 140)], "it widens"),
    ],
)
def test_lines_that_do_not_meet_are_no_triangle(points: Points, why: str) -> None:
    assert len(found("triangle", points)) == 0, why


def test_a_line_along_rising_lows_is_broken_by_a_close_below_it() -> None:
    detections = found("trend_line_break", RISING_LINE)
    assert detections.index.tolist() == [88]
    assert detections.direction.tolist() == [-1]
    assert detections.context["touches"].tolist() == [3.0]
    assert detections.context["first_touch_bars_ago"].tolist() == [72.0]
    assert prices(detections) | {"stop": 0.0} == {"entry": 122.0, "stop": 0.0, "target": 107.0, "level": 123.0}


def test_a_line_along_falling_highs_is_broken_by_a_close_above_it() -> None:
    detections = found("trend_line_break", upside_down(RISING_LINE))
    assert (detections.index.tolist(), detections.direction.tolist()) == ([88], [1])


@pytest.mark.parametrize(
    ("points", "why"),
    [
        ([*RISING_LINE[:-1], (87, 123.5)], "closes stay above the line"),
        ([(0, 112), (16, 100), (28, 118), (40, 98), (52, 126), (66, 96)], "the lows do not rise"),
        ([(0, 112), (16, 100), (22, 108), (27, 101), (40, 118), (60, 98)], "the lows are too close to each other"),
    ],
)
def test_a_near_miss_is_no_trend_line_break(points: Points, why: str) -> None:
    assert len(found("trend_line_break", points)) == 0, why


def test_a_resistance_of_two_touches_is_broken_by_a_close_clearly_above_it() -> None:
    detections = found("resistance_break", RESISTANCE)
    assert detections.index.tolist() == [76]
    assert detections.context["touches"].tolist() == [2.0]
    levels = prices(detections)
    assert levels | {"stop": 0.0} == {"entry": 132.4, "stop": 0.0, "target": 147.0, "level": 131.0}
    assert levels["stop"] == pytest.approx(131.0 - 2.0, abs=0.5)


@pytest.mark.parametrize(
    ("points", "why"),
    [
        ([*RESISTANCE[:-1], (75, 131.2)], "no close clearly above it"),
        ([*RESISTANCE[:4], (48, 124), (64, 112), (79, 122.9)], "the highs are no level"),
        ([*RESISTANCE[:3], (40, 116), (56, 138), (70, 118), (79, 136)], "the level was passed before"),
    ],
)
def test_a_near_miss_is_no_resistance_break(points: Points, why: str) -> None:
    assert len(found("resistance_break", points)) == 0, why


def test_a_support_is_tested_by_the_first_bar_that_comes_down_to_it_and_closes_above() -> None:
    detections = found("support_test", SUPPORT)
    assert detections.index.tolist() == [65]
    assert detections.direction.tolist() == [1]
    levels = prices(detections)
    assert levels | {"stop": 0.0} == {"entry": 111.0, "stop": 0.0, "target": 125.0, "level": 109.0}
    assert detections.context["rejection"].tolist() == [0.5]


@pytest.mark.parametrize(
    ("points", "why"),
    [
        ([*SUPPORT[:-2], (60, 116), (74, 120)], "it turns well above the level"),
        ([*SUPPORT[:-2], (60, 116), (61, 100)], "it falls through the level in a bar"),
        ([*SUPPORT[:3], (40, 117), (52, 124), (58, 118), (63, 121)], "the lows are no level"),
    ],
)
def test_a_near_miss_is_no_support_test(points: Points, why: str) -> None:
    assert len(found("support_test", points)) == 0, why


def test_a_flag_is_broken_by_a_close_above_its_upper_line() -> None:
    detections = found("flag", FLAG)
    assert detections.index.tolist() == [49]
    assert detections.direction.tolist() == [1]
    assert prices(detections) == {"entry": 122.0, "stop": 118.0, "target": 145.5, "level": 119.5}
    context = {name: float(values[0]) for name, values in detections.context.items()}
    assert context["pole_height_atr"] == 13.0
    assert context["pole_end_bars_ago"] == 11.0
    assert context["retracement"] == pytest.approx(7 / 26)
    assert context["slope_atr"] == -0.25


def test_a_bearish_flag_is_the_same_upside_down() -> None:
    detections = found("flag", upside_down(FLAG))
    assert (detections.index.tolist(), detections.direction.tolist()) == ([49], [-1])
    assert prices(detections) == {"entry": 134.0, "stop": 138.0, "target": 110.5, "level": 136.5}


@pytest.mark.parametrize(
    ("points", "why"),
    [
        ([*FLAG[:3], (48, 108), (58, 131)], "it gives back more than half the pole"),
        ([*FLAG[:3], (41, 122), (44, 131)], "the pause is too short"),
        ([*FLAG[:3], (62, 118), (66, 131)], "the pause is too long"),
        ([(0, 100), (30, 100), (80, 124), (90, 119), (94, 131)], "there is no pole"),
        ([*FLAG[:3], (48, 119)], "no close above the line"),
    ],
)
def test_a_near_miss_is_no_flag(points: Points, why: str) -> None:
    assert len(found("flag", points)) == 0, why


@pytest.mark.parametrize(
    ("pattern", "points", "at"),
    [
        ("double_top", DOUBLE_TOP, 75),
        ("head_and_shoulders", HEAD_AND_SHOULDERS, 78),
        ("triangle", ASCENDING, 77),
        ("trend_line_break", RISING_LINE, 88),
        ("resistance_break", RESISTANCE, 76),
        ("support_test", SUPPORT, 65),
        ("flag", FLAG, 49),
    ],
)
def test_more_volume_makes_it_clearer_and_confirms_it(pattern: str, points: Points, at: int) -> None:
    quiet, usual, heavy = (found(pattern, points, [(at, shares)]) for shares in (700, 1499, 1800))
    assert quiet.confidence[0] < usual.confidence[0] < heavy.confidence[0]
    assert [detections.volume_confirmed[0] for detections in (quiet, usual, heavy)] == [False, False, True]


@pytest.mark.parametrize(
    ("pattern", "points", "better"),
    [
        ("double_top", [*DOUBLE_TOP[:4], (64, 129), (80, 109)], DOUBLE_TOP),
        ("double_top", [*DOUBLE_TOP[:3], (48, 118), (64, 130), (80, 110)], DOUBLE_TOP),
        ("head_and_shoulders", [*HEAD_AND_SHOULDERS[:6], (70, 118), (90, 93)], HEAD_AND_SHOULDERS),
        ("flag", [*FLAG[:3], (48, 114), (52, 126)], FLAG),
    ],
)
def test_what_is_closer_to_the_textbook_has_more_confidence(pattern: str, points: Points, better: Points) -> None:
    assert found(pattern, points).confidence[0] < found(pattern, better).confidence[0]


def test_a_target_below_zero_is_left_out() -> None:
    bars = zigzag([(at, price - 94) for at, price in HEAD_AND_SHOULDERS[:-1]] + [(85, 4)])
    assert bars.low.min() > 0.0
    levels = found_in("head_and_shoulders", bars).levels
    assert np.isnan(levels["target"]).all()
    assert levels["stop"].tolist() == [27.0]
