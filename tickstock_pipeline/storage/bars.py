"""Bars in and out of PostgreSQL, in bulk.

Bars of a stretch of time of which nothing is stored are copied straight into their table, which is twice as fast as
what the others need: COPY into a temporary table, then one upsert of what differs. The triggers of the bar tables keep
the ledger. Reading is binary COPY. All carry float64 bit for bit.
"""

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage import binary_copy
from tickstock_pipeline.storage.instants import aware_all
from tickstock_pipeline.storage.new_rows import copied
from tickstock_pipeline.storage.tables import BARS, key_column

DERIVED = "derived:"
"""What the source of a bar that is rolled up from finer ones begins with."""

_VALUES = ("open", "high", "low", "close", "volume")


class WriteCounts(NamedTuple):
    """What a write did: rows that were new, rows that had other values, rows that were there already."""

    inserted: int
    updated: int
    unchanged: int


def write_bars(
    connection: sa.Connection, series: Sequence[Bars], source: str, *, yields_to: str | None = None
) -> WriteCounts:
    """Upsert bars of one timeframe, all symbols together, in the caller's transaction.

    A bar whose prices and volume are already stored is not written, whatever its source. A derived bar never replaces
    one that somebody gave; one that is given takes the place of a derived bar, also where both say the same.

    Parameters
    ----------
    series : valid bars (see ``market.bar.refusal_reasons``), one item a symbol
    source : the provider, or ``derived:<timeframe>``
    yields_to : a source whose stored bars stay as they are

    Raises
    ------
    ValueError
        If the series have several timeframes, or a symbol twice.
    """
    series = sorted((bars for bars in series if len(bars)), key=lambda bars: bars.symbol)
    if not series:
        return WriteCounts(0, 0, 0)
    timeframe = _only_timeframe(series)
    known = _symbols_with_bars(connection, timeframe, series)
    new = [bars for bars in series if bars.symbol not in known]
    n_copied = copied(connection, lambda: _copy(connection, timeframe, new, source)) if new else 0
    if n_copied is None:
        return _upsert(connection, timeframe, series, source, yields_to)
    counts = _upsert(connection, timeframe, [bars for bars in series if bars.symbol in known], source, yields_to)
    return counts._replace(inserted=counts.inserted + n_copied)


def _symbols_with_bars(connection: sa.Connection, timeframe: Timeframe, series: Sequence[Bars]) -> set[str]:
    """The symbols that have a bar between the first and the last one of their series."""
    table, key = BARS[timeframe].name, key_column(timeframe).name
    key_type = "timestamptz" if timeframe.is_intraday else "date"
    # a subquery with a limit is looked up in the index series by series, whatever the statistics say
    query = sa.text(f"""
        SELECT symbol FROM unnest(cast(:symbols AS text[]), cast(:firsts AS {key_type}[]), cast(:lasts AS {key_type}[]))
            wanted (symbol, first, last)
        WHERE (
            SELECT true FROM {table} bar
            WHERE bar.symbol = wanted.symbol AND bar."{key}" BETWEEN wanted.first AND wanted.last LIMIT 1
        )
    """)
    bounds = {
        "symbols": [bars.symbol for bars in series],
        "firsts": [_bound(bars.time[0], timeframe, "") for bars in series],
        "lasts": [_bound(bars.time[-1], timeframe, "") for bars in series],
    }
    return set(connection.scalars(query, bounds))


def _copy(connection: sa.Connection, timeframe: Timeframe, series: Sequence[Bars], source: str) -> int:
    columns = ("symbol", f'"{key_column(timeframe).name}"', *_VALUES, "source")
    return binary_copy.copy_in(connection, BARS[timeframe].name, columns, _encoded(series, source))


def _upsert(
    connection: sa.Connection, timeframe: Timeframe, series: Sequence[Bars], source: str, yields_to: str | None
) -> WriteCounts:
    if not series:
        return WriteCounts(0, 0, 0)
    table, key = BARS[timeframe].name, f'"{key_column(timeframe).name}"'
    staging = f"new_bars_{uuid4().hex}"
    columns = ("symbol", key, *_VALUES)
    connection.exec_driver_sql(
        f"CREATE TEMPORARY TABLE {staging} ON COMMIT DROP AS SELECT {', '.join(columns)} FROM {table} WITH NO DATA"
    )
    binary_copy.copy_in(connection, staging, columns, _encoded(series))
    stored = ", ".join(f"bar.{name}" for name in _VALUES)
    given = ", ".join(f"excluded.{name}" for name in _VALUES)
    replaces = (
        f"({stored}) IS DISTINCT FROM ({given}) AND bar.source LIKE '{DERIVED}%'"
        if source.startswith(DERIVED)
        else f"(({stored}) IS DISTINCT FROM ({given}) OR bar.source LIKE '{DERIVED}%')"
        " AND bar.source IS DISTINCT FROM :yields_to"
    )
    # rows in key order: two writers of the same bars wait for each other instead of deadlocking
    inserted, updated = connection.execute(
        sa.text(f"""
            WITH written AS (
                INSERT INTO {table} AS bar ({", ".join(columns)}, source)
                SELECT {", ".join(columns)}, :source FROM {staging} ORDER BY symbol, {key}
                ON CONFLICT (symbol, {key}) DO UPDATE SET
                    {", ".join(f"{name} = excluded.{name}" for name in _VALUES)}, source = excluded.source
                WHERE {replaces}
                RETURNING xmax = 0 AS is_new
            )
            SELECT count(*) FILTER (WHERE is_new), count(*) FILTER (WHERE NOT is_new) FROM written
        """),
        {"source": source, "yields_to": yields_to},
    ).one()
    return WriteCounts(inserted, updated, sum(map(len, series)) - inserted - updated)


