"""One row of indicator values a bar, in the table ``bar_indicators``.

A row holds an array; its layout names the outputs, and the definitions that they belong to. NaN, which means that there
is no value, is stored as NULL.
"""

from collections.abc import Iterator, Sequence
from uuid import uuid4

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy.dialects.postgresql import insert

from tickstock_pipeline.analysis import DefinitionSet
from tickstock_pipeline.market.bar import FloatArray
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage import binary_copy
from tickstock_pipeline.storage.analysed_window import WINDOWS, AnalysedWindow, window_parameters
from tickstock_pipeline.storage.new_rows import copied, new_and_known
from tickstock_pipeline.storage.tables import INDICATOR_LAYOUTS

_COLUMNS = ("symbol", "timeframe", "time", "layout_id", "values")
_IN_WINDOW = "stored.time BETWEEN replaced.first_time AND replaced.last_time"


def write_bar_indicators(
    connection: sa.Connection, definitions: DefinitionSet, items: Sequence[AnalysedWindow]
) -> tuple[int, int]:
    """Replace the rows of the items' windows.

    Returns
    -------
    How many rows were inserted or had other values, and how many were deleted since their bar is gone.
    """
    layout = layout_id(connection, definitions)
    new, known = new_and_known(connection, definitions.timeframe, items, "bar_indicators", _IN_WINDOW)
    written = deleted = 0
    if new:
        n_copied = copied(connection, lambda: _copy_into(connection, "bar_indicators", layout, new))
        if n_copied is None:
            known = list(items)
        else:
            written = n_copied
    if known:
        replaced, deleted = _replace(connection, definitions.timeframe, layout, known)
        written += replaced
    return written, deleted


def _copy_into(connection: sa.Connection, table: str, layout: int, items: Sequence[AnalysedWindow]) -> int:
    return binary_copy.copy_in(connection, table, _COLUMNS, _encoded(layout, items))


def _replace(
    connection: sa.Connection, timeframe: Timeframe, layout: int, items: Sequence[AnalysedWindow]
) -> tuple[int, int]:
    staging = f"new_indicators_{uuid4().hex}"
    columns = ", ".join(_COLUMNS)
    connection.exec_driver_sql(
        f"CREATE TEMPORARY TABLE {staging} ON COMMIT DROP AS SELECT {columns} FROM bar_indicators WITH NO DATA"
    )
    _copy_into(connection, staging, layout, items)
    written = connection.execute(
        sa.text(f"""
            INSERT INTO bar_indicators AS stored ({columns})
            SELECT {columns} FROM {staging} ORDER BY symbol, time
            ON CONFLICT (symbol, timeframe, time) DO UPDATE SET
                layout_id = excluded.layout_id, values = excluded.values
            WHERE (stored.layout_id, stored.values) IS DISTINCT FROM (excluded.layout_id, excluded.values)
        """)
    ).rowcount
    deleted = connection.execute(
        sa.text(f"""
            DELETE FROM bar_indicators stored USING ({WINDOWS}) replaced
            WHERE stored.symbol = replaced.symbol AND stored.timeframe = :timeframe
                AND {_IN_WINDOW}
                AND NOT EXISTS (
                    SELECT FROM {staging} new WHERE new.symbol = stored.symbol AND new.time = stored.time
                )
        """),
        {"timeframe": str(timeframe), **window_parameters(items)},
    ).rowcount
    return written, deleted


def layout_id(connection: sa.Connection, definitions: DefinitionSet) -> int:
    """The layout of the values of these definitions, made if it is not there yet; it is never removed."""
    indicators = [definition.name for definition in definitions.indicators for _ in definition.outputs]
    columns = {"outputs": list(definitions.outputs), "indicators": indicators}
    layouts = INDICATOR_LAYOUTS.c
    query = sa.select(layouts.id).where(
        layouts.outputs == columns["outputs"], layouts.indicators == columns["indicators"]
    )
    found = connection.scalar(query)
    if found is None:
        connection.execute(insert(INDICATOR_LAYOUTS).values(columns).on_conflict_do_nothing())
        found = connection.scalar(query)
    return int(found or 0)


def _encoded(layout: int, items: Sequence[AnalysedWindow]) -> Iterator[bytes]:
    for item in items:
        stored = item.stored
        time = binary_copy.instants(item.analysis.bars.time[stored])
        values = item.analysis.values[stored]
        if not values.shape[1]:
            continue
        symbol = binary_copy.encode_text(item.symbol)
        timeframe = binary_copy.encode_text(item.analysis.bars.timeframe.value)
        for start, end in _runs_of_equal_gaps(values):
            yield binary_copy.encode_rows(
                {
                    "symbol": symbol,
                    "timeframe": timeframe,
                    "time": (binary_copy.INT8, time[start:end]),
                    "layout": (binary_copy.INT4, layout),
                    "values": binary_copy.encode_arrays(values[start:end]),
                },
                end - start,
            )


def _runs_of_equal_gaps(values: FloatArray) -> Iterator[tuple[int, int]]:
    """Consecutive rows with values in the same columns: warm-ups end one by one, so there are few runs."""
    missing: NDArray[np.bool_] = np.isnan(values)
    if len(values) and not missing.any():
        yield 0, len(values)
        return
    changes = np.flatnonzero((missing[1:] != missing[:-1]).any(axis=1)) + 1
    starts = [0, *changes.tolist()]
    for start, end in zip(starts, [*starts[1:], len(values)], strict=True):
        if end > start:
            yield start, end
