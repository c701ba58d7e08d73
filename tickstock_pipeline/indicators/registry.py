"""Indicator functions by name, and the check of a definition against them.

A new function is one more entry of :data:`FUNCTIONS`; nothing else changes.
"""

from collections.abc import Mapping

from tickstock_pipeline.indicators.function import IndicatorFunction
from tickstock_pipeline.indicators.parameters import (
    DefinitionRow,
    check_function_known,
    check_min_bars_required,
    check_parameters,
    refuse,
)
from tickstock_pipeline.indicators.talib_functions import TALIB_FUNCTIONS

FUNCTIONS: Mapping[str, IndicatorFunction] = {function.name: function for function in TALIB_FUNCTIONS}

_KIND = "Indicator"


def validate(definition: DefinitionRow) -> None:
    """Refuse an indicator definition that cannot run.

    Raises
    ------
    DefinitionError
        Names the row, what is wrong (function, parameter, ``min_bars_required``) and the allowed values.
    """
    check_function_known(_KIND, definition, tuple(FUNCTIONS))
    function = FUNCTIONS[definition.function]
    check_parameters(_KIND, definition, function.parameters)
    problem = function.rule(definition.parameters)
    if problem is not None:
        raise refuse(_KIND, definition.name, problem)
    check_min_bars_required(_KIND, definition, function.bars_needed(definition.parameters))
