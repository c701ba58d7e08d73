"""Rows of a few bars of many symbols: what the live path writes, each kind in one statement and one round trip.

Bulk goes through COPY and staging tables; at one bar a symbol, making those costs more than the rows. What ends up in
the tables is the same. Numbers travel as the shortest text that gives the same bits again.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.market.bar import Bars, FloatArray
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.latest_indicators import DELETE_OTHERS, UPSERT_LATEST
from tickstock_pipeline.storage.tables import BARS, key_column

_DAY = 86_400_000_000
INSTANT = "timestamptz '1970-01-01 00:00+00' + {} * interval '1 microsecond'"
"""Microseconds since 1970 as TIMESTAMPTZ, exactly."""


class BarRow(NamedTuple):
    """One bar to store; ``time`` is its key in microseconds since 1970."""

    symbol: str
    time: int
    open: float
    high: float
    low: float
    close: float
    volume: int
    source: str


def bar_rows(bars: Bars, source: str) -> list[BarRow]:
    """Bars as rows of one source."""
    times = bars.time.astype("datetime64[us]").astype(np.int64).tolist()
    columns = (getattr(bars, name).tolist() for name in ("open", "high", "low", "close", "volume"))
    return [
        BarRow(bars.symbol, time, open_, high, low, close, volume, source)
        for time, open_, high, low, close, volume in zip(times, *columns, strict=True)
    ]


BarKey = tuple[str, int]
"""Symbol, and time in microseconds since 1970."""


def upsert_bars(
    connection: sa.Connection, timeframe: Timeframe, rows: Sequence[BarRow], *, only_over_same_source: bool = False
) -> dict[BarKey, bool]:
    """Store bars of one timeframe; those that are stored already are left alone.

    Parameters
    ----------
    rows : valid bars, no key twice
    only_over_same_source : leave a stored bar of another source as it is: a provider's own bar wins over a derived one

    Returns
    -------
    The bars that were written, and whether each is new; False: it had other values.
    """
    if not rows:
        return {}
    symbols, times, opens, highs, lows, closes, volumes, sources = zip(*rows, strict=True)
    written = connection.execute(
        _upsert(timeframe),
        {
            "symbols": list(symbols),
            "times": _numbers(times),
            "opens": _numbers(opens),
            "highs": _numbers(highs),
            "lows": _numbers(lows),
            "closes": _numbers(closes),
            "volumes": _numbers(volumes),
            "sources": list(sources),
            "only_same": only_over_same_source,
        },
    )
    return {(symbol, int(time)): is_new for symbol, time, is_new in written}


def write_values(
    connection: sa.Connection,
    timeframe: Timeframe,
    layout: int,
    keys: Sequence[BarKey],
    values: FloatArray,
    newest: Iterable[int],
) -> None:
    """Store the indicator values of bars, and those of each symbol's newest bar as its latest.

    Parameters
    ----------
    layout : what the columns of ``values`` are, see :func:`tickstock_pipeline.storage.bar_indicators.layout_id`
    keys, values : (n_bars,) and (n_bars, n_outputs); NaN is no value
    newest : positions in ``keys`` of the bars that are their symbols' newest stored ones
    """
    if not keys or not values.shape[1]:
        return
    is_newest = ["f"] * len(keys)
    for at in newest:
        is_newest[at] = "t"
    texts = [",".join(map(repr, row)) for row in values.tolist()]
    if np.isnan(values).any():
        texts = [text.replace("nan", "NULL") for text in texts]
    connection.execute(
        _UPSERT_VALUES,
        {
            "symbols": [symbol for symbol, _ in keys],
            "times": _numbers(time for _, time in keys),
            "values": ["{" + text + "}" for text in texts],
            "newest": "{" + ",".join(is_newest) + "}",
            "timeframe": str(timeframe),
            "layout": layout,
        },
    )


@lru_cache
def _upsert(timeframe: Timeframe) -> sa.TextClause:
    table, key = BARS[timeframe].name, f'"{key_column(timeframe).name}"'
    values = ("open", "high", "low", "close", "volume")
    if timeframe.is_intraday:
        given_key, returned_key = INSTANT.format("time"), f"(extract(epoch FROM {key}) * 1000000)::bigint"
    else:
        given_key, returned_key = f"date '1970-01-01' + (time / {_DAY})::int", f"({key} - date '1970-01-01') * {_DAY}"
    return sa.text(f"""
        INSERT INTO {table} AS bar (symbol, {key}, {", ".join(values)}, source)
        SELECT symbol, {given_key}, {", ".join(values)}, source FROM unnest(
            cast(:symbols AS text[]), cast(:times AS bigint[]), cast(:opens AS float8[]),
            cast(:highs AS float8[]), cast(:lows AS float8[]), cast(:closes AS float8[]),
            cast(:volumes AS bigint[]), cast(:sources AS text[])
        ) AS new (symbol, time, {", ".join(values)}, source) ORDER BY symbol, time
        ON CONFLICT (symbol, {key}) DO UPDATE SET
            {", ".join(f"{name} = excluded.{name}" for name in values)}, source = excluded.source
        WHERE ({", ".join(f"bar.{name}" for name in values)})
            IS DISTINCT FROM ({", ".join(f"excluded.{name}" for name in values)})
            AND (NOT :only_same OR bar.source = excluded.source)
        RETURNING symbol, {returned_key}, xmax = 0
    """)


def _numbers(values: Iterable[float]) -> str:
    """An array literal: one text instead of as many parameters."""
    return "{" + ",".join(map(repr, values)) + "}"


_UPSERT_VALUES = sa.text(f"""
    WITH given AS MATERIALIZED (
        SELECT symbol, {INSTANT.format("given_time")} AS "time", :layout AS layout_id,
            cast(given_values AS float8[]) AS "values", is_newest
        FROM unnest(
            cast(:symbols AS text[]), cast(:times AS bigint[]), cast(:values AS text[]), cast(:newest AS bool[])
        ) AS new (symbol, given_time, given_values, is_newest)
    ), newest AS (
        SELECT symbol, "time", layout_id, "values" FROM given WHERE is_newest
    ), replaced AS ({DELETE_OTHERS}), latest AS ({UPSERT_LATEST})
    INSERT INTO bar_indicators AS stored (symbol, timeframe, "time", layout_id, "values")
    SELECT symbol, :timeframe, "time", layout_id, "values" FROM given ORDER BY symbol, "time"
    ON CONFLICT (symbol, timeframe, time) DO UPDATE SET layout_id = excluded.layout_id, "values" = excluded."values"
    WHERE (stored.layout_id, stored."values") IS DISTINCT FROM (excluded.layout_id, excluded."values")
""")
