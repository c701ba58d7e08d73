"""Indicator functions of TA-Lib's C core.

Conventions are TA-Lib's: an EMA is seeded with the SMA of its first period; RSI, ATR and ADX smooth as Wilder did;
Bollinger bands use the population's standard deviation (ddof 0); the stochastic is the slow one with simple averages;
the RSI and the stochastic of prices that never moved are 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from inspect import unwrap
from typing import Any

import talib
import talib.stream
from talib import abstract

from tickstock_pipeline.indicators.function import Computation, IndicatorFunction
from tickstock_pipeline.indicators.inputs import PRICE_COLUMNS, Inputs
from tickstock_pipeline.indicators.parameters import Parameter, Parameters
from tickstock_pipeline.market.bar import FloatArray

_MAX_PERIOD = 1000
_SIMPLE_AVERAGE = 0
"""TA-Lib's ``MA_Type`` of a simple moving average."""

# Its stubs leave out ``Function``, the only place where TA-Lib tells a lookback, and its exception
_ABSTRACT: Any = abstract
_TALIB: Any = talib


@lru_cache(maxsize=1024)
def _lookback(function: str, arguments: tuple[tuple[str, int | float], ...]) -> int:
    call = _ABSTRACT.Function(function)
    call.set_parameters(dict(arguments))
    return int(call.lookback)


@dataclass(frozen=True, slots=True)
class TalibCall:
    """One function of TA-Lib, all that its batch form and its streaming handle need.

    ``getattr(talib, call.function)`` and ``getattr(talib.stream, call.function)`` take the same columns and the same
    keyword arguments, and give the same bits where they are given the same first bar.

    Attributes
    ----------
    function : TA-Lib's name
    inputs : columns of the series, in TA-Lib's order
    renamed : TA-Lib's argument name → our parameter's name
    constants : TA-Lib's arguments that are not ours to choose
    """

    function: str
    inputs: tuple[str, ...]
    renamed: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, int | float] = field(default_factory=dict)

    def arguments(self, parameters: Parameters) -> dict[str, int | float]:
        """TA-Lib's keyword arguments for our parameters."""
        return {**self.constants, **{theirs: parameters[ours] for theirs, ours in self.renamed.items()}}

    def bars_needed(self, parameters: Parameters) -> int:
        """How many bars it takes until all outputs have their first value."""
        # TA-Lib's lookback is the position of the first value
        return _lookback(self.function, tuple(sorted(self.arguments(parameters).items()))) + 1

    def bound(self, parameters: Parameters) -> Computation:
        """The call with its parameters; its outputs are float64 with NaN for no value, int32 for candlesticks."""
        # What is around it looks for columns of pandas and polars in each call; ours are arrays
        function: Any = unwrap(getattr(talib, self.function))
        names, arguments = self.inputs, self.arguments(parameters)
        needs_volume = "volume" in names

        def run(inputs: Inputs) -> Sequence[FloatArray]:
            columns = inputs.columns if needs_volume else inputs.prices
            result = function(*[columns[name] for name in names], **arguments)
            return result if isinstance(result, tuple) else (result,)

        return run

    def opened(self, inputs: Inputs, parameters: Parameters) -> Any | None:
        """A streaming handle (``talib.stream``) past these bars; None: it takes more bars to open one."""
        handle: Any = getattr(talib.stream, self.function)
        try:
            return handle(*[inputs.column(name) for name in self.inputs], **self.arguments(parameters))
        except _TALIB.InsufficientHistory:
            return None


_OHLC = PRICE_COLUMNS
_HLC = ("high", "low", "close")


def candlestick_call(function: str, renamed: Mapping[str, str] | None = None) -> TalibCall:
    """A candlestick recogniser: 0, or the sign of a hit."""
    return TalibCall(function, _OHLC, renamed or {})


def _period(name: str = "period", minimum: int = 2) -> Parameter:
    return Parameter(name, int, minimum, _MAX_PERIOD)


def _macd_rule(parameters: Parameters) -> str | None:
    fast, slow = parameters["fast_period"], parameters["slow_period"]
    # TA-Lib would swap them without a word
    return None if fast < slow else f"fast_period ({fast}) must be less than slow_period ({slow})."


TALIB_FUNCTIONS: tuple[IndicatorFunction, ...] = (
    IndicatorFunction("sma", (_period(),), ("sma",), (TalibCall("SMA", ("close",), {"timeperiod": "period"}),)),
    IndicatorFunction("ema", (_period(),), ("ema",), (TalibCall("EMA", ("close",), {"timeperiod": "period"}),)),
    IndicatorFunction(
        "macd",
        (_period("fast_period"), _period("slow_period"), _period("signal_period", 1)),
        ("macd", "macd_signal", "macd_hist"),
        (
            TalibCall(
                "MACD",
                ("close",),
                {"fastperiod": "fast_period", "slowperiod": "slow_period", "signalperiod": "signal_period"},
            ),
        ),
        _macd_rule,
    ),
    IndicatorFunction("rsi", (_period(),), ("rsi",), (TalibCall("RSI", ("close",), {"timeperiod": "period"}),)),
    IndicatorFunction(
        "stochastic",
        (_period("k_period", 1), _period("k_smoothing", 1), _period("d_period", 1)),
        ("stoch_k", "stoch_d"),
        (
            TalibCall(
                "STOCH",
                _HLC,
                {"fastk_period": "k_period", "slowk_period": "k_smoothing", "slowd_period": "d_period"},
                {"slowk_matype": _SIMPLE_AVERAGE, "slowd_matype": _SIMPLE_AVERAGE},
            ),
        ),
    ),
    IndicatorFunction(
        "bollinger_bands",
        (_period(), Parameter("deviations", float, 0.1, 10.0)),
        ("bb_upper", "bb_middle", "bb_lower"),
        (
            TalibCall(
                "BBANDS",
                ("close",),
                {"timeperiod": "period", "nbdevup": "deviations", "nbdevdn": "deviations"},
                {"matype": _SIMPLE_AVERAGE},
            ),
        ),
    ),
    IndicatorFunction("atr", (_period(),), ("atr",), (TalibCall("ATR", _HLC, {"timeperiod": "period"}),)),
    IndicatorFunction(
        "adx",
        (_period(),),
        ("adx", "plus_di", "minus_di"),
        tuple(TalibCall(name, _HLC, {"timeperiod": "period"}) for name in ("ADX", "PLUS_DI", "MINUS_DI")),
    ),
)
