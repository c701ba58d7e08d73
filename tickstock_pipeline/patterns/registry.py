"""Pattern functions by name, and the check of a definition against them.

A new pattern is one more entry of :data:`FUNCTIONS`; nothing else changes.
"""

from collections.abc import Mapping

from tickstock_pipeline.indicators.parameters import (
    check_function_known,
    check_min_bars_required,
    check_parameters,
    is_fraction,
    refuse,
)
from tickstock_pipeline.patterns.breakout import BREAKOUT_FUNCTIONS
from tickstock_pipeline.patterns.candlestick import CANDLESTICK_FUNCTIONS
from tickstock_pipeline.patterns.crossover import CROSSOVER_FUNCTIONS
from tickstock_pipeline.patterns.definition import RISK_LEVELS, PatternDefinition
from tickstock_pipeline.patterns.double import DOUBLE_FUNCTIONS
from tickstock_pipeline.patterns.event import EVENT_FUNCTIONS
from tickstock_pipeline.patterns.flag import FLAG_FUNCTIONS
from tickstock_pipeline.patterns.function import PatternFunction
from tickstock_pipeline.patterns.head_and_shoulders import HEAD_AND_SHOULDERS_FUNCTIONS
from tickstock_pipeline.patterns.level import LEVEL_FUNCTIONS
from tickstock_pipeline.patterns.trend_line import TREND_LINE_FUNCTIONS
from tickstock_pipeline.patterns.triangle import TRIANGLE_FUNCTIONS

FUNCTIONS: Mapping[str, PatternFunction] = {
    function.name: function
    for function in (
        *CANDLESTICK_FUNCTIONS,
        *CROSSOVER_FUNCTIONS,
        *EVENT_FUNCTIONS,
        *BREAKOUT_FUNCTIONS,
        *LEVEL_FUNCTIONS,
        *TREND_LINE_FUNCTIONS,
        *DOUBLE_FUNCTIONS,
        *HEAD_AND_SHOULDERS_FUNCTIONS,
        *TRIANGLE_FUNCTIONS,
        *FLAG_FUNCTIONS,
    )
}

_KIND = "Pattern"


def validate(definition: PatternDefinition) -> None:
    """Refuse a pattern definition that cannot run.

    Raises
    ------
    DefinitionError
        Names the row, what is wrong and the allowed values.
    """
    check_function_known(_KIND, definition, tuple(FUNCTIONS))
    function = FUNCTIONS[definition.function]
    check_parameters(_KIND, definition, function.parameters)
    problem = function.rule(definition.parameters)
    if problem is not None:
        raise refuse(_KIND, definition.name, problem)
    check_min_bars_required(_KIND, definition, function.bars_needed(definition.parameters))
    if not is_fraction(definition.confidence_threshold):
        raise refuse(
            _KIND,
            definition.name,
            f"confidence_threshold is {definition.confidence_threshold!r}; it must be a number from 0 to 1.",
        )
    if definition.risk_level not in RISK_LEVELS:
        raise refuse(
            _KIND,
            definition.name,
            f"risk_level is {definition.risk_level!r}; it must be one of {', '.join(RISK_LEVELS)}.",
        )
