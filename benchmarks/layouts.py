"""Layouts of ``bar_indicators`` and ways to fill them, side by side.

Three layouts: a JSONB document a bar, an array a bar whose layout names the outputs, a column an output. Each is
filled through text COPY, binary COPY and, where ADBC is installed, an Arrow ingest, in transactions of as many rows as
a run of 50 partitions has. Building the rows out of numpy arrays is part of the time.
"""

import io
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import sqlalchemy as sa
from rich.table import Table

from benchmarks.database import adbc_driver, database, libpq_url, settle, show
from benchmarks.random_walks import daily_bars
from tickstock_pipeline.analysis import Analysis, DefinitionSet, analyse, definition_set
from tickstock_pipeline.indicators.defaults import DEFAULT_INDICATORS
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage import binary_copy
from tickstock_pipeline.storage.engine import driver_cursor

SYMBOLS = 500
ROWS_A_SYMBOL = 252
SYMBOLS_A_TRANSACTION = 50
REPEATS = 3
READS = 50

_KEYS = ("symbol", "timeframe", '"time"')
_KEY_COLUMNS = 'symbol text NOT NULL, timeframe text NOT NULL, "time" timestamptz NOT NULL'
_PRIMARY_KEY = 'PRIMARY KEY (symbol, timeframe, "time")'
_JSONB_VERSION = b"\x01"


@dataclass(frozen=True)
class Layout:
    """A table, and rows for it in each format.

    Attributes
    ----------
    columns : those after the key
    text, binary : (analysis, outputs) -> rows for COPY
    new_output : the statement that makes room for one more output
    """

    name: str
    columns: Callable[[Sequence[str]], dict[str, str]]
    text: Callable[[Analysis], str]
    binary: Callable[[Analysis], Iterator[bytes]]
    new_output: str


def measure() -> list[Table]:
    """All layouts, filled with the same values."""
    definitions = definition_set(Timeframe.DAILY, DEFAULT_INDICATORS, ())
    analyses = _analyses(definitions)
    adbc = adbc_driver()
    table = Table(title=f"{SYMBOLS * ROWS_A_SYMBOL:,} rows of {len(definitions.outputs)} values")
    for heading in (
        "layout",
        "COPY text\nrows/s",
        "COPY binary\nrows/s",
        "Arrow\nrows/s",
        "bytes a row,\nindex included",
        "a symbol's\nyear, ms",
        f"latest of\n{SYMBOLS}, ms",
        "room for one\nmore, ms",
    ):
        table.add_column(heading, justify="left" if heading == "layout" else "right")
    with database() as engine:
        for layout in LAYOUTS:
            table.add_row(layout.name, *_measure(engine, layout, analyses, adbc))
    if adbc is None:
        table.caption = "Arrow is left out: pip install adbc-driver-postgresql pyarrow"
    return [table]


def _analyses(definitions: DefinitionSet) -> list[Analysis]:
    found = []
    for bars in daily_bars(SYMBOLS, 2011, 2013):
        analysed = analyse(bars, definitions)
        kept = slice(-ROWS_A_SYMBOL, None)
        found.append(Analysis(bars[kept], analysed.values[kept], analysed.outputs, ()))
    return found


