"""A pattern definition: a row that says which function runs with which parameters on which timeframes."""

from dataclasses import dataclass

from tickstock_pipeline.indicators.parameters import Parameters
from tickstock_pipeline.market.timeframe import Timeframe

RISK_LEVELS = ("low", "medium", "high")


@dataclass(frozen=True, slots=True)
class PatternDefinition:
    """One row of the pattern definitions; unchecked until :func:`registry.validate`.

    Attributes
    ----------
    name : unique; the pattern's name in tables and events
    function : key of the registry
    parameters : the function's, as a JSON object holds them
    min_bars_required : bars up to and with the earliest detection
    confidence_threshold : 0 to 1; a detection below it is dropped
    risk_level : one of :data:`RISK_LEVELS`, for display: how far to trust the pattern by itself
    """

    name: str
    display_name: str
    category: str
    function: str
    parameters: Parameters
    applicable_timeframes: tuple[Timeframe, ...]
    min_bars_required: int
    confidence_threshold: float
    risk_level: str
    enabled: bool = True
    display_order: int = 0
