"""Detections in the table ``daily_patterns``: found, changed, and retracted when they no longer hold.

A detection is never deleted: one that no longer holds gets ``retracted_at``, and one that comes back the next
``revision``, so that consumers can be told. Rows that another program wrote have no ``bar_time`` and stay as they are.
"""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import uuid4

import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.market.bar import FloatArray
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.patterns.detections import DIRECTION_NAMES, Detections, signal_strength
from tickstock_pipeline.storage.analysed_window import WINDOWS, AnalysedWindow, window_parameters
from tickstock_pipeline.storage.engine import driver_cursor

_COLUMNS = (
    "symbol",
    "pattern_type",
    "detection_timestamp",
    "bar_time",
    "direction",
    "confidence",
    "pattern_data",
    "levels",
    "metadata",
)
_COMPARED = ("bar_time", "direction", "confidence", "pattern_data", "levels", "metadata")


def write_detections(
    connection: sa.Connection, timeframe: Timeframe, items: Sequence[AnalysedWindow]
) -> tuple[int, int, int]:
    """Replace the detections in the items' windows.

    Returns
    -------
    How many are new or have come back, how many hold with other values, how many no longer hold.
    """
    staging = f"new_detections_{uuid4().hex}"
    columns = ", ".join(_COLUMNS)
    connection.exec_driver_sql(
        f"CREATE TEMPORARY TABLE {staging} ON COMMIT DROP AS SELECT {columns} FROM daily_patterns WITH NO DATA"
    )
    rows = io.StringIO()
    csv.writer(rows).writerows(row for item in items for row in _rows(item))
    rows.seek(0)
    with driver_cursor(connection) as cursor:
        cursor.copy_expert(f"COPY {staging} ({columns}) FROM STDIN (FORMAT csv)", rows)
    context = {"timeframe": str(timeframe)}
    found, changed = connection.execute(
        sa.text(f"""
            WITH written AS (
                INSERT INTO daily_patterns AS stored ({columns}, timeframe)
                SELECT {columns}, :timeframe FROM {staging} ORDER BY symbol, pattern_type, detection_timestamp
                ON CONFLICT (symbol, timeframe, pattern_type, detection_timestamp) DO UPDATE SET
                    {", ".join(f"{name} = excluded.{name}" for name in _COMPARED)},
                    revision = stored.revision + (stored.retracted_at IS NOT NULL)::int,
                    retracted_at = NULL,
                    expiration_date = CASE WHEN stored.retracted_at IS NULL THEN stored.expiration_date END
                WHERE stored.bar_time IS NOT NULL AND (
                    stored.retracted_at IS NOT NULL
                    OR ({", ".join(f"stored.{name}" for name in _COMPARED)})
                        IS DISTINCT FROM ({", ".join(f"excluded.{name}" for name in _COMPARED)})
                )
                RETURNING symbol, pattern_type, detection_timestamp
            ), was AS (
                -- sees the table as it was before the statement
                SELECT symbol, pattern_type, detection_timestamp
                FROM {staging} JOIN daily_patterns held USING (symbol, pattern_type, detection_timestamp)
                WHERE held.timeframe = :timeframe AND held.retracted_at IS NULL
            )
            SELECT count(*) FILTER (WHERE was.symbol IS NULL), count(was.symbol)
            FROM written LEFT JOIN was USING (symbol, pattern_type, detection_timestamp)
        """),
        context,
    ).one()
    # the instant of a bar lies within the day after its key, which bounds the search in the index
    retracted = connection.execute(
        sa.text(f"""
            UPDATE daily_patterns stored SET retracted_at = now(), expiration_date = now()
            FROM ({WINDOWS}) replaced
            WHERE stored.symbol = replaced.symbol AND stored.timeframe = :timeframe
                AND stored.detection_timestamp >= replaced.first_time
                AND stored.detection_timestamp < replaced.last_time + interval '1 day'
                AND stored.bar_time BETWEEN replaced.first_time AND replaced.last_time
                AND stored.retracted_at IS NULL
                AND NOT EXISTS (
                    SELECT FROM {staging} new WHERE new.symbol = stored.symbol
                        AND new.pattern_type = stored.pattern_type
                        AND new.detection_timestamp = stored.detection_timestamp
                )
        """),
        context | window_parameters(items),
    ).rowcount
    return found, changed, retracted


def _rows(item: AnalysedWindow) -> Iterator[tuple[Any, ...]]:
    bars = item.analysis.bars
    stored = item.is_stored
    for found in item.analysis.detections:
        kept = found[stored[found.index]]
        at = kept.index
        levels = {name: _as_traded(prices, item.divisors[at]) for name, prices in kept.levels.items()}
        closes = _as_traded(bars.close[at], item.divisors[at])
        instants = np.datetime_as_string(item.instants[at], timezone="UTC")
        bar_times = np.datetime_as_string(bars.time[at], timezone="UTC")
        for row in range(len(kept)):
            direction = DIRECTION_NAMES[int(kept.direction[row])]
            confidence = float(kept.confidence[row])
            form = {
                "formation_bars": int(kept.formation_bars[row]),
                "volume_confirmed": bool(kept.volume_confirmed[row]),
            }
            yield (
                item.symbol,
                found.pattern,
                instants[row],
                bar_times[row],
                direction,
                repr(confidence),
                json.dumps({"direction": direction, "price": closes[row], **form}),
                json.dumps({name: prices[row] for name, prices in levels.items() if prices[row] is not None}),
                json.dumps(
                    {"signal_strength": signal_strength(confidence), **form, "technical_context": _context(kept, row)}
                ),
            )


def _context(found: Detections, row: int) -> dict[str, float]:
    return {name: float(values[row]) for name, values in found.context.items()}


def _as_traded(prices: FloatArray, divisors: FloatArray) -> list[float | None]:
    """Adjusted prices as traded, None for NaN; 12 digits: dividing and multiplying leaves noise after the 15th."""
    return [None if np.isnan(price) else float(f"{price:.12g}") for price in prices * divisors]
