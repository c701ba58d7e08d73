"""What must hold of events and formations for any prices: no look-ahead, live as in batch, no unit, no side."""

from collections.abc import Sequence
from dataclasses import replace
from math import isnan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.patterns.confidence import FLOOR
from tickstock_pipeline.patterns.defaults import DEFAULT_PATTERNS
from tickstock_pipeline.patterns.definition import PatternDefinition
from tickstock_pipeline.patterns.detections import Detection, Detections
from tickstock_pipeline.patterns.engine import detect
from tickstock_pipeline.patterns.measures import VOLUME_BARS, Measures
from tickstock_pipeline.patterns.registry import FUNCTIONS, validate
from tickstock_pipeline.patterns.series import LiveSeries
from tickstock_pipeline_tests.unit.patterns.walks import MIRROR, mirrored, walk, walks

DEFAULTS = tuple(
    replace(definition, confidence_threshold=0.0)
    for definition in DEFAULT_PATTERNS
    if FUNCTIONS[definition.function].live is not None
)
LOOSE_PARAMETERS = {
    "golden_cross": {"fast_period": 3, "slow_period": 9},
    "death_cross": {"fast_period": 3, "slow_period": 9},
    "volume_spike": {"multiple": 1.5},
    "gap": {"size": 0.0},
    "price_breakout": {"lookback": 6, "margin": 0.0},
    "support_test": {"reversal": 1.0, "tolerance": 2.0, "max_bars": 60},
    "resistance_break": {"reversal": 1.0, "tolerance": 2.0, "max_bars": 60, "margin": 0.0},
    "trend_line_break": {"reversal": 1.0, "tolerance": 1.0, "margin": 0.0, "min_bars": 3, "max_bars": 60},
    "double_top": {"reversal": 1.0, "tolerance": 2.0, "height": 0.5, "min_bars": 2, "max_bars": 100},
    "double_bottom": {"reversal": 1.0, "tolerance": 2.0, "height": 0.5, "min_bars": 2, "max_bars": 100},
    "head_and_shoulders": {"reversal": 1.0, "prominence": 0.0, "tolerance": 4.0, "max_bars": 150},
    "inverse_head_and_shoulders": {"reversal": 1.0, "prominence": 0.0, "tolerance": 4.0, "max_bars": 150},
    "triangle": {"reversal": 1.0, "flat": 0.75, "height": 0.5, "min_bars": 4, "max_bars": 200},
    "flag": {"pole_bars": 4, "pole_height": 2.0, "retracement": 0.8, "min_bars": 2, "max_bars": 15},
}
LOOSE = tuple(
    replace(
        definition,
        name=f"loose_{definition.name}",
        parameters=LOOSE_PARAMETERS[definition.name],
        min_bars_required=FUNCTIONS[definition.function].bars_needed(LOOSE_PARAMETERS[definition.name]),
    )
    for definition in DEFAULTS
)
EVERY = (*DEFAULTS, *LOOSE)
BOUNDED = tuple(definition for definition in EVERY if FUNCTIONS[definition.function].window is not None)
PAIRS = {
    "golden_cross": "death_cross",
    "double_top": "double_bottom",
    "head_and_shoulders": "inverse_head_and_shoulders",
}
TWO_SIDED = {"volume_spike", "gap", "price_breakout", "trend_line_break", "triangle", "flag"}
LONG = [walk(seed, 1500) for seed in range(8)]


def record(detections: Detections, at: int) -> Detection | None:
    """What a live pattern is to report at ``at``."""
    places = np.flatnonzero(detections.index == at)
    if len(places) == 0:
        return None
    (place,) = places
    return Detection(
        direction=int(detections.direction[place]),
        confidence=float(detections.confidence[place]),
        formation_bars=int(detections.formation_bars[place]),
        volume_confirmed=bool(detections.volume_confirmed[place]),
        levels={name: float(values[place]) for name, values in detections.levels.items()},
        context={name: float(values[place]) for name, values in detections.context.items()},
    )


def assert_same_record(live: Detection | None, batch: Detection | None, where: str) -> None:
    """Bit for bit; a level that is NaN in one is NaN in the other."""
    if live is None or batch is None:
        assert live is batch, where
        return
    assert live.levels.keys() == batch.levels.keys(), where
    for name, value in live.levels.items():
        assert value == batch.levels[name] or (isnan(value) and isnan(batch.levels[name])), f"{where} {name}"
    assert live._replace(levels={}) == batch._replace(levels={}), where


def assert_same(left: Sequence[Detections], right: Sequence[Detections], *, scale: float = 1.0) -> None:
    for one, other in zip(left, right, strict=True):
        for name in ("index", "direction", "confidence", "formation_bars", "volume_confirmed"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=f"{one.pattern} {name}")
        for name in one.levels:
            np.testing.assert_array_equal(one.levels[name] * scale, other.levels[name], err_msg=one.pattern)
        for name in one.context:
            np.testing.assert_array_equal(one.context[name], other.context[name], err_msg=f"{one.pattern} {name}")