def _measure(engine: sa.Engine, layout: Layout, analyses: Sequence[Analysis], adbc: ModuleType | None) -> list[str]:
    outputs = analyses[0].outputs
    columns = layout.columns(outputs)
    names = ", ".join([*_KEYS, *(f'"{name}"' for name in columns)])

    def text(portion: Sequence[Analysis]) -> None:
        rows = io.StringIO("".join(layout.text(one) for one in portion))
        with engine.begin() as connection, driver_cursor(connection) as cursor:
            cursor.copy_expert(f"COPY candidate ({names}) FROM STDIN", rows)

    def binary(portion: Sequence[Analysis]) -> None:
        with engine.begin() as connection:
            binary_copy.copy_in(
                connection, "candidate", names.split(", "), (rows for one in portion for rows in layout.binary(one))
            )

    written = [_write(engine, columns, analyses, text)]
    if adbc is None or layout is JSONB:
        arrow = "-" if adbc is None else "no such type"
    else:
        arrow = f"{_write_arrow(engine, columns, analyses, adbc):,.0f}"
    written.append(_write(engine, columns, analyses, binary))
    with engine.connect() as connection:
        n_bytes = connection.execute(sa.text("SELECT pg_total_relation_size('candidate')")).scalar_one()
    year = _time_of(engine, f"SELECT {names} FROM candidate WHERE symbol = :symbol AND timeframe = :timeframe", READS)
    latest = _time_of(
        engine,
        f"""
        SELECT latest.* FROM unnest(cast(:symbols AS text[])) wanted CROSS JOIN LATERAL (
            SELECT {names} FROM candidate WHERE symbol = wanted AND timeframe = :timeframe
            ORDER BY "time" DESC LIMIT 1) latest
        """,
        READS // 5,
    )
    room = _time_of(engine, layout.new_output, 5, is_query=False)
    return [
        *(f"{rows_per_s:,.0f}" for rows_per_s in written),
        arrow,
        f"{n_bytes / (SYMBOLS * ROWS_A_SYMBOL):.0f}",
        *(f"{1000 * seconds:.2f}" for seconds in (year, latest, room)),
    ]


def _create(engine: sa.Engine, columns: dict[str, str]) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE IF EXISTS candidate, candidate_layouts")
        connection.exec_driver_sql("CREATE TABLE candidate_layouts (id serial PRIMARY KEY, outputs text[] NOT NULL)")
        connection.exec_driver_sql("INSERT INTO candidate_layouts (outputs) VALUES ('{}')")
        given = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
        connection.exec_driver_sql(f"CREATE TABLE candidate ({_KEY_COLUMNS}, {given}, {_PRIMARY_KEY})")
    settle(engine)


def _write(
    engine: sa.Engine,
    columns: dict[str, str],
    analyses: Sequence[Analysis],
    write: Callable[[Sequence[Analysis]], None],
) -> float:
    """Rows a second of the fastest pass; the table is left full."""
    fastest = 0.0
    for _ in range(REPEATS):
        _create(engine, columns)
        start = time.perf_counter()
        for first in range(0, len(analyses), SYMBOLS_A_TRANSACTION):
            write(analyses[first : first + SYMBOLS_A_TRANSACTION])
        fastest = max(fastest, len(analyses) * ROWS_A_SYMBOL / (time.perf_counter() - start))
    return fastest


def _write_arrow(engine: sa.Engine, columns: dict[str, str], analyses: Sequence[Analysis], adbc: ModuleType) -> float:
    import pyarrow

    with adbc.connect(libpq_url(engine)) as connection:

        def write(portion: Sequence[Analysis]) -> None:
            values = np.concatenate([one.values for one in portion])
            data: dict[str, Any] = {
                "symbol": np.repeat([one.bars.symbol for one in portion], ROWS_A_SYMBOL),
                "timeframe": np.full(len(values), "daily"),
                "time": pyarrow.array(
                    np.concatenate([one.bars.time for one in portion]), pyarrow.timestamp("us", "UTC")
                ),
            }
            if "values" in columns:
                flat = pyarrow.array(values.ravel(), from_pandas=True)
                offsets = np.arange(0, values.size + 1, values.shape[1], dtype=np.int32)
                data |= {
                    "layout_id": np.ones(len(values), np.int32),
                    "values": pyarrow.ListArray.from_arrays(offsets, flat),
                }
            else:
                data |= {
                    name: pyarrow.array(values[:, column], from_pandas=True) for column, name in enumerate(columns)
                }
            with connection.cursor() as cursor:
                cursor.adbc_ingest("candidate", pyarrow.table(data), mode="append")
            connection.commit()

        return _write(engine, columns, analyses, write)


def _time_of(engine: sa.Engine, statement: str, times: int, *, is_query: bool = True) -> float:
    """Median seconds of a statement and of fetching its rows, rolled back each time."""
    symbols = [f"S{number:04d}" for number in range(SYMBOLS)]
    seconds = []
    for repeat in range(times):
        with engine.connect() as connection:
            start = time.perf_counter()
            found = connection.execute(
                sa.text(statement),
                {"symbol": symbols[repeat % SYMBOLS], "timeframe": "daily", "symbols": symbols} if is_query else {},
            )
            if is_query:
                found.all()
            seconds.append(time.perf_counter() - start)
            connection.rollback()
    return float(np.median(seconds))


