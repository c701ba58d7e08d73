"""Crossovers, volume spikes, gaps and breakouts: on drawings, next to their borders, and against TA-Lib's averages."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import talib

from tickstock_pipeline.errors import DefinitionError
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.patterns.defaults import DEFAULT_PATTERNS
from tickstock_pipeline.patterns.detections import Detections
from tickstock_pipeline.patterns.engine import detect
from tickstock_pipeline.patterns.registry import validate
from tickstock_pipeline_tests.unit.patterns.walks import walk, zigzag

BY_NAME = {row.name: row for row in DEFAULT_PATTERNS}
FLAT = zigzag([(0, 100), (60, 100)])
RANGE = [(0, 100.0), (10, 104.0), (20, 100.0), (30, 104.0), (40, 100.0), (50, 104.0), (59, 102.0)]


def found(pattern: str, bars: Bars, **parameters: float) -> Detections:
    row = BY_NAME[pattern]
    return detect(bars, [replace(row, confidence_threshold=0.0, parameters={**row.parameters, **parameters})])[0]


def moved(bars: Bars, first: int, by: float) -> Bars:
    """The bars from ``first`` on moved up or down as they are."""
    step = np.where(np.arange(len(bars)) >= first, by, 0.0)
    return replace(bars, **{name: getattr(bars, name) + step for name in ("open", "high", "low", "close")})


def with_volume(bars: Bars, volumes: Sequence[tuple[int, int]]) -> Bars:
    volume = bars.volume.copy()
    for at, shares in volumes:
        volume[at] = shares
    return replace(bars, volume=volume)


# Crossovers


@pytest.mark.parametrize(("pattern", "side"), [("golden_cross", 1), ("death_cross", -1)])
@pytest.mark.parametrize("seed", range(5))
def test_a_cross_is_where_the_averages_of_ta_lib_cross(pattern: str, side: int, seed: int) -> None:
    bars = walk(seed, 3000)
    lead = side * (talib.SMA(bars.close, 50) - talib.SMA(bars.close, 200))
    crosses = np.flatnonzero((lead[1:] > 1e-7) & (lead[:-1] < -1e-7)) + 1
    detections = found(pattern, bars)
    assert len(crosses) > 0
    assert set(crosses.tolist()) <= set(detections.index.tolist())
    assert (lead[detections.index] > 0.0).all()
    assert (detections.direction == side).all()


def test_a_fall_and_a_rise_make_one_cross_each() -> None:
    bars = zigzag([(0, 100), (250, 200), (450, 100), (700, 250)])
    death, golden = found("death_cross", bars), found("golden_cross", bars)
    assert len(death) == len(golden) == 1
    assert 250 < death.index[0] < 450 < golden.index[0]
    assert golden.formation_bars.tolist() == [200]


def test_prices_that_never_move_cross_nothing_by_rounding() -> None:
    bars = zigzag([(0, 0.1), (900, 0.1)], wiggle=0.01)
    assert len(found("golden_cross", bars)) == len(found("death_cross", bars)) == 0


def test_the_stop_of_a_cross_is_the_slow_average_and_it_has_no_target() -> None:
    bars = zigzag([(0, 200), (250, 100), (500, 250)])
    detections = found("golden_cross", bars)
    assert sorted(detections.levels) == ["entry", "stop"]
    np.testing.assert_allclose(detections.levels["stop"], talib.SMA(bars.close, 200)[detections.index])


def test_a_fast_average_that_is_not_the_faster_is_refused() -> None:
    row = replace(BY_NAME["golden_cross"], parameters={"fast_period": 200, "slow_period": 50})
    with pytest.raises(DefinitionError, match=r"fast_period \(200\) must be less than slow_period \(50\)"):
        validate(row)


# Volume spikes


@pytest.mark.parametrize(("shares", "spikes"), [(2499, []), (2500, [40])])
def test_a_volume_spike_begins_at_its_multiple_of_the_mean(shares: int, spikes: list[int]) -> None:
    assert found("volume_spike", with_volume(FLAT, [(40, shares)])).index.tolist() == spikes


@pytest.mark.parametrize(("step", "direction"), [(0.5, 1), (-0.5, -1), (0.0, 0)])
def test_the_direction_of_a_volume_spike_is_that_of_the_close(step: float, direction: int) -> None:
    bars = with_volume(zigzag([(0, 100), (60, 100 + 60 * step)]), [(40, 5000)])
    detections = found("volume_spike", bars)
    assert detections.direction.tolist() == [direction]
    assert detections.context["relative_volume"].tolist() == [5.0]
    assert detections.levels == {}


def test_a_second_spike_is_measured_against_the_first() -> None:
    bars = with_volume(FLAT, [(40, 10_000), (45, 3500)])
    assert found("volume_spike", bars).index.tolist() == [40]


def test_a_volume_after_none_at_all_is_no_spike() -> None:
    bars = with_volume(FLAT, [(at, 0) for at in range(40)])
    assert 40 not in found("volume_spike", bars).index


# Gaps


@pytest.mark.parametrize(("by", "direction", "stop"), [(10.0, 1, 101.0), (-10.0, -1, 99.0)])
def test_a_gap_lies_between_the_ranges_of_two_bars(by: float, direction: int, stop: float) -> None:
    detections = found("gap", moved(FLAT, 40, by))
    assert detections.index.tolist() == [40]
    assert detections.direction.tolist() == [direction]
    assert detections.levels["stop"].tolist() == [stop]
    assert detections.levels["entry"].tolist() == [100.0 + by]
    assert detections.context["gap_atr"].tolist() == [4.0]
    assert detections.formation_bars.tolist() == [2]


@pytest.mark.parametrize(("by", "count"), [(1.5, 0), (2.0, 0), (2.5, 0), (3.0, 1)])
def test_ranges_that_overlap_touch_or_hardly_part_are_no_gap(by: float, count: int) -> None:
    # ranges of 2 with as much for the average true range: 3 leaves the half of it that the definition asks for
    assert len(found("gap", moved(FLAT, 40, by))) == count


def test_ranges_that_touch_are_no_gap_however_small_a_gap_may_be() -> None:
    assert len(found("gap", moved(FLAT, 40, 2.0), size=0.0)) == 0
    assert len(found("gap", moved(FLAT, 40, 2.015625), size=0.0)) == 1


def test_a_gap_out_of_the_range_before_is_clearer_than_one_inside_it() -> None:
    inside = zigzag([(0, 100), (25, 112), (39, 100), (60, 100)])
    outside = found("gap", moved(FLAT, 40, 6.0)).confidence[0]
    assert found("gap", moved(inside, 40, 6.0)).confidence[0] < outside


# Breakouts


def test_a_breakout_is_the_first_close_beyond_the_range_and_measures_its_height() -> None:
    bars = zigzag([*RANGE, (60, 108), (70, 120)])
    detections = found("price_breakout", bars)
    assert detections.index.tolist() == [60]
    assert detections.direction.tolist() == [1]
    levels = {name: float(values[0]) for name, values in detections.levels.items()}
    assert levels | {"stop": 0.0} == {"entry": 108.0, "stop": 0.0, "target": 111.0, "level": 105.0}
    assert levels["stop"] == pytest.approx(103.0, abs=0.25)


def test_a_breakdown_is_its_mirror_image() -> None:
    detections = found("price_breakout", zigzag([(at, 204 - price) for at, price in [*RANGE, (60, 108.0)]]))
    assert (detections.index.tolist(), detections.direction.tolist()) == ([60], [-1])
    assert detections.levels["target"].tolist() == [93.0]


@pytest.mark.parametrize(("close", "count"), [(105.0, 0), (105.4, 0), (106.0, 1)])
def test_a_close_hardly_above_the_range_is_no_breakout(close: float, count: int) -> None:
    assert len(found("price_breakout", zigzag([*RANGE, (60, close)]))) == count


def test_a_breakout_from_a_range_that_was_touched_more_often_is_clearer() -> None:
    once = [(0, 100.0), (28, 100.0), (30, 104.0), (32, 100.0), (59, 102.0)]
    often, seldom = (found("price_breakout", zigzag([*points, (60, 108)])) for points in (RANGE, once))
    assert often.context["touches"][0] > seldom.context["touches"][0]
    assert often.confidence[0] > seldom.confidence[0]