def assert_live_is_batch(bars: Bars, first: int, definitions: Sequence[PatternDefinition]) -> None:
    """The first ``first`` bars as history, the others as they come."""
    series = LiveSeries(Measures(bars[:first]).series, VOLUME_BARS)
    live = [FUNCTIONS[row.function].live(series, row.parameters) for row in definitions]  # type: ignore[misc]
    unfiltered = [replace(row, min_bars_required=1) for row in definitions]
    batch = detect(bars, unfiltered)
    due = [set(detections.index.tolist()) for detections in batch]
    columns = [getattr(bars, name).tolist() for name in ("high", "low", "close", "volume")]
    for at in range(first, len(bars)):
        series.push(*(float(column[at]) for column in columns))
        for pattern, row, detections, expected in zip(live, definitions, batch, due, strict=True):
            found = pattern.update()
            if found is not None or at in expected:
                assert_same_record(found, record(detections, at), f"{row.name} at {at}")


def test_the_definitions_of_these_tests_are_valid_and_found_in_their_walks() -> None:
    for definition in EVERY:
        validate(definition)
    found = np.sum([[len(detections) for detections in detect(bars, LOOSE)] for bars in LONG], axis=0)
    assert found.min() >= 10, dict(zip([row.name for row in LOOSE], found, strict=True))


@given(bars=walks(), data=st.data())
@settings(max_examples=60, deadline=None)
def test_detections_at_a_bar_never_depend_on_later_bars(bars: Bars, data: st.DataObject) -> None:
    length = data.draw(st.integers(1, len(bars)))
    known_later = tuple(detections[detections.index < length] for detections in detect(bars, EVERY))
    assert_same(detect(bars[:length], EVERY), known_later)


@pytest.mark.parametrize("bars", LONG[:2])
def test_each_detection_of_a_long_series_is_the_same_on_the_day_it_is_known(bars: Bars) -> None:
    complete = detect(bars, EVERY)
    for last in np.unique(np.concatenate([detections.index for detections in complete]))[::12]:
        then = detect(bars[: last + 1], EVERY)
        assert_same(then, tuple(detections[detections.index <= last] for detections in complete))


@given(bars=walks(), data=st.data())
@settings(max_examples=60, deadline=None)
def test_live_reports_what_a_batch_finds(bars: Bars, data: st.DataObject) -> None:
    assert_live_is_batch(bars, data.draw(st.integers(0, len(bars))), EVERY)


@pytest.mark.parametrize(("bars", "first"), [(LONG[0], 0), (LONG[1], 1), (LONG[2], 700), (LONG[3], 1499)])
def test_live_reports_what_a_batch_finds_in_a_long_series(bars: Bars, first: int) -> None:
    assert_live_is_batch(bars, first, EVERY)


@pytest.mark.parametrize("largest", [2**49, 2**58])
def test_live_is_batch_where_sums_of_volumes_are_rounded(largest: int) -> None:
    random = np.random.default_rng(5)
    bars = replace(LONG[4], volume=random.integers(1, largest, len(LONG[4])))
    assert_live_is_batch(bars, 300, EVERY)


@pytest.mark.parametrize("scale", [2.0**-900, 2.0**900])
def test_live_is_batch_at_tiny_and_huge_prices(scale: float) -> None:
    bars = LONG[5][:600]
    scaled = replace(bars, **{name: getattr(bars, name) * scale for name in ("open", "high", "low", "close")})
    assert_live_is_batch(scaled, 250, EVERY)
    assert_same(detect(bars, EVERY), detect(scaled, EVERY), scale=scale)


@given(bars=walks(), data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_bounded_pattern_forgets_what_is_before_its_window(bars: Bars, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(bars) - 1))
    for row, early, late in zip(BOUNDED, detect(bars, BOUNDED), detect(bars[first:], BOUNDED), strict=True):
        window = FUNCTIONS[row.function].window
        assert window is not None
        settled = first + window(row.parameters) - 1
        late = replace(late, index=late.index + first)
        assert_same([early[early.index >= settled]], [late[late.index >= settled]])


@given(bars=walks(), data=st.data())
@settings(max_examples=60, deadline=None)
def test_detections_from_a_bar_on_are_those_of_the_whole_series(bars: Bars, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(bars)))
    complete, asked = Measures(bars), Measures(bars, first)
    for row in EVERY:
        detect_one = FUNCTIONS[row.function].detect
        found = detect_one(complete, row.parameters)
        assert_same([detect_one(asked, row.parameters)], [found[found.index >= first]])


@pytest.mark.parametrize("bars", LONG[:2])
def test_detections_from_a_bar_on_are_those_of_the_whole_long_series(bars: Bars) -> None:
    complete = Measures(bars)
    for first in range(100, len(bars), 173):
        asked = Measures(bars, first)
        for row in EVERY:
            detect_one = FUNCTIONS[row.function].detect
            found = detect_one(complete, row.parameters)
            assert_same([detect_one(asked, row.parameters)], [found[found.index >= first]])


