"""Which bars carry which detections: what a chart marks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.instants import aware, plain
from tickstock_pipeline.storage.tables import DAILY_PATTERNS


@dataclass(frozen=True, slots=True)
class StoredMark:
    """A detection that holds: its bar, its pattern, and +1 bullish, 0 neutral or -1 bearish."""

    bar_time: np.datetime64
    pattern: str
    direction: int


_DIRECTIONS = {"bullish": 1, "bearish": -1}


def read_marks(
    connection: sa.Connection, timeframe: Timeframe, symbols: Sequence[str], first: np.datetime64, last: np.datetime64
) -> dict[str, list[StoredMark]]:
    """Our detections on bars from ``first`` to ``last``, by symbol and in order of time; retracted ones left out."""
    table = DAILY_PATTERNS.c
    rows = connection.execute(
        sa.select(table.symbol, table.bar_time, table.pattern_type, table.direction)
        .where(
            table.symbol == sa.any_(sa.literal(list(symbols), sa.ARRAY(sa.Text))),
            table.timeframe == timeframe.value,
            table.bar_time.between(aware(first), aware(last)),
            table.retracted_at.is_(None),
        )
        .order_by(table.symbol, table.bar_time, table.pattern_type)
    )
    marks: dict[str, list[StoredMark]] = {}
    for symbol, bar_time, pattern, direction in rows:
        marks.setdefault(symbol, []).append(StoredMark(plain(bar_time), pattern, _DIRECTIONS.get(direction, 0)))
    return marks
