"""Parameters of a definition row: what each may be, and the check of a row against its function.

Rows come from tables that people edit, so nothing about them is taken for granted. Indicators and patterns share this
check; what is particular to either stands in its own registry.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from tickstock_pipeline.errors import DefinitionError
from tickstock_pipeline.market.timeframe import Timeframe

Parameters = Mapping[str, int | float]
"""Parameter values by name, as a JSON object holds them."""


class DefinitionRow(Protocol):
    """What indicator and pattern definitions have in common."""

    @property
    def name(self) -> str: ...
    @property
    def function(self) -> str: ...
    @property
    def parameters(self) -> Parameters: ...
    @property
    def applicable_timeframes(self) -> tuple[Timeframe, ...]: ...
    @property
    def min_bars_required(self) -> int: ...
    @property
    def enabled(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a function: its type and its range, both ends allowed."""

    name: str
    kind: type[int] | type[float]
    minimum: float
    maximum: float

    def accepts(self, value: object) -> bool:
        """Whether ``value`` has the type and lies in the range. A bool is no number; an int is a float."""
        is_number = isinstance(value, int if self.kind is int else int | float) and not isinstance(value, bool)
        return is_number and self.minimum <= value <= self.maximum  # type: ignore[operator]

    @property
    def allowed(self) -> str:
        """The allowed values, in words."""
        kind = "a whole number" if self.kind is int else "a number"
        return f"{kind} from {self.minimum:g} to {self.maximum:g}"


def refuse(kind: str, row_name: object, problem: str) -> DefinitionError:
    """The error for a row that cannot run: names the row and what is wrong with it."""
    return DefinitionError(
        f"{kind} definition {row_name!r}: {problem}",
        advice="Correct the row, or disable it (enabled = false).",
    )


def check_function_known(kind: str, row: DefinitionRow, known: Sequence[str]) -> None:
    """Refuse a row whose function does not exist.

    Raises
    ------
    DefinitionError
        Names the row and all known functions.
    """
    if row.function not in known:
        raise refuse(kind, row.name, f"unknown function {row.function!r}; known functions: {', '.join(sorted(known))}.")


def check_parameters(kind: str, row: DefinitionRow, allowed: Sequence[Parameter]) -> None:
    """Refuse a row whose parameters are not exactly the function's, each of its type and in its range.

    Raises
    ------
    DefinitionError
        Names the row, the parameter and the allowed values.
    """
    given: object = row.parameters
    if not isinstance(given, Mapping):
        raise refuse(kind, row.name, f"its parameters are {given!r}; they must be a JSON object.")
    names = ", ".join(parameter.name for parameter in allowed) or "none"
    for name in given:
        if name not in {parameter.name for parameter in allowed}:
            raise refuse(kind, row.name, f"{row.function!r} has no parameter {name!r}; its parameters: {names}.")
    for parameter in allowed:
        if parameter.name not in given:
            raise refuse(kind, row.name, f"parameter {parameter.name!r} is missing; it must be {parameter.allowed}.")
        value: Any = given[parameter.name]
        if not parameter.accepts(value):
            raise refuse(kind, row.name, f"parameter {parameter.name!r} is {value!r}; it must be {parameter.allowed}.")


def check_min_bars_required(kind: str, row: DefinitionRow, bars_needed: int) -> None:
    """Refuse a row that promises a result from fewer bars than its function needs.

    Raises
    ------
    DefinitionError
        Names the row and the least value allowed.
    """
    count: object = row.min_bars_required
    if not isinstance(count, int) or isinstance(count, bool) or count < bars_needed:
        raise refuse(
            kind, row.name, f"min_bars_required is {count!r}; it must be a whole number from {bars_needed} upwards."
        )


def normalised(parameters: Parameters, allowed: Sequence[Parameter]) -> dict[str, int | float]:
    """Checked parameters, sorted by name, each in its function's own type: a JSON ``2`` given for a float is 2.0."""
    kinds = {parameter.name: parameter.kind for parameter in allowed}
    return {name: kinds[name](parameters[name]) for name in sorted(parameters)}


def is_fraction(value: object) -> bool:
    """Whether a value is a finite number from 0 to 1."""
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and 0.0 <= value <= 1.0
    )
