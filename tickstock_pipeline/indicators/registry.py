"""Indicator functions by name, and the check of a definition against them.

A new function is one more entry of :data:`FUNCTIONS`; nothing else changes. A name with a library's prefix is looked up
in that library.
"""

from collections.abc import Mapping

from tickstock_pipeline.indicators.function import Indicator, IndicatorFunction
from tickstock_pipeline.indicators.pandas_ta_functions import PREFIX, PandasTaFunction, pandas_ta_names
from tickstock_pipeline.indicators.parameters import DefinitionRow, check_function_known, check_min_bars_required
from tickstock_pipeline.indicators.talib_functions import TALIB_FUNCTIONS

FUNCTIONS: Mapping[str, IndicatorFunction] = {function.name: function for function in TALIB_FUNCTIONS}

_KIND = "Indicator"


def function_of(definition: DefinitionRow) -> Indicator:
    """The function that a definition names.

    Raises
    ------
    DefinitionError
        If there is none of that name; names the row and the known functions.
    """
    name: object = definition.function
    if isinstance(name, str) and name.startswith(PREFIX):
        check_function_known(_KIND, definition, pandas_ta_names())
        return PandasTaFunction(name)
    check_function_known(_KIND, definition, (*FUNCTIONS, f"{PREFIX}NAME for any of pandas-ta-classic"))
    return FUNCTIONS[definition.function]


def validate(definition: DefinitionRow) -> None:
    """Refuse an indicator definition that cannot run.

    Raises
    ------
    DefinitionError
        Names the row, what is wrong (function, parameter, ``min_bars_required``) and the allowed values.
    """
    function = function_of(definition)
    function.check(definition)
    check_min_bars_required(_KIND, definition, function.bars_needed(definition.parameters))
