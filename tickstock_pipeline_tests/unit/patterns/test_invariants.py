"""What must hold of candlestick detection for any prices: no look-ahead, no memory, no unit."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.patterns.confidence import FLOOR, both, confidence, grade, graded, mean_of_four, mean_of_two
from tickstock_pipeline.patterns.defaults import DEFAULT_PATTERNS
from tickstock_pipeline.patterns.detections import Detections, signal_strength
from tickstock_pipeline.patterns.engine import detect
from tickstock_pipeline.patterns.measures import WINDOW_BARS

EVERY_FORM = tuple(
    replace(definition, confidence_threshold=0.0)
    for definition in DEFAULT_PATTERNS
    if definition.category == "candlestick"
)
COMPONENT = st.floats(FLOOR, 1.0)


def grid_bars(steps: np.ndarray, volume: np.ndarray) -> Bars:
    """Bars on a grid of 1/64: sums of such prices are exact, in whatever order a library adds them."""
    open_ = 8192 + np.cumsum(steps[:, 0])
    close = open_ + steps[:, 1]
    high = np.maximum(open_, close) + np.abs(steps[:, 2])
    low = np.minimum(open_, close) - np.abs(steps[:, 3])
    time = np.datetime64("2001-01-01", "us") + np.arange(len(steps)) * np.timedelta64(1, "D")
    return Bars("IBM", Timeframe.DAILY, time, open_ / 64, high / 64, low / 64, close / 64, volume)


@st.composite
def any_bars(draw: st.DrawFn) -> Bars:
    n_bars = draw(st.integers(1, 70))
    steps = draw(hnp.arrays(np.int64, (n_bars, 4), elements=st.integers(-40, 40)))
    volume = draw(hnp.arrays(np.int64, n_bars, elements=st.integers(0, 5000)))
    return grid_bars(steps, volume)


def many_bars(seed: int = 11, n_bars: int = 4000) -> Bars:
    random = np.random.default_rng(seed)
    steps = np.rint(random.standard_t(4, (n_bars, 4)) * [4, 24, 12, 12]).astype(np.int64)
    steps[:, 0] += np.concatenate([[0], steps[:-1, 1]])
    return grid_bars(np.clip(steps, -2000, 2000), random.integers(1, 5000, n_bars))


def assert_same_bits(left: Sequence[Detections], right: Sequence[Detections], *, scale: float = 1.0) -> None:
    for one, other in zip(left, right, strict=True):
        assert one.pattern == other.pattern
        for name in ("index", "direction", "confidence", "formation_bars", "volume_confirmed"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=f"{one.pattern} {name}")
        assert one.levels.keys() == other.levels.keys()
        for name in one.levels:
            np.testing.assert_array_equal(one.levels[name] * scale, other.levels[name])
        for name in one.context:
            np.testing.assert_array_equal(one.context[name], other.context[name])


def shifted(detections: Detections, by: int) -> Detections:
    return replace(detections, index=detections.index + by)


def test_the_random_bars_of_these_tests_contain_every_pattern() -> None:
    assert min(len(detections) for detections in detect(many_bars(), EVERY_FORM)) >= 5


@given(bars=any_bars(), data=st.data())
@settings(max_examples=80, deadline=None)
def test_detections_at_a_bar_never_depend_on_later_bars(bars: Bars, data: st.DataObject) -> None:
    length = data.draw(st.integers(1, len(bars)))
    known_then = detect(bars[:length], EVERY_FORM)
    known_later = tuple(detections[detections.index < length] for detections in detect(bars, EVERY_FORM))
    assert_same_bits(known_then, known_later)


def test_each_detection_of_a_long_series_is_the_same_on_the_day_it_is_known() -> None:
    bars = many_bars(n_bars=1500)
    complete = detect(bars, EVERY_FORM)
    for last in np.unique(np.concatenate([detections.index for detections in complete])):
        then = detect(bars[: last + 1], EVERY_FORM)
        assert_same_bits(tuple(d[d.index == last] for d in then), tuple(d[d.index == last] for d in complete))


@given(bars=any_bars(), data=st.data())
@settings(max_examples=80, deadline=None)
def test_where_a_series_begins_changes_nothing_after_the_window(bars: Bars, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(bars) - 1))
    late = tuple(shifted(detections, first) for detections in detect(bars[first:], EVERY_FORM))
    early = tuple(d[d.index >= first + WINDOW_BARS - 1] for d in detect(bars, EVERY_FORM))
    assert_same_bits(late, early)


@given(bars=any_bars(), exponent=st.integers(-20, 20))
@settings(max_examples=80, deadline=None)
def test_the_currency_unit_changes_nothing_but_the_levels(bars: Bars, exponent: int) -> None:
    scale = 2.0**exponent
    scaled = replace(bars, **{name: getattr(bars, name) * scale for name in ("open", "high", "low", "close")})
    assert_same_bits(detect(bars, EVERY_FORM), detect(scaled, EVERY_FORM), scale=scale)


@pytest.mark.parametrize("scale", [2.0**-10, 2.0**7])
def test_the_currency_unit_changes_nothing_in_a_long_series(scale: float) -> None:
    bars = many_bars()
    scaled = replace(bars, **{name: getattr(bars, name) * scale for name in ("open", "high", "low", "close")})
    assert_same_bits(detect(bars, EVERY_FORM), detect(scaled, EVERY_FORM), scale=scale)


@given(bars=any_bars())
@settings(max_examples=80, deadline=None)
def test_detections_are_well_formed(bars: Bars) -> None:
    for detections in detect(bars, EVERY_FORM):
        assert (np.diff(detections.index) > 0).all()
        assert ((detections.confidence >= FLOOR * 0.999) & (detections.confidence <= 1.0)).all()
        assert np.isin(detections.direction, [-1, 0, 1]).all()
        assert detections.index.dtype == np.int64
        assert detections.direction.dtype == np.int8
        for values in detections.context.values():
            assert np.isfinite(values).all()
        for values in detections.levels.values():
            assert ((values > 0.0) | np.isnan(values)).all()


@given(components=st.tuples(COMPONENT, COMPONENT, COMPONENT, COMPONENT), which=st.integers(0, 3), better=COMPONENT)
def test_confidence_rises_with_each_component_and_stays_within_its_bounds(
    components: tuple[float, ...], which: int, better: float
) -> None:
    before = [np.array([value]) for value in components]
    after = [*before]
    after[which] = np.maximum(before[which], better)
    low, high = confidence(*before)[0], confidence(*after)[0]
    assert low <= high <= 1.0
    assert low >= FLOOR * 0.999


def test_confidence_is_the_geometric_mean() -> None:
    ones = np.ones(1)
    assert confidence(ones, ones, ones, ones)[0] == 1.0
    assert confidence(np.array([0.1]), ones, ones, ones)[0] == pytest.approx(0.1**0.25)
    assert both(np.array([0.25]), ones)[0] == 0.5


@given(values=st.tuples(st.floats(-10, 10), st.floats(-10, 10)), weak=st.floats(-5, 5), width=st.floats(0.01, 5))
def test_a_grade_rises_with_its_measure_from_the_floor_to_one(
    values: tuple[float, float], weak: float, width: float
) -> None:
    worse, better = grade(np.array(sorted(values)), weak, weak + width)
    assert FLOOR <= worse <= better <= 1.0


@given(value=st.floats(-10, 10), weak=st.floats(-5, 5), width=st.floats(0.01, 5))
def test_a_single_value_is_graded_as_in_an_array_and_the_other_way_round_where_less_is_better(
    value: float, weak: float, width: float
) -> None:
    assert graded(value, weak, weak + width) == pytest.approx(grade(np.array([value]), weak, weak + width)[0])
    assert graded(value, weak + width, weak) == pytest.approx(1.0 + FLOOR - graded(value, weak, weak + width))


@given(components=st.tuples(COMPONENT, COMPONENT, COMPONENT, COMPONENT))
def test_single_components_have_the_mean_of_arrays(components: tuple[float, float, float, float]) -> None:
    assert mean_of_four(*components) == confidence(*(np.array([value]) for value in components))[0]
    assert mean_of_two(*components[:2]) == both(*(np.array([value]) for value in components[:2]))[0]


def test_a_grade_is_linear_between_its_ends() -> None:
    np.testing.assert_allclose(grade(np.array([0.0, 1.0, 2.0, 3.0, 9.0]), 1.0, 3.0), [0.1, 0.1, 0.55, 1.0, 1.0])


@pytest.mark.parametrize(
    ("value", "strength"),
    [(1.0, "strong"), (0.7, "strong"), (0.6999, "moderate"), (0.5, "moderate"), (0.4999, "weak"), (0.0, "weak")],
)
def test_signal_strength_has_its_borders_at_seven_and_five_tenths(value: float, strength: str) -> None:
    assert signal_strength(value) == strength
