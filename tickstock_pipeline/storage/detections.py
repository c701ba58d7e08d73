"""Detections in the table ``daily_patterns``: found, changed, and retracted when they no longer hold.

A detection is never deleted: one that no longer holds gets ``retracted_at``, and one that comes back the next
``revision``, so that consumers can be told. Rows that another program wrote have no ``bar_time`` and stay as they are.
"""

import io
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
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


class DetectionKey(NamedTuple):
    """Which detection, and how often it has come."""

    symbol: str
    pattern: str
    detection_timestamp: datetime
    revision: int


class RetractedDetection(NamedTuple):
    """A detection that no longer holds, as it was stored."""

    symbol: str
    pattern: str
    bar_time: datetime
    detection_timestamp: datetime
    revision: int
    direction: str
    confidence: float
    pattern_data: Mapping[str, Any]
    levels: Mapping[str, float] | None
    metadata: Mapping[str, Any] | None


def write_detections(
    connection: sa.Connection, timeframe: Timeframe, items: Sequence[AnalysedWindow]
) -> tuple[int, int, list[RetractedDetection]]:
    """Replace the detections in the items' windows.

    Returns
    -------
    How many are new or have come back, how many hold with other values, and those that no longer hold.
    """
    new, known = new_and_known(connection, timeframe, items, "daily_patterns", _IN_WINDOW)
    found = changed = 0
    retracted: list[RetractedDetection] = []
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


def replace_detections(
    connection: sa.Connection,
    timeframe: Timeframe,
    items: Sequence[AnalysedWindow],
    replaced: Sequence[AnalysedWindow],
) -> tuple[list[DetectionKey], list[RetractedDetection]]:
    """Replace the detections of a few windows, and say what has become of each.

    Parameters
    ----------
    items : whose detections are written
    replaced : those of the items in whose windows detections may be stored that no longer hold

    Returns
    -------
    Those that are new or have come back, and those that no longer hold.
    """
    rows = [_columns_of(line) for line in detection_rows(items)]
    columns = zip(*rows, strict=True) if rows else [()] * len(COLUMNS)
    given = {f"new_{name}": list(values) for name, values in zip(COLUMNS, columns, strict=True)}
    source = "unnest({}) AS new ({})".format(
        ", ".join(f"cast(:new_{name} AS {_TYPES.get(name, 'text')}[])" for name in COLUMNS), ", ".join(COLUMNS)
    )
    found: list[DetectionKey] = []
    if rows:
        written = connection.execute(
            sa.text(
                f"{_written(source)} SELECT written.* FROM written"
                " LEFT JOIN was USING (symbol, pattern_type, detection_timestamp) WHERE was.symbol IS NULL"
            ),
            {"timeframe": str(timeframe), **given},
        )
        found = [DetectionKey(*row) for row in written]
    if not replaced:
        return found, []
    retracted = connection.execute(
        sa.text(_retracted(source)),
        {"timeframe": str(timeframe), **given, **window_parameters(replaced)},
    )
    return found, [RetractedDetection(*row) for row in retracted]


def _replace(
    connection: sa.Connection, timeframe: Timeframe, items: Sequence[AnalysedWindow]
) -> tuple[int, int, list[RetractedDetection]]:
    staging = f"new_detections_{uuid4().hex}"
    columns = ", ".join(COLUMNS)
    connection.exec_driver_sql(
        f"CREATE TEMPORARY TABLE {staging} ON COMMIT DROP AS SELECT {columns} FROM daily_patterns WITH NO DATA"
    )
    _copy_into(connection, staging, items)
    context = {"timeframe": str(timeframe), **window_parameters(items)}
    found, changed = connection.execute(
        sa.text(f"""
            {_written(f"{staging} AS new")}
            SELECT count(*) FILTER (WHERE was.symbol IS NULL), count(was.symbol)
            FROM written LEFT JOIN was USING (symbol, pattern_type, detection_timestamp)
        """),
        context,
    ).one()
    retracted = connection.execute(sa.text(_retracted(f"{staging} AS new")), context)
    return found, changed, [RetractedDetection(*row) for row in retracted]


def _written(source: str) -> str:
    """The start of a query over ``written``, the rows inserted or changed, and ``was``, those that held before."""
    columns = ", ".join(COLUMNS)
    return f"""
        WITH written AS (
            INSERT INTO daily_patterns AS stored ({columns})
            SELECT {columns} FROM {source} ORDER BY symbol, pattern_type, detection_timestamp
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
            RETURNING symbol, pattern_type, detection_timestamp, revision
        ), was AS (
            -- sees the table as it was before the statement
            SELECT symbol, pattern_type, detection_timestamp
            FROM {source} JOIN daily_patterns held USING (symbol, pattern_type, detection_timestamp)
            WHERE held.timeframe = :timeframe AND held.retracted_at IS NULL
        )
    """


def _retracted(source: str) -> str:
    return f"""
        UPDATE daily_patterns stored SET retracted_at = now(), expiration_date = now()
        FROM ({WINDOWS}) replaced
        WHERE stored.symbol = replaced.symbol AND stored.timeframe = :timeframe
            AND {_IN_WINDOW}
            AND stored.bar_time BETWEEN replaced.first_time AND replaced.last_time
            AND stored.retracted_at IS NULL
            AND NOT EXISTS (
                SELECT FROM {source} WHERE new.symbol = stored.symbol
                    AND new.pattern_type = stored.pattern_type
                    AND new.detection_timestamp = stored.detection_timestamp
            )
        RETURNING stored.symbol, stored.pattern_type, stored.bar_time, stored.detection_timestamp, stored.revision,
            stored.direction, stored.confidence, stored.pattern_data, stored.levels, stored.metadata
    """


def _columns_of(line: str) -> list[str]:
    """The columns of a line of :func:`detection_rows`, without what COPY's text format escapes."""
    return [_ESCAPE.sub(lambda found: _UNESCAPED[found[1]], column) for column in line[:-1].split("\t")]


_ESCAPE = re.compile(r"\\(.)")
_UNESCAPED = {"\\": "\\", "t": "\t", "n": "\n", "r": "\r"}
_TYPES = {
    "detection_timestamp": "timestamptz",
    "bar_time": "timestamptz",
    "confidence": "float8",
    "pattern_data": "jsonb",
    "levels": "jsonb",
    "metadata": "jsonb",
}