def delete_bars_except(
    connection: sa.Connection, kept: Bars, first: np.datetime64, last: np.datetime64, source: str
) -> int:
    """Delete a symbol's bars of ``source`` from ``first`` to ``last``, both included, other than those of ``kept``.

    Returns
    -------
    How many were deleted.
    """
    table, key = BARS[kept.timeframe], key_column(kept.timeframe)

    def keys(times: Sequence[np.datetime64] | np.ndarray[Any, Any]) -> list[Any]:
        found = aware_all(np.asarray(times, "datetime64[us]"))
        return list(found) if kept.timeframe.is_intraday else [time.date() for time in found]

    bounds = keys([first, last])
    statement = sa.delete(table).where(
        table.c.symbol == kept.symbol,
        table.c.source == source,
        key.between(*bounds),
        key != sa.all_(sa.literal(keys(kept.time), sa.ARRAY(key.type))),
    )
    return int(connection.execute(statement).rowcount)


def read_bars(
    connection: sa.Connection,
    timeframe: Timeframe,
    symbols: Sequence[str],
    first: np.datetime64 | date | None = None,
    last: np.datetime64 | date | None = None,
) -> dict[str, Bars]:
    """Stored bars, as traded.

    Parameters
    ----------
    first, last : the first and last key, both included; None is open. Dates for date-keyed bars; UTC instants (a
        date is its midnight) for intraday ones

    Returns
    -------
    An item for each symbol that has bars in the range, in the order asked for; oldest bar first.
    """
    symbols = list(dict.fromkeys(symbols))
    bounds = _bound(first, timeframe, "-infinity"), _bound(last, timeframe, "infinity")
    key_type = "timestamptz" if timeframe.is_intraday else "date"
    key = f'bar."{key_column(timeframe).name}"'
    rows = binary_copy.copy_out(
        connection,
        f"""
        SELECT wanted.position::int4 - 1, {key}, bar.open, bar.high, bar.low, bar.close, bar.volume
        FROM unnest(%s::text[]) WITH ORDINALITY wanted (symbol, position)
        JOIN {BARS[timeframe].name} bar USING (symbol)
        WHERE {key} BETWEEN %s::{key_type} AND %s::{key_type}
        """,
        [symbols, *bounds],
        {
            "position": binary_copy.INT4,
            "time": binary_copy.INT8 if timeframe.is_intraday else binary_copy.INT4,
            **dict.fromkeys(_VALUES[:-1], binary_copy.FLOAT8),
            "volume": binary_copy.INT8,
        },
    )
    return _split_by_symbol(rows, timeframe, symbols)


def _only_timeframe(series: Sequence[Bars]) -> Timeframe:
    timeframes = {bars.timeframe for bars in series}
    if len(timeframes) > 1:
        raise ValueError(f"bars of several timeframes in one write: {', '.join(sorted(timeframes))}")
    if len({bars.symbol for bars in series}) < len(series):
        raise ValueError("a symbol twice in one write")
    return timeframes.pop()


def _bound(time: np.datetime64 | date | None, timeframe: Timeframe, otherwise: str) -> str:
    if time is None:
        return otherwise
    if timeframe.is_intraday:
        return f"{np.datetime64(time).astype('datetime64[us]')}+00"
    return str(np.datetime64(time).astype("datetime64[D]"))


def _encoded(series: Sequence[Bars], source: str | None = None) -> Iterator[bytes]:
    of_source = {} if source is None else {"source": binary_copy.encode_text(source)}
    for bars in series:
        intraday = bars.timeframe.is_intraday
        yield binary_copy.encode_rows(
            {
                "symbol": binary_copy.encode_text(bars.symbol),
                "time": (
                    (binary_copy.INT8, binary_copy.instants(bars.time))
                    if intraday
                    else (binary_copy.INT4, binary_copy.days(bars.time))
                ),
                "open": (binary_copy.FLOAT8, bars.open),
                "high": (binary_copy.FLOAT8, bars.high),
                "low": (binary_copy.FLOAT8, bars.low),
                "close": (binary_copy.FLOAT8, bars.close),
                "volume": (binary_copy.INT8, bars.volume),
                **of_source,
            },
            len(bars),
        )


def _split_by_symbol(rows: Any, timeframe: Timeframe, symbols: Sequence[str]) -> dict[str, Bars]:
    decode = binary_copy.from_instants if timeframe.is_intraday else binary_copy.from_days
    position, time = rows["position"], decode(rows["time"])
    # cheaper here than ORDER BY there: what is read in key order is nearly sorted
    order = np.lexsort((time, position))
    position, time = position[order], time[order]
    columns = {name: rows[name][order].astype(np.float64) for name in _VALUES[:-1]}
    volume = rows["volume"][order].astype(np.int64)
    present, starts, lengths = np.unique(position, return_index=True, return_counts=True)
    return {
        symbols[which]: Bars(
            symbols[which],
            timeframe,
            time[start:end],
            columns["open"][start:end],
            columns["high"][start:end],
            columns["low"][start:end],
            columns["close"][start:end],
            volume[start:end],
        )
        for which, start, end in zip(present, starts, starts + lengths, strict=True)
    }
