"""An indicator definition: a row that says which function runs with which parameters on which timeframes."""

from dataclasses import dataclass

from tickstock_pipeline.indicators.parameters import Parameters
from tickstock_pipeline.indicators.registry import function_of
from tickstock_pipeline.market.timeframe import Timeframe


@dataclass(frozen=True, slots=True)
class IndicatorDefinition:
    """One row of the indicator definitions; unchecked until :func:`registry.validate`.

    Attributes
    ----------
    name : unique; the indicator's name in tables and events
    function : key of the registry
    parameters : the function's, as a JSON object holds them
    min_bars_required : bars until the first value; earlier bars have none
    """

    name: str
    display_name: str
    category: str
    function: str
    parameters: Parameters
    applicable_timeframes: tuple[Timeframe, ...]
    min_bars_required: int
    enabled: bool = True
    display_order: int = 0

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the values, in the order in which they are computed.

        Raises
        ------
        DefinitionError
            If the function is unknown.
        """
        return function_of(self).output_names(self.name, self.parameters)
