"""Rows that name an indicator of pandas-ta-classic: what is accepted, what it gives, what it leaves alone."""

import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tickstock_pipeline.analysis import definition_set
from tickstock_pipeline.errors import DefinitionError
from tickstock_pipeline.indicators.definition import IndicatorDefinition
from tickstock_pipeline.indicators.engine import compute
from tickstock_pipeline.indicators.pandas_ta_functions import pandas_ta_names
from tickstock_pipeline.indicators.registry import validate
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.timeframe import Timeframe

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import pandas_ta_classic


def row(function: str, name: str = "mine", min_bars_required: int = 300, **parameters: Any) -> IndicatorDefinition:
    return IndicatorDefinition(
        name, name, "other", f"pandas_ta:{function}", parameters, (Timeframe.DAILY,), min_bars_required
    )


def walk(n_bars: int = 320) -> Bars:
    random = np.random.default_rng(11)
    close = 50.0 * np.exp(np.cumsum(random.normal(0.0, 0.015, n_bars)))
    open_ = close * np.exp(random.normal(0.0, 0.005, n_bars))
    return Bars(
        "IBM",
        Timeframe.DAILY,
        np.datetime64("2001-01-01", "us") + np.arange(n_bars) * np.timedelta64(1, "D"),
        open_,
        np.maximum(open_, close) * 1.004,
        np.minimum(open_, close) * 0.996,
        close,
        random.integers(1000, 9000, n_bars),
    )


def frame(bars: Bars) -> pd.DataFrame:
    columns = {name: getattr(bars, name) for name in ("open", "high", "low", "close")}
    return pd.DataFrame({**columns, "volume": bars.volume.astype(float)}, index=pd.DatetimeIndex(bars.time))


def test_a_row_gives_the_librarys_own_values() -> None:
    bars = walk()
    computed = compute(bars, [row("supertrend", min_bars_required=11, length=10, multiplier=3.0)])
    columns = frame(bars)
    expected = pandas_ta_classic.supertrend(columns.high, columns.low, columns.close, length=10, multiplier=3.0)
    assert computed.outputs == ("mine_supert", "mine_supertd", "mine_supertl", "mine_superts")
    np.testing.assert_array_equal(computed.values[10:], expected.to_numpy(float)[10:])
    assert np.isnan(computed.values[:10]).all()


def test_a_single_output_has_the_rows_name() -> None:
    computed = compute(walk(), [row("hma", "hull_21", 40, length=21)])
    assert computed.outputs == ("hull_21",)
    expected = pandas_ta_classic.hma(frame(walk()).close, length=21)
    np.testing.assert_array_equal(computed.values[39:, 0], expected.to_numpy(float)[39:])


@pytest.mark.parametrize("function", ["obv", "vwap", "kc", "cmf", "ha", "psar", "squeeze", "zlma", "qqe", "cti"])
def test_indicators_of_every_input_and_any_number_of_outputs_can_be_named(function: str) -> None:
    definition = row(function)
    validate(definition)
    values = compute(walk(), [definition]).values
    assert values.shape == (320, len(definition.outputs))
    assert np.isfinite(values[-1]).any()
    assert not np.isinf(values).any()


def test_most_of_the_library_can_be_named() -> None:
    accepted = 0
    for name in pandas_ta_names():
        try:
            validate(row(name.removeprefix("pandas_ta:"), min_bars_required=900))
            accepted += 1
        except DefinitionError:
            continue
    assert accepted >= 170


@pytest.mark.parametrize("n_bars", [0, 1, 5, 10])
def test_too_few_bars_have_no_value_and_raise_nothing(n_bars: int) -> None:
    values = compute(walk()[:n_bars], [row("supertrend"), row("kst", "other")]).values
    assert values.shape == (n_bars, 6)
    assert np.isnan(values).all()


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        (row("supertrnd"), "unknown function 'pandas_ta:supertrnd'; known functions: .*pandas_ta:supertrend"),
        (row("supertrend", span=7), "has no parameter 'span'; its parameters: length, multiplier, offset"),
        (row("supertrend", length="7"), "parameter 'length' is '7'; it must be a whole number"),
        (row("supertrend", length=7.5), "parameter 'length' is 7.5; it must be a whole number"),
        (row("supertrend", length=True), "parameter 'length' is True"),
        (row("supertrend", length=-7), "parameter 'length' is -7; .*numbers from 0 to 10000"),
        (row("supertrend", multiplier=float("nan")), "parameter 'multiplier' is nan; it must be a number"),
        (row("supertrend", offset=-1), "parameter 'offset' is -1"),
        (row("supertrend", close=3), "has no parameter 'close'"),
        (row("kc", mamode=5), "parameter 'mamode' is 5; it must be a text"),
        (row("supertrend", min_bars_required=3), "min_bars_required is 3; it must be a whole number from 8 upwards"),
        (row("dpo"), "'pandas_ta:dpo' cannot run: its .* at a bar depends on later bars"),
        (row("tos_stdevall"), "at a bar depends on later bars"),
        (row("ichimoku"), "'pandas_ta:ichimoku' cannot run: it gives tuple"),
        (row("beta"), "'pandas_ta:beta' cannot run: it gives no value on 400 bars"),
        (row("mavp"), "it needs 'periods', which is no column of a bar"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_row_that_cannot_run_is_refused_by_name_with_what_is_allowed(
    definition: IndicatorDefinition, message: str
) -> None:
    with pytest.raises(DefinitionError, match=message) as caught:
        validate(definition)
    assert "Indicator definition 'mine'" in caught.value.message


def test_parameters_that_are_no_object_are_refused() -> None:
    definition = IndicatorDefinition("mine", "", "", "pandas_ta:hma", [20], (Timeframe.DAILY,), 50)  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match="must be a JSON object"):
        validate(definition)


def test_a_centred_average_may_be_asked_for_without_its_look_ahead() -> None:
    validate(row("dpo", centered=False))


def test_a_whole_number_and_the_same_as_a_fraction_are_both_the_librarys_to_name() -> None:
    for multiplier in (3, 3.0):
        values = compute(walk(), [row("supertrend", multiplier=multiplier)]).values
        assert np.isfinite(values[-1, :2]).all()


def test_the_digest_knows_the_parameters_and_the_librarys_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def digest(**parameters: Any) -> str:
        return definition_set(Timeframe.DAILY, [row("hma", **parameters)], []).digest

    assert digest(length=20) == digest(length=20)
    assert digest(length=20) != digest(length=21)
    before = digest(length=20)
    monkeypatch.setattr(pandas_ta_classic, "version", "99.0")
    assert digest(length=20) != before


def test_the_library_is_not_imported_for_the_indicators_of_the_start() -> None:
    program = (
        "import sys\n"
        "from tickstock_pipeline.analysis import definition_set\n"
        "from tickstock_pipeline.indicators.defaults import DEFAULT_INDICATORS\n"
        "from tickstock_pipeline.market.timeframe import Timeframe\n"
        "print(definition_set(Timeframe.DAILY, DEFAULT_INDICATORS, []).digest, 'pandas_ta_classic' in sys.modules)"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert output.split()[1] == "False"
