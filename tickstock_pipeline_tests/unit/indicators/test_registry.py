"""Definitions of indicators: which rows are refused, what the error says, how outputs are named."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import talib
import talib.stream

from tickstock_pipeline.errors import DefinitionError
from tickstock_pipeline.indicators.defaults import DEFAULT_INDICATORS
from tickstock_pipeline.indicators.inputs import Inputs
from tickstock_pipeline.indicators.registry import FUNCTIONS, validate
from tickstock_pipeline.indicators.talib_functions import TalibCall
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.timeframe import Timeframe

BY_NAME = {definition.name: definition for definition in DEFAULT_INDICATORS}


def test_the_18_indicators_of_the_start_are_valid_and_need_exactly_the_bars_they_say() -> None:
    assert sorted(BY_NAME) == sorted(
        [f"{kind}_{period}" for kind in ("sma", "ema") for period in (5, 10, 20, 50, 100, 200)]
        + ["macd", "rsi", "stochastic", "bollinger_bands", "atr", "adx"]
    )
    for definition in DEFAULT_INDICATORS:
        validate(definition)
        function = FUNCTIONS[definition.function]
        assert function.bars_needed(definition.parameters) == definition.min_bars_required, definition.name
        assert definition.applicable_timeframes == tuple(Timeframe)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"function": "hull"}, "unknown function 'hull'; known functions: adx, atr,"),
        ({"function": None}, "unknown function None"),
        ({"parameters": {}}, "parameter 'period' is missing; it must be a whole number from 2 to 1000"),
        ({"parameters": {"period": 20, "shift": 1}}, "'sma' has no parameter 'shift'; its parameters: period"),
        ({"parameters": {"period": 20.0}}, "parameter 'period' is 20.0; it must be a whole number"),
        ({"parameters": {"period": True}}, "parameter 'period' is True"),
        ({"parameters": {"period": "20"}}, "parameter 'period' is '20'"),
        ({"parameters": {"period": None}}, "parameter 'period' is None"),
        ({"parameters": {"period": 1}}, "parameter 'period' is 1; it must be a whole number from 2 to 1000"),
        ({"parameters": {"period": 1001}}, "parameter 'period' is 1001"),
        ({"parameters": [20]}, r"its parameters are \[20\]; they must be a JSON object"),
        ({"min_bars_required": 19}, "min_bars_required is 19; it must be a whole number from 20 upwards"),
        ({"min_bars_required": True}, "min_bars_required is True"),
    ],
)
def test_a_row_that_cannot_run_is_refused_by_name_with_the_allowed_values(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(DefinitionError, match=message) as caught:
        validate(replace(BY_NAME["sma_20"], **changes))
    assert "Indicator definition 'sma_20'" in caught.value.message
    assert caught.value.advice


@pytest.mark.parametrize("deviations", [0.0, -1.0, 10.5, float("nan"), float("inf"), False])
def test_deviations_outside_their_range_are_refused(deviations: float) -> None:
    row = replace(BY_NAME["bollinger_bands"], parameters={"period": 20, "deviations": deviations})
    with pytest.raises(DefinitionError, match=r"it must be a number from 0\.1 to 10"):
        validate(row)


def test_a_whole_number_is_a_number() -> None:
    validate(replace(BY_NAME["bollinger_bands"], parameters={"period": 20, "deviations": 2}))


def test_macd_with_the_fast_average_slower_than_the_slow_one_is_refused() -> None:
    row = replace(BY_NAME["macd"], parameters={"fast_period": 26, "slow_period": 26, "signal_period": 9})
    with pytest.raises(DefinitionError, match=r"fast_period \(26\) must be less than slow_period \(26\)"):
        validate(row)


def test_outputs_of_two_definitions_of_one_function_do_not_collide() -> None:
    assert replace(BY_NAME["rsi"], name="rsi_7").outputs == ("rsi_7",)
    assert BY_NAME["macd"].outputs == ("macd", "macd_signal", "macd_hist")
    assert replace(BY_NAME["stochastic"], name="fast").outputs == ("fast_stoch_k", "fast_stoch_d")


def test_outputs_of_an_unknown_function_name_the_row() -> None:
    with pytest.raises(DefinitionError, match="'rsi': unknown function 'rsj'"):
        _ = replace(BY_NAME["rsi"], function="rsj").outputs


@pytest.mark.parametrize("definition", DEFAULT_INDICATORS, ids=lambda definition: definition.name)
def test_a_streaming_handle_opens_from_the_same_entry_and_continues_with_the_same_bits(definition: Any) -> None:
    random = np.random.default_rng(3)
    close = 50.0 + np.cumsum(random.normal(0.0, 0.5, 320))
    prices = (close + 0.1, close + 0.9, close - 0.9, close)
    time = np.datetime64("2001-01-01", "us") + np.arange(320) * np.timedelta64(1, "D")
    inputs = Inputs(Bars("IBM", Timeframe.DAILY, time, *prices, np.full(320, 5, np.int64)))
    for call in FUNCTIONS[definition.function].calls:
        assert isinstance(call, TalibCall)
        columns = [inputs.column(name) for name in call.inputs]
        arguments = call.arguments(definition.parameters)
        handle = getattr(talib.stream, call.function)(*(column[:300] for column in columns), **arguments)
        batch = np.stack(call.bound(definition.parameters)(inputs))
        for i in range(300, 320):
            np.testing.assert_array_equal(handle.update(*(column[i] for column in columns)), np.squeeze(batch[:, i]))
