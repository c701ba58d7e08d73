"""Rows of a few bars of many symbols: what the live path writes, each kind in one statement and one round trip.

Bulk goes through COPY and staging tables; at one bar a symbol, making those costs more than the rows. What ends up in
the tables is the same. Numbers travel as the shortest text that gives the same bits again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Self

import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.analysis import DefinitionSet
from tickstock_pipeline.market.bar import Bars, FloatArray
from tickstock_pipeline.market.timeframe import Timeframe
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


@dataclass(frozen=True, slots=True)
class ValueLayout:
    """Where the values of a definition set are stored.

    Attributes
    ----------
    id : of the row in ``indicator_layouts``
    members : each definition's name, as JSON has it, with its outputs' names and columns
    """

    id: int
    members: tuple[tuple[str, tuple[tuple[str, int], ...]], ...]

    @classmethod
    def of(cls, definitions: DefinitionSet, layout: int) -> Self:
        """The layout of a definition set, whose outputs have a row in ``indicator_layouts``."""
        column = 0
        members = []
        for definition in definitions.indicators:
            outputs = tuple((_escaped(name), column + at) for at, name in enumerate(definition.outputs))
            members.append((_escaped(definition.name), outputs))
            column += len(outputs)
        return cls(layout, tuple(members))


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
    definitions: DefinitionSet,
    layout: ValueLayout,
    keys: Sequence[BarKey],
    values: FloatArray,
    newest: Mapping[str, int],
) -> None:
    """Store the indicator values of bars, and those of each symbol's newest bar as its latest.

    Parameters
    ----------
    layout : of the definitions' outputs
    keys, values : (n_bars,) and (n_bars, n_outputs); NaN is no value
    newest : by symbol, the position in ``keys`` of the bar that is the symbol's newest stored one
    """
    if not keys or not definitions.outputs:
        return
    texts = [list(map(repr, row)) for row in values.tolist()]
    objects = []
    incomplete = False
    for at in newest.values():
        row = texts[at]
        given = [f'"{name}": {{{inside}}}' for name, columns in layout.members if (inside := _inside(row, columns))]
        incomplete = incomplete or len(given) < len(layout.members)
        objects.append("{" + ", ".join(given) + "}")
    parameters: dict[str, Any] = {
        "symbols": [symbol for symbol, _ in keys],
        "times": _numbers(time for _, time in keys),
        "values": ["{" + ",".join(row).replace("nan", "NULL") + "}" for row in texts],
        "newest_symbols": list(newest),
        "newest_times": _numbers(keys[at][1] for at in newest.values()),
        "objects": objects,
        "timeframe": str(definitions.timeframe),
        "layout": layout.id,
    }
    connection.execute(_UPSERT_VALUES, parameters)
    if incomplete:
        connection.execute(_DELETE_LATEST, parameters)


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


def _inside(row: Sequence[str], columns: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f'"{name}": {row[at]}' for name, at in columns if row[at] != "nan")


def _escaped(name: str) -> str:
    return name.replace("\\", "\\\\").replace('"', '\\"')


def _numbers(values: Iterable[float]) -> str:
    """An array literal: one text instead of as many parameters."""
    return "{" + ",".join(map(repr, values)) + "}"


_UPSERT_VALUES = sa.text(f"""
    WITH latest AS (
        INSERT INTO daily_indicators AS stored (symbol, indicator_type, timeframe, value_data, bar_time)
        SELECT new.symbol, one.key, :timeframe, one.value, {INSTANT.format("new.time")}
        FROM unnest(cast(:newest_symbols AS text[]), cast(:newest_times AS bigint[]), cast(:objects AS text[]))
            AS new (symbol, time, objects)
        CROSS JOIN LATERAL jsonb_each(cast(new.objects AS jsonb)) one
        ORDER BY 1, 2
        ON CONFLICT (symbol, timeframe, indicator_type) DO UPDATE SET
            value_data = excluded.value_data, bar_time = excluded.bar_time, calculation_timestamp = now(),
            expiration_date = NULL
        WHERE (stored.value_data, stored.bar_time) IS DISTINCT FROM (excluded.value_data, excluded.bar_time)
    )
    INSERT INTO bar_indicators AS stored (symbol, timeframe, time, layout_id, values)
    SELECT symbol, :timeframe, {INSTANT.format("time")}, :layout, cast(row_values AS float8[])
    FROM unnest(cast(:symbols AS text[]), cast(:times AS bigint[]), cast(:values AS text[]))
        AS new (symbol, time, row_values)
    ORDER BY symbol, time
    ON CONFLICT (symbol, timeframe, time) DO UPDATE SET layout_id = excluded.layout_id, values = excluded.values
    WHERE (stored.layout_id, stored.values) IS DISTINCT FROM (excluded.layout_id, excluded.values)
""")
# a value that the symbol's newest bar does not have is not the latest of anything
_DELETE_LATEST = sa.text("""
    DELETE FROM daily_indicators stored
    USING unnest(cast(:newest_symbols AS text[]), cast(:objects AS text[])) AS new (symbol, objects)
    WHERE stored.symbol = new.symbol AND stored.timeframe = :timeframe AND stored.bar_time IS NOT NULL
        AND NOT cast(new.objects AS jsonb) ? stored.indicator_type
""")
