"""Which bars carry which detections: what a chart marks."""

from collections.abc import Mapping, Sequence
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
        .where(_hold_between(timeframe, symbols, first, last))
        .order_by(table.symbol, table.bar_time, table.pattern_type)
    )
    marks: dict[str, list[StoredMark]] = {}
    for symbol, bar_time, pattern, direction in rows:
        marks.setdefault(symbol, []).append(StoredMark(plain(bar_time), pattern, _DIRECTIONS.get(direction, 0)))
    return marks


def count_marks(
    connection: sa.Connection, timeframe: Timeframe, symbols: Sequence[str], first: np.datetime64, last: np.datetime64
) -> dict[str, Mapping[str, int]]:
    """Symbol -> pattern -> how many detections on bars from ``first`` to ``last`` hold."""
    table = DAILY_PATTERNS.c
    rows = connection.execute(
        sa.select(table.symbol, table.pattern_type, sa.func.count())
        .where(_hold_between(timeframe, symbols, first, last))
        .group_by(table.symbol, table.pattern_type)
        .order_by(table.symbol, table.pattern_type)
    )
    counts: dict[str, dict[str, int]] = {}
    for symbol, pattern, count in rows:
        counts.setdefault(symbol, {})[pattern] = int(count)
    return {**counts}


def _hold_between(
    timeframe: Timeframe, symbols: Sequence[str], first: np.datetime64, last: np.datetime64
) -> sa.ColumnElement[bool]:
    table = DAILY_PATTERNS.c
    return sa.and_(
        table.symbol == sa.any_(sa.literal(list(symbols), sa.ARRAY(sa.Text))),
        table.timeframe == timeframe.value,
        table.bar_time.between(aware(first), aware(last)),
        # the instant of a bar lies within the day after its key; the index knows the instant
        table.detection_timestamp.between(aware(first), aware(last + np.timedelta64(1, "D"))),
        table.retracted_at.is_(None),
    )
