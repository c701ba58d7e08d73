"""One row of indicator values a bar, in the table ``bar_indicators``.

A row holds an array; its layout names the outputs. NaN, which means that there is no value, is stored as NULL.
"""

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import uuid4

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.dialects.postgresql import insert

from tickstock_pipeline.analysis import DefinitionSet
from tickstock_pipeline.market.bar import FloatArray
from tickstock_pipeline.storage import binary_copy
from tickstock_pipeline.storage.analysed_window import WINDOWS, AnalysedWindow, window_parameters
from tickstock_pipeline.storage.tables import INDICATOR_LAYOUTS


def write_bar_indicators(
    connection: sa.Connection, definitions: DefinitionSet, items: Sequence[AnalysedWindow]
) -> tuple[int, int]:
    """Replace the rows of the items' windows.

    Returns
    -------
    How many rows were inserted or had other values, and how many were deleted since their bar is gone.
    """
    staging = f"new_indicators_{uuid4().hex}"
    connection.exec_driver_sql(
        f"CREATE TEMPORARY TABLE {staging} (symbol text, time timestamptz, values float8[]) ON COMMIT DROP"
    )
    if definitions.outputs:
        binary_copy.copy_in(connection, staging, ("symbol", "time", "values"), _encoded(items))
    context = {"timeframe": str(definitions.timeframe), "layout": _layout(connection, definitions.outputs)}
    written = connection.execute(
        sa.text(f"""
            INSERT INTO bar_indicators AS stored (symbol, timeframe, time, layout_id, values)
            SELECT symbol, :timeframe, time, :layout, values FROM {staging} ORDER BY symbol, time
            ON CONFLICT (symbol, timeframe, time) DO UPDATE SET
                layout_id = excluded.layout_id, values = excluded.values
            WHERE (stored.layout_id, stored.values) IS DISTINCT FROM (excluded.layout_id, excluded.values)
        """),
        context,
    ).rowcount
    deleted = connection.execute(
        sa.text(f"""
            DELETE FROM bar_indicators stored USING ({WINDOWS}) replaced
            WHERE stored.symbol = replaced.symbol AND stored.timeframe = :timeframe
                AND stored.time BETWEEN replaced.first_time AND replaced.last_time
                AND NOT EXISTS (
                    SELECT FROM {staging} new WHERE new.symbol = stored.symbol AND new.time = stored.time
                )
        """),
        context | window_parameters(items),
    ).rowcount
    return written, deleted


def _layout(connection: sa.Connection, outputs: Sequence[str]) -> int:
    query = sa.select(INDICATOR_LAYOUTS.c.id).where(INDICATOR_LAYOUTS.c.outputs == list(outputs))
    found = connection.scalar(query)
    if found is None:
        connection.execute(insert(INDICATOR_LAYOUTS).values(outputs=list(outputs)).on_conflict_do_nothing())
        found = connection.scalar(query)
    return int(found or 0)


def _encoded(items: Sequence[AnalysedWindow]) -> Iterator[bytes]:
    for item in items:
        stored = item.is_stored
        symbol = binary_copy.encode_text(item.symbol)
        time = binary_copy.instants(item.analysis.bars.time[stored])
        values = item.analysis.values[stored]
        for start, end in _runs_of_equal_gaps(values):
            yield binary_copy.encode_rows(
                {
                    "symbol": symbol,
                    "time": (binary_copy.INT8, time[start:end]),
                    "values": binary_copy.encode_arrays(values[start:end]),
                },
                end - start,
            )


def _runs_of_equal_gaps(values: FloatArray) -> Iterator[tuple[int, int]]:
    """Consecutive rows with values in the same columns: warm-ups end one by one, so there are few runs."""
    missing: NDArray[Any] = np.isnan(values)
    changes = np.flatnonzero((missing[1:] != missing[:-1]).any(axis=1)) + 1
    starts = [0, *changes.tolist()]
    for start, end in zip(starts, [*starts[1:], len(values)], strict=True):
        if end > start:
            yield start, end
