"""Detections in the table ``daily_patterns``: found, changed, and retracted when they no longer hold.

A detection is never deleted: one that no longer holds gets ``retracted_at``, and one that comes back the next
``revision``, so that consumers can be told. Rows that another program wrote have no ``bar_time`` and stay as they are.
"""

import io
from collections.abc import Sequence
from uuid import uuid4

import sqlalchemy as sa

from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.analysed_window import WINDOWS, AnalysedWindow, window_parameters
from tickstock_pipeline.storage.detection_rows import COLUMNS, detection_rows
from tickstock_pipeline.storage.engine import driver_cursor
from tickstock_pipeline.storage.new_rows import copied, new_and_known

_COMPARED = ("bar_time", "direction", "confidence", "pattern_data", "levels", "metadata")
# the instant of a bar lies within the day after its key, which bounds the search in the index
_IN_WINDOW = """
    stored.detection_timestamp >= replaced.first_time
    AND stored.detection_timestamp < replaced.last_time + interval '1 day'
"""


def write_detections(
    connection: sa.Connection, timeframe: Timeframe, items: Sequence[AnalysedWindow]
) -> tuple[int, int, int]:
    """Replace the detections in the items' windows.

    Returns
    -------
    How many are new or have come back, how many hold with other values, how many no longer hold.
    """
    new, known = new_and_known(connection, timeframe, items, "daily_patterns", _IN_WINDOW)
    found = changed = retracted = 0
    if new:
        n_copied = copied(connection, lambda: _copy_into(connection, "daily_patterns", new))
        if n_copied is None:
            known = list(items)
        else:
            found = n_copied
    if known:
        come, changed, retracted = _replace(connection, timeframe, known)
        found += come
    return found, changed, retracted


def _copy_into(connection: sa.Connection, table: str, items: Sequence[AnalysedWindow]) -> int:
    rows = io.StringIO("".join(detection_rows(items)))
    with driver_cursor(connection) as cursor:
        cursor.copy_expert(f"COPY {table} ({', '.join(COLUMNS)}) FROM STDIN", rows)
        return cursor.rowcount


def _replace(connection: sa.Connection, timeframe: Timeframe, items: Sequence[AnalysedWindow]) -> tuple[int, int, int]:
    staging = f"new_detections_{uuid4().hex}"
    columns = ", ".join(COLUMNS)
    connection.exec_driver_sql(
        f"CREATE TEMPORARY TABLE {staging} ON COMMIT DROP AS SELECT {columns} FROM daily_patterns WITH NO DATA"
    )
    _copy_into(connection, staging, items)
    context = {"timeframe": str(timeframe), **window_parameters(items)}
    found, changed = connection.execute(
        sa.text(f"""
            WITH written AS (
                INSERT INTO daily_patterns AS stored ({columns})
                SELECT {columns} FROM {staging} ORDER BY symbol, pattern_type, detection_timestamp
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
    retracted = connection.execute(
        sa.text(f"""
            UPDATE daily_patterns stored SET retracted_at = now(), expiration_date = now()
            FROM ({WINDOWS}) replaced
            WHERE stored.symbol = replaced.symbol AND stored.timeframe = :timeframe
                AND {_IN_WINDOW}
                AND stored.bar_time BETWEEN replaced.first_time AND replaced.last_time
                AND stored.retracted_at IS NULL
                AND NOT EXISTS (
                    SELECT FROM {staging} new WHERE new.symbol = stored.symbol
                        AND new.pattern_type = stored.pattern_type
                        AND new.detection_timestamp = stored.detection_timestamp
                )
        """),
        context,
    ).rowcount
    return found, changed, retracted
