"""The 18 indicators that are enabled from the start, on every timeframe."""

from tickstock_pipeline.indicators.definition import IndicatorDefinition
from tickstock_pipeline.market.timeframe import Timeframe

_ALL = tuple(Timeframe)
_AVERAGE_PERIODS = (5, 10, 20, 50, 100, 200)

_AVERAGES = tuple(
    IndicatorDefinition(
        name=f"{function}_{period}",
        display_name=f"{function.upper()} {period}",
        category="trend",
        function=function,
        parameters={"period": period},
        applicable_timeframes=_ALL,
        min_bars_required=period,
        display_order=order + position,
    )
    for function, order in (("sma", 10), ("ema", 20))
    for position, period in enumerate(_AVERAGE_PERIODS)
)

_OTHERS = (
    IndicatorDefinition(
        name="macd",
        display_name="MACD 12/26/9",
        category="momentum",
        function="macd",
        parameters={"fast_period": 12, "slow_period": 26, "signal_period": 9},
        applicable_timeframes=_ALL,
        min_bars_required=34,
        display_order=30,
    ),
    IndicatorDefinition(
        name="rsi",
        display_name="RSI 14",
        category="momentum",
        function="rsi",
        parameters={"period": 14},
        applicable_timeframes=_ALL,
        min_bars_required=15,
        display_order=31,
    ),
    IndicatorDefinition(
        name="stochastic",
        display_name="Stochastic 14/3/3",
        category="momentum",
        function="stochastic",
        parameters={"k_period": 14, "k_smoothing": 3, "d_period": 3},
        applicable_timeframes=_ALL,
        min_bars_required=18,
        display_order=32,
    ),
    IndicatorDefinition(
        name="bollinger_bands",
        display_name="Bollinger Bands 20/2",
        category="volatility",
        function="bollinger_bands",
        parameters={"period": 20, "deviations": 2.0},
        applicable_timeframes=_ALL,
        min_bars_required=20,
        display_order=40,
    ),
    IndicatorDefinition(
        name="atr",
        display_name="ATR 14",
        category="volatility",
        function="atr",
        parameters={"period": 14},
        applicable_timeframes=_ALL,
        min_bars_required=15,
        display_order=41,
    ),
    IndicatorDefinition(
        name="adx",
        display_name="ADX 14",
        category="trend",
        function="adx",
        parameters={"period": 14},
        applicable_timeframes=_ALL,
        min_bars_required=28,
        display_order=50,
    ),
)

DEFAULT_INDICATORS: tuple[IndicatorDefinition, ...] = _AVERAGES + _OTHERS
