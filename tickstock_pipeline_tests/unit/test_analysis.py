"""Definition sets, their digest, and the analysis of a series."""

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickstock_pipeline import analysis
from tickstock_pipeline.analysis import Analysis, DefinitionSet, analyse, analyse_many, definition_set
from tickstock_pipeline.errors import DefinitionError
from tickstock_pipeline.indicators.defaults import DEFAULT_INDICATORS
from tickstock_pipeline.market.bar import Bars, empty_bars
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.patterns.defaults import DEFAULT_PATTERNS

DAILY = definition_set(Timeframe.DAILY, DEFAULT_INDICATORS, DEFAULT_PATTERNS)


def walk(n_bars: int) -> Bars:
    random = np.random.default_rng(5)
    close = 100.0 * np.exp(np.cumsum(random.normal(0.0, 0.02, n_bars)))
    open_ = close * np.exp(random.normal(0.0, 0.01, n_bars))
    return Bars(
        "IBM",
        Timeframe.DAILY,
        np.datetime64("2001-01-01", "us") + np.arange(n_bars) * np.timedelta64(1, "D"),
        open_,
        np.maximum(open_, close) * (1.0 + random.exponential(0.005, n_bars)),
        np.minimum(open_, close) * (1.0 - random.exponential(0.005, n_bars)),
        close,
        random.integers(1000, 9000, n_bars),
    )


def changed(*, indicator: dict[str, Any] | None = None, pattern: dict[str, Any] | None = None) -> DefinitionSet:
    """The daily set with changes to ``bollinger_bands`` or ``morning_star``."""
    return definition_set(
        Timeframe.DAILY,
        [replace(row, **(indicator or {})) if row.name == "bollinger_bands" else row for row in DEFAULT_INDICATORS],
        [replace(row, **(pattern or {})) if row.name == "morning_star" else row for row in DEFAULT_PATTERNS],
    )


def test_an_analysis_has_a_column_for_each_output_and_an_entry_for_each_pattern() -> None:
    result = analyse(walk(300), DAILY)
    assert result.outputs == DAILY.outputs
    assert result.values.shape == (300, 25)
    assert [detections.pattern for detections in result.detections] == [row.name for row in DAILY.patterns]
    assert sum(len(detections) for detections in result.detections) > 0


def test_an_empty_series_has_an_empty_analysis() -> None:
    result = analyse(empty_bars("IBM", Timeframe.DAILY), DAILY)
    assert result.values.shape == (0, 25)
    assert not any(len(detections) for detections in result.detections)


def test_an_empty_set_analyses_to_nothing() -> None:
    result = analyse(walk(50), definition_set(Timeframe.DAILY, [], []))
    assert result.outputs == ()
    assert result.values.shape == (50, 0)
    assert result.detections == ()


def test_an_analysis_does_not_change_its_bars() -> None:
    bars = walk(100)
    for name in ("open", "high", "low", "close", "volume"):
        getattr(bars, name).flags.writeable = False
    assert analyse(bars, DAILY).bars is bars


def test_bars_of_another_timeframe_are_refused() -> None:
    with pytest.raises(ValueError, match="daily bars of IBM with the definitions of weekly"):
        analyse(walk(30), definition_set(Timeframe.WEEKLY, DEFAULT_INDICATORS, DEFAULT_PATTERNS))


@given(length=st.integers(1, 250))
@settings(max_examples=25, deadline=None)
def test_an_analysis_up_to_a_bar_is_the_beginning_of_the_whole_one(length: int) -> None:
    bars = walk(250)
    part, whole = analyse(bars[:length], DAILY), analyse(bars, DAILY)
    np.testing.assert_array_equal(part.values, whole.values[:length])
    for known_then, known_later in zip(part.detections, whole.detections, strict=True):
        same = known_later[known_later.index < length]
        np.testing.assert_array_equal(known_then.index, same.index)
        np.testing.assert_array_equal(known_then.confidence, same.confidence)


