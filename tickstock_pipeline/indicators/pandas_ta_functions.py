"""Indicators of pandas-ta-classic: a row can name any of them, as ``pandas_ta:supertrend``.

Nothing is known of them beforehand, so the library itself is asked:

1. Its signature says which parameters there are and of what type. Those left out have the library's defaults.
2. A trial run on made-up bars says how many outputs there are, what they are called, and when they have values.
3. A second trial run on fewer bars must give the same values for these. An indicator that looks ahead, or that scales
   by the whole series, does not, and is refused: nothing at a bar may depend on later ones.

The library is imported when the first such row is met, not before. It has no streaming form: live, it runs again on all
bars from the anchor at every new bar. It uses code of its own; where it can call TA-Lib instead, the row's parameter
``talib`` (true) makes it.
"""

import inspect
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from types import ModuleType
from typing import Any, get_args

import numpy as np

from tickstock_pipeline.indicators.function import Call, Computation
from tickstock_pipeline.indicators.inputs import PRICE_COLUMNS, Inputs
from tickstock_pipeline.indicators.parameters import DefinitionRow, Parameters, refuse
from tickstock_pipeline.market.bar import Bars, FloatArray
from tickstock_pipeline.market.timeframe import Timeframe

PREFIX = "pandas_ta:"
_COLUMNS = {**{name: name for name in PRICE_COLUMNS}, "open_": "open", "volume": "volume"}
_KINDS: Mapping[type, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
_LARGEST_NUMBER = 10_000
_TRIAL_BARS = 400
_BARS_HELD_BACK = 37


_Given = tuple[tuple[str, type, Any], ...]
"""Parameters with their types: 2 and 2.0 are equal, but the library writes either into its column names."""


@dataclass(frozen=True, slots=True)
class _Trial:
    """What a run on made-up bars has shown: the library's column names, and how many bars it takes to values."""

    columns: tuple[str, ...]
    bars_needed: int


@dataclass(frozen=True, slots=True)
class PandasTaCall:
    """One function of pandas-ta-classic."""

    name: str

    def bars_needed(self, parameters: Parameters) -> int:
        """How many bars it takes until all outputs have values that do not come and go."""
        return _trial(self.name, _hashable(parameters)).bars_needed

    def bound(self, parameters: Parameters) -> Computation:
        """The function with its parameters: columns → outputs, (n_bars,) float64 each; NaN = no value."""
        trial, arguments = _trial(self.name, _hashable(parameters)), dict(parameters)

        def run(inputs: Inputs) -> Sequence[FloatArray]:
            missing = np.full(len(inputs), np.nan)
            if len(inputs) < trial.bars_needed:
                return [missing] * len(trial.columns)
            outputs = _run(self.name, inputs, arguments)
            return [outputs.get(column, missing) for column in trial.columns]

        return run


@dataclass(frozen=True, slots=True)
class PandasTaFunction:
    """An indicator of the library, as the registry has its own."""

    name: str

    @property
    def _call(self) -> PandasTaCall:
        return PandasTaCall(self.name.removeprefix(PREFIX))

    @property
    def calls(self) -> tuple[Call, ...]:
        """What computes it; there is no streaming form."""
        return (self._call,)

    @property
    def version(self) -> str:
        """Of the library; part of the digest."""
        return f"pandas-ta-classic {_library().version}"

    def check(self, row: DefinitionRow) -> None:
        """Refuse a row whose parameters are not the library's, or whose trial run fails.

        Raises
        ------
        DefinitionError
            Names the row, what is wrong and what is allowed.
        """
        given: object = row.parameters
        if not isinstance(given, Mapping):
            raise refuse("Indicator", row.name, f"its parameters are {given!r}; they must be a JSON object.")
        allowed = _allowed_parameters(self._call.name)
        for name, value in given.items():
            if name not in allowed:
                known = ", ".join(sorted(allowed)) or "none"
                raise refuse(
                    "Indicator", row.name, f"{self.name!r} has no parameter {name!r}; its parameters: {known}."
                )
            if not _is_of(allowed[name], value):
                kinds = " or ".join(_KINDS[kind] for kind in allowed[name])
                raise refuse(
                    "Indicator",
                    row.name,
                    f"parameter {name!r} is {value!r}; it must be {kinds}; numbers from 0 to {_LARGEST_NUMBER}.",
                )
        try:
            _trial(self._call.name, _hashable(row.parameters))
        except ValueError as problem:
            raise refuse("Indicator", row.name, f"{self.name!r} cannot run: {problem}.") from problem

    def arguments(self, parameters: Parameters) -> Parameters:
        """A row's parameters, sorted by name."""
        return {name: parameters[name] for name in sorted(parameters)}

    def bars_needed(self, parameters: Parameters) -> int:
        """How many bars it takes until all outputs have values that do not come and go."""
        return self._call.bars_needed(parameters)

    def bars_to_first_value(self, parameters: Parameters) -> int:
        """None are left out by the library in all cases, so a row's own number counts from the first bar."""
        return 0

    def bound(self, parameters: Parameters) -> tuple[Computation, ...]:
        """The call with its parameters."""
        return (self._call.bound(parameters),)

    def output_names(self, definition_name: str, parameters: Parameters) -> tuple[str, ...]:
        """A single output has its definition's name; several have the library's after it, without the numbers."""
        columns = _trial(self._call.name, _hashable(parameters)).columns
        if len(columns) == 1:
            return (definition_name,)
        short = [_without_numbers(column) for column in columns]
        return tuple(f"{definition_name}_{part}" for part in (short if len(set(short)) == len(short) else columns))


def pandas_ta_names() -> tuple[str, ...]:
    """All indicators of the library, as a row names them; not all of them can run in a row."""
    return tuple(sorted(PREFIX + name for names in _library().Category.values() for name in names))


@cache
def _library() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pandas_ta_classic
    library: ModuleType = pandas_ta_classic
    return library


def _hashable(parameters: Parameters) -> _Given:
    return tuple((name, type(parameters[name]), parameters[name]) for name in sorted(parameters))


@cache
def _signature(name: str) -> inspect.Signature:
    return inspect.signature(getattr(_library(), name))


@cache
def _allowed_parameters(name: str) -> dict[str, tuple[type, ...]]:
    """Parameters that a JSON object can give, with their types."""
    allowed = {}
    for parameter in _signature(name).parameters.values():
        hints = get_args(parameter.annotation) or (parameter.annotation,)
        kinds = tuple(kind for kind in _KINDS if kind in hints)
        if kinds and parameter.name not in _COLUMNS:
            allowed[parameter.name] = kinds
    return allowed


def _is_of(kinds: tuple[type, ...], value: object) -> bool:
    if isinstance(value, bool):
        return bool in kinds
    if isinstance(value, str):
        return str in kinds
    # The library takes its default, without a word, in the place of a number that it does not like
    return (
        isinstance(value, int if float not in kinds else int | float)
        and (int in kinds or float in kinds)
        and math.isfinite(value)
        and 0 <= value <= _LARGEST_NUMBER
    )


@lru_cache(maxsize=256)
def _trial(name: str, given: _Given) -> _Trial:
    """Run the function on made-up bars.

    Raises
    ------
    ValueError
        If it does not give numbers bar by bar, or gives other ones when later bars are added.
    """
    parameters = {parameter: value for parameter, _, value in given}
    lengths = [value for value in parameters.values() if isinstance(value, int)]
    inputs = _made_up(_TRIAL_BARS + 3 * sum(lengths))
    outputs = _run(name, inputs, parameters)
    missing = [np.flatnonzero(np.isnan(values)) for values in outputs.values()]
    if all(len(gaps) == len(inputs) for gaps in missing):
        raise ValueError(f"it gives no value on {len(inputs)} bars")
    # Some outputs come and go, such as a stop that is only above or below; the others say when values begin. A few
    # write something to the first bar, and begin in earnest later.
    starts = [int(gaps[-1]) + 1 if len(gaps) else 0 for gaps in missing]
    bars_needed = 1 + max((start for start in starts if start < len(inputs) // 2), default=0)
    fewer = len(inputs) - _BARS_HELD_BACK
    earlier = _run(name, _made_up(len(inputs), fewer), parameters)
    for column, values in outputs.items():
        if not np.array_equal(earlier.get(column, np.empty(0)), values[:fewer], equal_nan=True):
            raise ValueError(f"its {column} at a bar depends on later bars")
    return _Trial(tuple(outputs), bars_needed)


def _run(name: str, inputs: Inputs, parameters: Mapping[str, Any]) -> dict[str, FloatArray]:
    """Outputs by the library's names; infinite values are NaN.

    Raises
    ------
    ValueError
        If the function fails, or gives anything but numbers for each bar.
    """
    import pandas as pd

    index = pd.DatetimeIndex(inputs.time)
    columns = {}
    for parameter in _signature(name).parameters.values():
        if parameter.name in _COLUMNS:
            columns[parameter.name] = pd.Series(inputs.column(_COLUMNS[parameter.name]), index)
        elif parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            raise ValueError(f"it needs {parameter.name!r}, which is no column of a bar")
    with warnings.catch_warnings():
        # What the library's own code warns of is not ours to mend, and not about the bars
        warnings.simplefilter("ignore")
        try:
            result = getattr(_library(), name)(**columns, **parameters)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error
    if result is None:
        return {}
    if isinstance(result, pd.Series):
        result = result.to_frame(name)
    if not isinstance(result, pd.DataFrame) or len(result) != len(inputs):
        raise ValueError(f"it gives {type(result).__name__}, not a number or more for each bar")
    outputs = {}
    for column in result.columns:
        try:
            values = result[column].to_numpy(np.float64, na_value=np.nan)
        except (TypeError, ValueError) as error:
            raise ValueError(f"its {column} is not made of numbers") from error
        outputs[str(column)] = np.where(np.isfinite(values), values, np.nan)
    return outputs


def _made_up(n_bars: int, end: int | None = None) -> Inputs:
    """The first ``end`` of ``n_bars`` made-up bars: a random walk that trends, falls back and rests."""
    random = np.random.default_rng(1978)
    close = 100.0 * np.exp(np.cumsum(random.standard_t(5, n_bars) * 0.01 + 0.01 * np.sin(np.arange(n_bars) / 25.0)))
    open_ = close * np.exp(random.normal(0.0, 0.005, n_bars))
    high = np.maximum(open_, close) * (1.0 + random.exponential(0.004, n_bars))
    low = np.minimum(open_, close) * (1.0 - np.minimum(random.exponential(0.004, n_bars), 0.5))
    time = np.datetime64("2001-01-01", "us") + np.arange(n_bars) * np.timedelta64(1, "D")
    volume = random.integers(1_000, 100_000, n_bars)
    return Inputs(Bars("", Timeframe.DAILY, time, open_, high, low, close, volume)[:end])


def _without_numbers(column: str) -> str:
    parts = [part for part in column.lower().split("_") if part and not _is_number(part)]
    return "_".join(parts) or column.lower()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
