"""The patterns that every database begins with, on every timeframe: 8 candlesticks, enabled, and the rest, disabled.

Thresholds were set by looking at thirteen years of daily bars of four large companies: a doji, an engulfing or a harami
is marked 15 to 40 times a year and needs a clear form to mean anything; hammers and their kin come a few times a year;
a star's recogniser is strict already and marks one a year. The other patterns' thresholds and parameters were set on
the same bars: a breakout comes ten times a year, other events two to six times, a chart pattern up to four times.
"""

from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.patterns.definition import PatternDefinition
from tickstock_pipeline.patterns.measures import WINDOW_BARS

_STAR_PENETRATION = {"penetration": 0.3}


def _candlestick(
    order: int, name: str, display_name: str, threshold: float, risk_level: str, parameters: dict[str, float]
) -> PatternDefinition:
    return PatternDefinition(
        name=name,
        display_name=display_name,
        category="candlestick",
        function=name,
        parameters=parameters,
        applicable_timeframes=tuple(Timeframe),
        min_bars_required=WINDOW_BARS,
        confidence_threshold=threshold,
        risk_level=risk_level,
        display_order=order,
    )


def _other(
    order: int,
    name: str,
    category: str,
    min_bars_required: int,
    threshold: float,
    risk_level: str,
    parameters: dict[str, int | float],
) -> PatternDefinition:
    return PatternDefinition(
        name=name,
        display_name=name.replace("_", " ").title().replace(" And ", " and "),
        category=category,
        function=name,
        parameters=parameters,
        applicable_timeframes=tuple(Timeframe),
        min_bars_required=min_bars_required,
        confidence_threshold=threshold,
        risk_level=risk_level,
        enabled=False,
        display_order=order,
    )


_CROSS = {"fast_period": 50, "slow_period": 200}
_LEVEL: dict[str, int | float] = {"reversal": 2.5, "tolerance": 0.75, "max_bars": 120}
_DOUBLE: dict[str, int | float] = {"reversal": 2.5, "tolerance": 1.0, "height": 3.0, "min_bars": 8, "max_bars": 100}
_HEAD_AND_SHOULDERS: dict[str, int | float] = {
    "reversal": 2.5,
    "prominence": 0.75,
    "tolerance": 2.0,
    "max_bars": 150,
}

DEFAULT_PATTERNS: tuple[PatternDefinition, ...] = (
    _candlestick(1, "doji", "Doji", 0.5, "high", {}),
    _candlestick(2, "hammer", "Hammer", 0.4, "medium", {}),
    _candlestick(3, "engulfing", "Engulfing", 0.5, "medium", {}),
    _candlestick(4, "shooting_star", "Shooting Star", 0.4, "medium", {}),
    _candlestick(5, "hanging_man", "Hanging Man", 0.4, "high", {}),
    _candlestick(6, "harami", "Harami", 0.5, "high", {}),
    _candlestick(7, "morning_star", "Morning Star", 0.3, "low", _STAR_PENETRATION),
    _candlestick(8, "evening_star", "Evening Star", 0.3, "low", _STAR_PENETRATION),
    _other(20, "golden_cross", "event", 201, 0.3, "medium", {**_CROSS}),
    _other(21, "death_cross", "event", 201, 0.3, "medium", {**_CROSS}),
    _other(22, "volume_spike", "event", 21, 0.3, "high", {"multiple": 2.5}),
    _other(23, "gap", "event", 21, 0.3, "high", {"size": 0.5}),
    _other(24, "price_breakout", "event", 52, 0.3, "medium", {"lookback": 50, "margin": 0.25}),
    _other(25, "support_test", "event", 21, 0.3, "high", {**_LEVEL}),
    _other(26, "resistance_break", "event", 21, 0.3, "medium", {**_LEVEL, "margin": 0.25}),
    _other(
        27,
        "trend_line_break",
        "event",
        31,
        0.3,
        "medium",
        {"reversal": 2.5, "tolerance": 0.5, "margin": 0.25, "min_bars": 15, "max_bars": 120},
    ),
    _other(40, "double_top", "chart", 24, 0.3, "medium", {**_DOUBLE}),
    _other(41, "double_bottom", "chart", 24, 0.3, "medium", {**_DOUBLE}),
    _other(42, "head_and_shoulders", "chart", 21, 0.3, "low", {**_HEAD_AND_SHOULDERS}),
    _other(43, "inverse_head_and_shoulders", "chart", 21, 0.3, "low", {**_HEAD_AND_SHOULDERS}),
    _other(
        44,
        "triangle",
        "chart",
        28,
        0.3,
        "medium",
        {"reversal": 2.5, "flat": 0.5, "height": 3.0, "min_bars": 12, "max_bars": 150},
    ),
    _other(
        45,
        "flag",
        "chart",
        31,
        0.3,
        "medium",
        {"pole_bars": 10, "pole_height": 5.0, "retracement": 0.5, "min_bars": 5, "max_bars": 20},
    ),
)
