"""The 8 candlestick patterns that are enabled from the start, on every timeframe.

Thresholds were set by looking at thirteen years of daily bars of four large companies: a doji, an engulfing or a harami
is marked 15 to 40 times a year and needs a clear form to mean anything; hammers and their kin come a few times a year;
a star's recogniser is strict already and marks one a year.
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


DEFAULT_PATTERNS: tuple[PatternDefinition, ...] = (
    _candlestick(1, "doji", "Doji", 0.5, "high", {}),
    _candlestick(2, "hammer", "Hammer", 0.4, "medium", {}),
    _candlestick(3, "engulfing", "Engulfing", 0.5, "medium", {}),
    _candlestick(4, "shooting_star", "Shooting Star", 0.4, "medium", {}),
    _candlestick(5, "hanging_man", "Hanging Man", 0.4, "high", {}),
    _candlestick(6, "harami", "Harami", 0.5, "high", {}),
    _candlestick(7, "morning_star", "Morning Star", 0.3, "low", _STAR_PENETRATION),
    _candlestick(8, "evening_star", "Evening Star", 0.3, "low", _STAR_PENETRATION),
)
