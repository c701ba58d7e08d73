"""Pivots: where they are, when they are known, and what they never do."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.patterns.measures import Measures
from tickstock_pipeline.patterns.pivots import HIGH, LOW, RECENT_PIVOTS, Pivot, PivotTracker
from tickstock_pipeline.patterns.series import ATR_BARS
from tickstock_pipeline_tests.unit.patterns.walks import walk, walks, zigzag

DRAWING = zigzag([(0, 112), (20, 100), (40, 130), (52, 118), (64, 128)])


def pivots_of(bars: Bars, reversal: float = 2.5) -> list[Pivot]:
    return Measures(bars).series.pivots(reversal).pivots


def test_pivots_are_the_turns_of_a_drawing_at_their_highs_and_lows() -> None:
    assert [(pivot.at, pivot.price, pivot.kind) for pivot in pivots_of(DRAWING)[-3:]] == [
        (20, 99.0, LOW), (40, 131.0, HIGH), (52, 117.0, LOW),
    ]  # fmt: skip


def test_a_pivot_is_known_at_the_first_bar_that_came_back_far_enough() -> None:
    measures = Measures(DRAWING)
    for pivot in measures.series.pivots(2.5).pivots[1:]:
        behind = DRAWING.low if pivot.kind == HIGH else DRAWING.high
        far_enough = np.abs(pivot.price - behind) >= 2.5 * measures.average_true_range
        assert pivot.known_at == pivot.at + 1 + int(np.argmax(far_enough[pivot.at + 1 :]))


def test_the_top_of_the_last_leg_is_no_pivot_before_prices_came_back() -> None:
    assert pivots_of(DRAWING)[-1].at == 52


@pytest.mark.parametrize("n_bars", [0, 1, ATR_BARS, ATR_BARS + 1])
def test_there_is_no_pivot_before_there_is_an_average_true_range(n_bars: int) -> None:
    assert pivots_of(DRAWING[:n_bars]) == []


def test_prices_that_never_move_have_no_pivots() -> None:
    assert pivots_of(zigzag([(0, 100), (200, 100)], wiggle=0.0)) == []


def test_a_bar_that_goes_further_and_comes_back_at_once_confirms_nothing() -> None:
    tracker = PivotTracker(2.0, keeps_all=True)
    #                    a rise from 98, a bar from 120 to 90, an ordinary one within it, one below it
    tracker.advance(0, [100, 106, 120, 110, 111], [98, 103, 90, 105, 89], [1.0] * 5)
    assert tracker.pivots == [Pivot(0, 98, LOW, 1), Pivot(2, 120, HIGH, 3)]


@given(bars=walks(), reversal=st.floats(0.5, 5.0))
@settings(max_examples=100, deadline=None)
def test_pivots_alternate_and_none_is_known_before_it_is_past(bars: Bars, reversal: float) -> None:
    pivots = pivots_of(bars, reversal)
    for before, after in pairwise(pivots):
        assert before.kind == -after.kind
        assert before.at < after.at
        assert before.known_at < after.known_at
    assert all(pivot.at < pivot.known_at for pivot in pivots)


@given(bars=walks(), reversal=st.floats(0.5, 5.0))
@settings(max_examples=100, deadline=None)
def test_no_price_since_the_pivot_before_goes_further_than_a_pivot_until_it_is_known(
    bars: Bars, reversal: float
) -> None:
    pivots = pivots_of(bars, reversal)
    for before, pivot in pairwise(pivots):
        between = slice(before.at + 1, pivot.known_at + 1)
        furthest = bars.high[between].max() if pivot.kind == HIGH else bars.low[between].min()
        assert pivot.price == furthest


@given(bars=walks(), data=st.data())
@settings(max_examples=60, deadline=None)
def test_bar_by_bar_and_all_at_once_are_the_same_pivots(bars: Bars, data: st.DataObject) -> None:
    series = Measures(bars).series
    cut = data.draw(st.integers(0, len(bars)))
    live = PivotTracker(1.5)
    live.advance(0, series.high[:cut], series.low[:cut], series.atr[:cut])
    for at in range(cut, len(bars)):
        live.advance(at, series.high[at : at + 1], series.low[at : at + 1], series.atr[at : at + 1])
    assert live.recent() == series.pivots(1.5).pivots[-RECENT_PIVOTS:]


def test_a_live_tracker_keeps_a_bounded_number_of_pivots() -> None:
    series = Measures(walk(3, 4000)).series
    live = PivotTracker(1.0)
    live.advance(0, series.high, series.low, series.atr)
    assert len(series.pivots(1.0).pivots) > 10 * RECENT_PIVOTS
    assert len(live.pivots) <= 2 * RECENT_PIVOTS