@given(lengths=st.lists(st.integers(0, 250), max_size=6))
@settings(max_examples=25, deadline=None)
def test_many_series_analysed_together_are_each_what_they_are_alone(lengths: list[int]) -> None:
    everything = definition_set(
        Timeframe.DAILY, DEFAULT_INDICATORS, [replace(row, confidence_threshold=0.0) for row in DEFAULT_PATTERNS]
    )
    series = [replace(walk(250)[250 - length :], symbol=f"S{place}") for place, length in enumerate(lengths)]
    for bars, together in zip(series, analyse_many(series, everything), strict=True):
        alone = analyse(bars, everything)
        assert together.bars is bars
        assert together.values[:].flags.c_contiguous
        np.testing.assert_array_equal(together.values, alone.values)
        for one, other in zip(together.detections, alone.detections, strict=True):
            assert one.pattern == other.pattern
            np.testing.assert_array_equal(one.index, other.index)
            np.testing.assert_array_equal(one.confidence, other.confidence)
            assert list(one.levels) == list(other.levels)
            for name, values in one.context.items():
                np.testing.assert_array_equal(values, other.context[name])


EVERYTHING = definition_set(
    Timeframe.DAILY,
    DEFAULT_INDICATORS,
    [replace(row, enabled=True, confidence_threshold=0.0) for row in DEFAULT_PATTERNS],
)


def assert_same_from(first: int, asked: Analysis, whole: Analysis) -> None:
    """The detections of ``asked`` are those of ``whole`` from a bar on, and its values are all of its values."""
    assert asked.values[:].tobytes() == whole.values[:].tobytes()
    for one, complete in zip(asked.detections, whole.detections, strict=True):
        other = complete[complete.index >= first]
        assert one.pattern == other.pattern
        for name in ("index", "direction", "confidence", "formation_bars", "volume_confirmed"):
            assert getattr(one, name).tobytes() == getattr(other, name).tobytes(), (one.pattern, name)
        for mine, theirs in ((one.levels, other.levels), (one.context, other.context)):
            assert list(mine) == list(theirs)
            for name, values in mine.items():
                np.testing.assert_array_equal(values, theirs[name], err_msg=f"{one.pattern} {name}")


@given(lengths=st.lists(st.integers(0, 400), min_size=1, max_size=3), data=st.data())
@settings(max_examples=25, deadline=None)
def test_the_analysis_from_a_bar_on_is_that_of_the_whole_series(lengths: list[int], data: st.DataObject) -> None:
    series = [replace(walk(400)[:length], symbol=f"S{place}") for place, length in enumerate(lengths)]
    firsts = [data.draw(st.integers(0, length)) for length in lengths]
    for bars, first, asked in zip(series, firsts, analyse_many(series, EVERYTHING, firsts), strict=True):
        assert_same_from(first, asked, analyse(bars, EVERYTHING))


def test_one_year_after_long_warm_up_is_the_same_year_of_the_whole_series() -> None:
    bars = walk(2800)
    found = 0
    for first in (2548, 2700):
        (asked,) = analyse_many([bars], EVERYTHING, [first])
        assert_same_from(first, asked, analyse(bars, EVERYTHING))
        found = max(found, sum(len(detections) > 0 for detections in asked.detections))
    assert found >= 15


def test_values_are_read_as_rows_of_any_bars() -> None:
    values = analyse(walk(300), DAILY).values
    matrix = np.asarray(values)
    assert len(values) == 300
    assert matrix.shape == values.shape == (300, 25)
    np.testing.assert_array_equal(values[250], matrix[250])
    np.testing.assert_array_equal(values[-1], matrix[-1])
    for chosen in (slice(240, 260), slice(-5, None), slice(299, 400), slice(10, 5), slice(None, None, 7)):
        np.testing.assert_array_equal(values[chosen], matrix[chosen])
        assert values[chosen].flags.c_contiguous


def test_a_set_holds_what_is_enabled_and_applies_sorted_by_name() -> None:
    indicators = [
        replace(row, enabled=row.name != "rsi", applicable_timeframes=(Timeframe.WEEKLY,))
        if row.name in ("rsi", "atr")
        else row
        for row in DEFAULT_INDICATORS
    ]
    names = [row.name for row in definition_set(Timeframe.DAILY, indicators, []).indicators]
    assert names == sorted(names)
    assert "rsi" not in names
    assert "atr" not in names
    assert "atr" in [row.name for row in definition_set(Timeframe.WEEKLY, indicators, []).indicators]


