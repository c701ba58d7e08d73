"""Definitions of patterns: which rows are refused and what the error says."""

from dataclasses import replace
from typing import Any

import pytest

from tickstock_pipeline.errors import DefinitionError
from tickstock_pipeline.patterns.defaults import DEFAULT_PATTERNS
from tickstock_pipeline.patterns.registry import FUNCTIONS, validate

BY_NAME = {definition.name: definition for definition in DEFAULT_PATTERNS}


def test_the_8_candlesticks_of_the_start_are_valid_and_alone_enabled() -> None:
    assert [definition.name for definition in DEFAULT_PATTERNS if definition.enabled] == [
        "doji", "hammer", "engulfing", "shooting_star", "hanging_man", "harami", "morning_star", "evening_star",
    ]  # fmt: skip
    for definition in DEFAULT_PATTERNS:
        validate(definition)


def test_every_candlestick_knows_the_recogniser_that_a_streaming_handle_needs() -> None:
    assert {name: function.recogniser.function for name, function in FUNCTIONS.items() if function.recogniser} == {
        "doji": "CDLDOJI", "hammer": "CDLHAMMER", "engulfing": "CDLENGULFING", "shooting_star": "CDLSHOOTINGSTAR",
        "hanging_man": "CDLHANGINGMAN", "harami": "CDLHARAMI", "morning_star": "CDLMORNINGSTAR",
        "evening_star": "CDLEVENINGSTAR",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"function": "cup"}, "unknown function 'cup'; known functions: death_cross, doji,"),
        ({"parameters": {}}, "parameter 'penetration' is missing; it must be a number from 0 to 1"),
        ({"parameters": {"penetration": 1.5}}, "parameter 'penetration' is 1.5"),
        ({"parameters": {"penetration": "0.3"}}, "parameter 'penetration' is '0.3'"),
        ({"parameters": {"penetration": 0.3, "bars": 3}}, "'morning_star' has no parameter 'bars'"),
        ({"min_bars_required": 20}, "min_bars_required is 20; it must be a whole number from 21 upwards"),
        ({"confidence_threshold": 1.01}, "confidence_threshold is 1.01; it must be a number from 0 to 1"),
        ({"confidence_threshold": float("nan")}, "confidence_threshold is nan"),
        ({"confidence_threshold": True}, "confidence_threshold is True"),
        ({"risk_level": "extreme"}, "risk_level is 'extreme'; it must be one of low, medium, high"),
    ],
)
def test_a_row_that_cannot_run_is_refused_by_name_with_the_allowed_values(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(DefinitionError, match=message) as caught:
        validate(replace(BY_NAME["morning_star"], **changes))
    assert "Pattern definition 'morning_star'" in caught.value.message
    assert caught.value.advice


def test_a_candlestick_without_parameters_takes_none() -> None:
    with pytest.raises(DefinitionError, match="'doji' has no parameter 'penetration'; its parameters: none"):
        validate(replace(BY_NAME["doji"], parameters={"penetration": 0.3}))


def test_every_function_has_a_default_row_that_asks_for_the_bars_it_needs() -> None:
    assert set(FUNCTIONS) == {definition.function for definition in DEFAULT_PATTERNS}
    for definition in DEFAULT_PATTERNS:
        assert definition.min_bars_required == FUNCTIONS[definition.function].bars_needed(definition.parameters)


def test_every_function_can_be_followed_live() -> None:
    assert [name for name, function in FUNCTIONS.items() if function.recogniser is None and function.live is None] == []


@pytest.mark.parametrize("name", ["double_top", "double_bottom", "triangle", "flag"])
def test_a_longest_that_is_shorter_than_the_shortest_is_refused(name: str) -> None:
    row = replace(BY_NAME[name], parameters={**BY_NAME[name].parameters, "min_bars": 50, "max_bars": 20})
    with pytest.raises(DefinitionError, match=r"min_bars \(50\) must not exceed max_bars \(20\)"):
        validate(row)
