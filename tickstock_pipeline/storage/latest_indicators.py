"""The latest value of each indicator, in the table ``daily_indicators`` that the consumer reads."""

import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tickstock_pipeline.analysis import DefinitionSet
from tickstock_pipeline.storage.analysed_window import WINDOWS, AnalysedWindow, window_parameters
from tickstock_pipeline.storage.instants import aware_all


def write_latest_indicators(
    connection: sa.Connection, definitions: DefinitionSet, items: Sequence[AnalysedWindow]
) -> int:
    """Bring the latest values up to each symbol's newest bar.

    One row for each definition that has a value at that bar. A row of a newer bar outside of the windows stays; one of
    a bar in a window that is not given again goes.

    Parameters
    ----------
    items : by symbol and time

    Returns
    -------
    How many rows were written or deleted.
    """
    newest = {item.symbol: item for item in items if item.stored.stop > item.stored.start}
    rows = [row for item in newest.values() for row in _rows(definitions, item)]
    # Where a symbol's newest bars have gone, an earlier one is its newest now.
    rows += _rows_of_stored_values(connection, definitions, sorted({item.symbol for item in items} - set(newest)))
    context = {
        "timeframe": str(definitions.timeframe),
        "symbols": [row["symbol"] for row in rows],
        "indicators": [row["indicator"] for row in rows],
        "values": [row["values"] for row in rows],
        "bar_times": [row["bar_time"] for row in rows],
        **window_parameters(items),
    }
    written = connection.execute(
        sa.text(f"""
            INSERT INTO daily_indicators AS stored (symbol, indicator_type, timeframe, value_data, bar_time)
            SELECT symbol, indicator, :timeframe, value_data::jsonb, bar_time FROM unnest(
                cast(:symbols AS text[]), cast(:indicators AS text[]), cast(:values AS text[]),
                cast(:bar_times AS timestamptz[])
            ) AS new (symbol, indicator, value_data, bar_time)
            ORDER BY symbol, indicator
            ON CONFLICT (symbol, timeframe, indicator_type) DO UPDATE SET
                value_data = excluded.value_data, bar_time = excluded.bar_time, calculation_timestamp = now(),
                expiration_date = NULL
            WHERE (stored.value_data, stored.bar_time) IS DISTINCT FROM (excluded.value_data, excluded.bar_time)
                AND (
                    coalesce(stored.bar_time, '-infinity') <= excluded.bar_time
                    OR EXISTS (
                        SELECT FROM ({WINDOWS}) replaced WHERE replaced.symbol = stored.symbol
                            AND stored.bar_time BETWEEN replaced.first_time AND replaced.last_time
                    )
                )
        """),
        context,
    ).rowcount
    deleted = connection.execute(
        sa.text(f"""
            DELETE FROM daily_indicators stored USING ({WINDOWS}) replaced
            WHERE stored.symbol = replaced.symbol AND stored.timeframe = :timeframe
                AND stored.bar_time BETWEEN replaced.first_time AND replaced.last_time
                AND NOT EXISTS (
                    SELECT FROM unnest(cast(:symbols AS text[]), cast(:indicators AS text[])) AS new (symbol, indicator)
                    WHERE new.symbol = stored.symbol AND new.indicator = stored.indicator_type
                )
        """),
        context,
    ).rowcount
    return written + deleted


def _rows(definitions: DefinitionSet, item: AnalysedWindow) -> list[dict[str, Any]]:
    at = item.stored.stop - 1
    values = zip(item.analysis.outputs, item.analysis.values[at].tolist(), strict=True)
    (bar_time,) = aware_all(item.analysis.bars.time[at : at + 1])
    return _rows_of_bar(
        definitions,
        item.symbol,
        bar_time,
        {name: value for name, value in values if not math.isnan(value)},
    )


def _rows_of_stored_values(
    connection: sa.Connection, definitions: DefinitionSet, symbols: Sequence[str]
) -> list[dict[str, Any]]:
    if not symbols:
        return []
    found = connection.execute(
        sa.text("""
            SELECT DISTINCT ON (stored.symbol) stored.symbol, stored.time, layout.outputs, stored.values
            FROM bar_indicators stored JOIN indicator_layouts layout ON layout.id = stored.layout_id
            WHERE stored.timeframe = :timeframe AND stored.symbol = ANY (:symbols)
            ORDER BY stored.symbol, stored.time DESC
        """),
        {"timeframe": str(definitions.timeframe), "symbols": list(symbols)},
    )
    rows = []
    for symbol, bar_time, outputs, stored in found:
        values = {name: value for name, value in zip(outputs, stored, strict=True) if value is not None}
        rows += _rows_of_bar(definitions, symbol, bar_time, values)
    return rows


def _rows_of_bar(
    definitions: DefinitionSet, symbol: str, bar_time: datetime, values: Mapping[str, float]
) -> list[dict[str, Any]]:
    rows = []
    for definition in definitions.indicators:
        given = {name: values[name] for name in definition.outputs if name in values}
        if given:
            rows.append(
                {
                    "symbol": symbol,
                    "indicator": definition.name,
                    "values": json.dumps(given),
                    "bar_time": bar_time,
                }
            )
    return rows