def test_a_row_that_cannot_run_stops_only_the_sets_that_it_is_in() -> None:
    broken = replace(DEFAULT_INDICATORS[0], parameters={"period": 0})
    with pytest.raises(DefinitionError, match="'sma_5'"):
        definition_set(Timeframe.DAILY, [broken], [])
    definition_set(Timeframe.DAILY, [replace(broken, enabled=False)], [])
    definition_set(Timeframe.DAILY, [replace(broken, applicable_timeframes=(Timeframe.WEEKLY,))], [])


def test_two_rows_of_one_name_are_refused() -> None:
    with pytest.raises(DefinitionError, match="Two pattern definitions of the same name: doji"):
        definition_set(Timeframe.DAILY, [], [DEFAULT_PATTERNS[0], DEFAULT_PATTERNS[0]])


def test_two_rows_with_an_output_in_common_are_refused() -> None:
    macd = next(row for row in DEFAULT_INDICATORS if row.name == "macd")
    clash = replace(DEFAULT_INDICATORS[0], name="macd_signal")
    with pytest.raises(DefinitionError, match="Two indicator outputs of the same name: macd_signal"):
        definition_set(Timeframe.DAILY, [macd, clash], [])


def test_the_digest_is_16_hex_digits_and_the_same_in_another_process() -> None:
    program = (
        "from tickstock_pipeline.analysis import definition_set\n"
        "from tickstock_pipeline.indicators.defaults import DEFAULT_INDICATORS as i\n"
        "from tickstock_pipeline.market.timeframe import Timeframe\n"
        "from tickstock_pipeline.patterns.defaults import DEFAULT_PATTERNS as p\n"
        "print(definition_set(Timeframe.DAILY, i, p).digest)"
    )
    assert len(DAILY.digest) == 16
    assert int(DAILY.digest, 16) >= 0
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "99",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    output = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert output.strip() == DAILY.digest


@given(st.permutations(DAILY.indicators), st.permutations(DAILY.patterns))
@settings(max_examples=20, deadline=None)
def test_the_digest_does_not_see_the_order_of_the_rows(indicators: Any, patterns: Any) -> None:
    assert definition_set(Timeframe.DAILY, indicators, patterns).digest == DAILY.digest
    assert DefinitionSet(Timeframe.DAILY, tuple(indicators), tuple(patterns)).digest == DAILY.digest


@pytest.mark.parametrize(
    "same",
    [
        changed(indicator={"display_name": "Bollinger", "category": "bands", "display_order": 99}),
        changed(pattern={"display_name": "Star", "category": "stars", "display_order": 99, "risk_level": "high"}),
        changed(indicator={"parameters": {"deviations": 2, "period": 20}}),
        changed(indicator={"applicable_timeframes": (Timeframe.DAILY,)}),
        definition_set(
            Timeframe.DAILY,
            [*DEFAULT_INDICATORS, replace(DEFAULT_INDICATORS[0], name="sma_off", enabled=False)],
            DEFAULT_PATTERNS,
        ),
    ],
    ids=["display", "pattern display", "2 for 2.0", "other timeframes", "disabled row"],
)
def test_the_digest_does_not_see_what_changes_no_result(same: DefinitionSet) -> None:
    assert same.digest == DAILY.digest


@pytest.mark.parametrize(
    "other",
    [
        changed(indicator={"parameters": {"period": 20, "deviations": 2.5}}),
        changed(indicator={"min_bars_required": 21}),
        changed(indicator={"name": "bands"}),
        changed(indicator={"enabled": False}),
        changed(pattern={"parameters": {"penetration": 0.4}}),
        changed(pattern={"confidence_threshold": 0.35}),
        changed(pattern={"function": "evening_star"}),
        changed(pattern={"min_bars_required": 30}),
        definition_set(Timeframe.WEEKLY, DEFAULT_INDICATORS, DEFAULT_PATTERNS),
    ],
)
def test_the_digest_sees_whatever_changes_a_result(other: DefinitionSet) -> None:
    assert other.digest != DAILY.digest


def test_a_new_engine_version_is_a_new_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analysis, "ENGINE_VERSION", analysis.ENGINE_VERSION + 1)
    assert definition_set(Timeframe.DAILY, DEFAULT_INDICATORS, DEFAULT_PATTERNS).digest != DAILY.digest