@given(bars=walks(), exponent=st.integers(-20, 20))
@settings(max_examples=40, deadline=None)
def test_the_currency_unit_changes_nothing_but_the_levels(bars: Bars, exponent: int) -> None:
    scale = 2.0**exponent
    scaled = replace(bars, **{name: getattr(bars, name) * scale for name in ("open", "high", "low", "close")})
    assert_same(detect(bars, EVERY), detect(scaled, EVERY), scale=scale)


@pytest.mark.parametrize("scale", [2.0**-10, 2.0**7])
def test_the_currency_unit_changes_nothing_in_a_long_series(scale: float) -> None:
    for bars in LONG:
        scaled = replace(bars, **{name: getattr(bars, name) * scale for name in ("open", "high", "low", "close")})
        assert_same(detect(bars, EVERY), detect(scaled, EVERY), scale=scale)


@pytest.mark.parametrize("definitions", [DEFAULTS, LOOSE], ids=["default", "loose"])
@pytest.mark.parametrize("bars", LONG)
def test_a_mirrored_series_has_the_mirrored_detections(bars: Bars, definitions: Sequence[PatternDefinition]) -> None:
    upright = {row.function: found for row, found in zip(definitions, detect(bars, definitions), strict=True)}
    upside_down = {
        row.function: found for row, found in zip(definitions, detect(mirrored(bars), definitions), strict=True)
    }
    for name, opposite in (PAIRS | {other: one for one, other in PAIRS.items()} | {n: n for n in TWO_SIDED}).items():
        one, other = upright[name], upside_down[opposite]
        np.testing.assert_array_equal(one.index, other.index, err_msg=name)
        np.testing.assert_array_equal(one.direction, -other.direction, err_msg=name)
        # The grid makes pivots, widths and distances exact; a slope is rounded, and a line at a bar with it.
        np.testing.assert_allclose(one.confidence, other.confidence, rtol=1e-9, err_msg=name)
        np.testing.assert_array_equal(one.formation_bars, other.formation_bars, err_msg=name)
        for level, values in one.levels.items():
            has_both = np.isfinite(values) & np.isfinite(other.levels[level])
            np.testing.assert_allclose(values[has_both], MIRROR - other.levels[level][has_both], rtol=1e-9)


@given(bars=walks())
@settings(max_examples=60, deadline=None)
def test_detections_are_well_formed(bars: Bars) -> None:
    for row, detections in zip(EVERY, detect(bars, EVERY), strict=True):
        assert (np.diff(detections.index) > 0).all()
        assert ((detections.confidence >= FLOOR * 0.999) & (detections.confidence <= 1.0)).all(), row.name
        assert np.isin(detections.direction, [-1, 0, 1]).all()
        assert (detections.formation_bars >= 1).all()
        assert (detections.formation_bars <= detections.index + 1).all()
        assert detections.index.dtype == np.int64
        assert detections.direction.dtype == np.int8
        for name, values in detections.context.items():
            assert np.isfinite(values).all(), (row.name, name)
            assert values.dtype == np.float64
        for name, values in detections.levels.items():
            assert ((values > 0.0) | np.isnan(values)).all(), (row.name, name)


@given(bars=walks())
@settings(max_examples=60, deadline=None)
def test_stops_and_targets_are_on_their_own_side_of_the_entry(bars: Bars) -> None:
    for row, detections in zip(EVERY, detect(bars, EVERY), strict=True):
        if "entry" not in detections.levels:
            continue
        entry, direction = detections.levels["entry"], detections.direction
        np.testing.assert_array_equal(entry, bars.close[detections.index], err_msg=row.name)
        risk = direction * (entry - detections.levels["stop"])
        assert ((risk > 0.0) | np.isnan(risk)).all(), row.name
        if "target" in detections.levels:
            gain = direction * (detections.levels["target"] - entry)
            assert ((gain > 0.0) | np.isnan(gain)).all(), row.name


def test_what_a_live_series_keeps_is_settled_before_its_first_bar() -> None:
    series = LiveSeries(Measures(LONG[0][:100]).series, VOLUME_BARS)
    series.push(101.0, 99.0, 100.0, 1000.0)
    with pytest.raises(ValueError, match="before its first new bar"):
        series.pivots(2.0)


def test_a_live_series_holds_as_few_bars_as_its_readers_need() -> None:
    series = LiveSeries(Measures(LONG[0]).series, VOLUME_BARS)
    live = [FUNCTIONS[row.function].live(series, row.parameters) for row in DEFAULTS]  # type: ignore[misc]
    for at in range(400):
        series.push(*(float(getattr(LONG[1], name)[at]) for name in ("high", "low", "close", "volume")))
        for pattern in live:
            pattern.update()
    assert 52 <= len(series.close) <= 52 + 16
    assert series.base + len(series.close) == series.length == 1900
