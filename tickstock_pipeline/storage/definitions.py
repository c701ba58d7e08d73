"""Definition rows: the defaults that every database begins with, and the rows that people have made of them.

Rows are edited by people and by the consumer. One that cannot run is reported and left out; it stops nothing else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from tickstock_pipeline.errors import DefinitionError
from tickstock_pipeline.indicators import registry as indicator_registry
from tickstock_pipeline.indicators.defaults import DEFAULT_INDICATORS
from tickstock_pipeline.indicators.definition import IndicatorDefinition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.patterns import registry as pattern_registry
from tickstock_pipeline.patterns.defaults import DEFAULT_PATTERNS
from tickstock_pipeline.patterns.definition import PatternDefinition
from tickstock_pipeline.storage.tables import INDICATOR_DEFINITIONS, PATTERN_DEFINITIONS

_Definition = TypeVar("_Definition", IndicatorDefinition, PatternDefinition)


@dataclass(frozen=True, slots=True)
class StoredDefinitions:
    """The rows that can run, by display order and name, and the reasons why others cannot.

    Attributes
    ----------
    indicators, patterns : valid rows, disabled ones included
    problems : one for each enabled row left out; names the table's row and what to correct
    """

    indicators: tuple[IndicatorDefinition, ...]
    patterns: tuple[PatternDefinition, ...]
    problems: tuple[DefinitionError, ...]


def seed_definitions(connection: sa.Connection) -> None:
    """Add the default definitions whose names are missing; leave existing rows as they are."""
    for table, definitions in (
        (INDICATOR_DEFINITIONS, DEFAULT_INDICATORS),
        (PATTERN_DEFINITIONS, DEFAULT_PATTERNS),
    ):
        rows = [_row(table, definition) for definition in definitions]
        connection.execute(insert(table).values(rows).on_conflict_do_nothing(index_elements=["name"]))


def read_definitions(connection: sa.Connection) -> StoredDefinitions:
    """All definition rows, enabled or not."""
    problems: list[DefinitionError] = []
    indicators = _valid(connection, INDICATOR_DEFINITIONS, _indicator, problems)
    patterns = _valid(connection, PATTERN_DEFINITIONS, _pattern, problems)
    return StoredDefinitions(tuple(indicators), tuple(patterns), tuple(problems))


def _row(table: sa.Table, definition: IndicatorDefinition | PatternDefinition) -> dict[str, Any]:
    row: dict[str, Any] = {
        column.name: getattr(definition, column.name)
        for column in table.columns
        if column.name not in {"id", "instantiation_params", "applicable_timeframes"}
    }
    return row | {
        "instantiation_params": dict(definition.parameters),
        "applicable_timeframes": [str(timeframe) for timeframe in definition.applicable_timeframes],
    }


def _valid(
    connection: sa.Connection,
    table: sa.Table,
    build: Callable[[sa.RowMapping, dict[str, Any]], _Definition],
    problems: list[DefinitionError],
) -> list[_Definition]:
    found: list[_Definition] = []
    for row in connection.execute(sa.select(table).order_by(table.c.display_order, table.c.name)).mappings():
        try:
            found.append(build(row, _common(table, row)))
        except DefinitionError as problem:
            # Disabling a row is one of the two ways to be rid of its problem.
            if row["enabled"]:
                problems.append(problem)
    return found


def _common(table: sa.Table, row: sa.RowMapping) -> dict[str, Any]:
    """The fields that both kinds of definitions have."""
    known = {str(timeframe) for timeframe in Timeframe}
    unknown = [name for name in row["applicable_timeframes"] if name not in known]
    if unknown:
        raise _refused(table, row, f"unknown timeframe {unknown[0]!r}; known timeframes: {', '.join(Timeframe)}.")
    if row["function"] is None:
        raise _refused(table, row, "its column `function` is empty.")
    return {
        "name": row["name"],
        "display_name": row["display_name"],
        "category": row["category"],
        "function": row["function"],
        "parameters": row["instantiation_params"],
        "applicable_timeframes": tuple(Timeframe(name) for name in row["applicable_timeframes"]),
        "min_bars_required": row["min_bars_required"],
        "enabled": row["enabled"],
        "display_order": row["display_order"],
    }


def _indicator(_row: sa.RowMapping, common: dict[str, Any]) -> IndicatorDefinition:
    definition = IndicatorDefinition(**common)
    indicator_registry.validate(definition)
    return definition


def _pattern(row: sa.RowMapping, common: dict[str, Any]) -> PatternDefinition:
    definition = PatternDefinition(
        **common, confidence_threshold=row["confidence_threshold"], risk_level=row["risk_level"]
    )
    pattern_registry.validate(definition)
    return definition


def _refused(table: sa.Table, row: sa.RowMapping, problem: str) -> DefinitionError:
    return DefinitionError(
        f"{table.name}, row {row['name']!r}: {problem}",
        advice="Correct the row, or disable it (enabled = false).",
    )