def _keys_as_text(analysis: Analysis) -> list[str]:
    times = np.datetime_as_string(analysis.bars.time, timezone="UTC").tolist()
    return [f"{analysis.bars.symbol}\tdaily\t{moment}\t" for moment in times]


def _keys(analysis: Analysis) -> dict[str, Any]:
    return {
        "symbol": binary_copy.encode_text(analysis.bars.symbol),
        "timeframe": binary_copy.encode_text("daily"),
        "time": (binary_copy.INT8, binary_copy.instants(analysis.bars.time)),
    }


def _documents(analysis: Analysis) -> list[str]:
    return [json.dumps(dict(zip(analysis.outputs, row, strict=True))) for row in analysis.values[:].tolist()]


def _json_as_text(analysis: Analysis) -> str:
    return "".join(f"{key}{row}\n" for key, row in zip(_keys_as_text(analysis), _documents(analysis), strict=True))


def _json_as_binary(analysis: Analysis) -> Iterator[bytes]:
    symbol = analysis.bars.symbol.encode()
    before = b"\x00\x04" + len(symbol).to_bytes(4) + symbol + (5).to_bytes(4) + b"daily" + (8).to_bytes(4)
    counts = binary_copy.instants(analysis.bars.time).astype(">i8").tobytes()
    for position, document in enumerate(_documents(analysis)):
        value = _JSONB_VERSION + document.encode()
        yield before + counts[8 * position : 8 * position + 8] + len(value).to_bytes(4) + value


def _array_as_text(analysis: Analysis) -> str:
    rows = (",".join(map(repr, row)) for row in analysis.values[:].tolist())
    return "".join(f"{key}1\t{{{row}}}\n" for key, row in zip(_keys_as_text(analysis), rows, strict=True))


def _array_as_binary(analysis: Analysis) -> Iterator[bytes]:
    yield binary_copy.encode_rows(
        {
            **_keys(analysis),
            "layout_id": (binary_copy.INT4, np.ones(len(analysis.bars), np.int64)),
            "values": binary_copy.encode_arrays(analysis.values[:]),
        },
        len(analysis.bars),
    )


def _columns_as_text(analysis: Analysis) -> str:
    rows = ("\t".join(map(repr, row)) for row in analysis.values[:].tolist())
    return "".join(f"{key}{row}\n" for key, row in zip(_keys_as_text(analysis), rows, strict=True))


def _columns_as_binary(analysis: Analysis) -> Iterator[bytes]:
    values = {name: (binary_copy.FLOAT8, analysis.values[:][:, column]) for column, name in enumerate(analysis.outputs)}
    yield binary_copy.encode_rows({**_keys(analysis), **values}, len(analysis.bars))


_NEW_LAYOUT = "INSERT INTO candidate_layouts (outputs) VALUES ('{one,more}')"

JSONB = Layout("JSONB", lambda outputs: {"values": "jsonb NOT NULL"}, _json_as_text, _json_as_binary, "SELECT 1")
LAYOUTS = (
    JSONB,
    Layout(
        "float8[] + layout, foreign key",
        lambda outputs: {
            "layout_id": "integer NOT NULL REFERENCES candidate_layouts (id)",
            "values": "float8[] NOT NULL",
        },
        _array_as_text,
        _array_as_binary,
        _NEW_LAYOUT,
    ),
    Layout(
        "float8[] + layout",
        lambda outputs: {"layout_id": "integer NOT NULL", "values": "float8[] NOT NULL"},
        _array_as_text,
        _array_as_binary,
        _NEW_LAYOUT,
    ),
    Layout(
        "a column an output",
        lambda outputs: dict.fromkeys(outputs, "float8"),
        _columns_as_text,
        _columns_as_binary,
        "ALTER TABLE candidate ADD COLUMN one_more float8",
    ),
)


if __name__ == "__main__":
    show(measure())
