"""Bars into their table and out again: what the product does, next to the driver's rows and to Arrow."""

import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import sqlalchemy as sa
from rich.table import Table

from benchmarks.database import adbc_driver, database, libpq_url, settle, show
from benchmarks.random_walks import daily_bars
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.bars import read_bars, write_bars
from tickstock_pipeline.storage.engine import driver_cursor

SYMBOLS = 200
FIRST_YEAR, LAST_YEAR = 2004, 2013
REPEATS = 5

_QUERY = "SELECT symbol, date, open, high, low, close, volume FROM ohlcv_daily ORDER BY symbol, date"


def measure() -> list[Table]:
    """Rows a second, best of several."""
    series = daily_bars(SYMBOLS, FIRST_YEAR, LAST_YEAR)
    n_rows = sum(map(len, series))
    adbc = adbc_driver()
    table = Table(title=f"{n_rows:,} daily bars of {SYMBOLS} symbols")
    table.add_column("")
    table.add_column("rows/s", justify="right")
    with database() as engine:
        contestants: dict[str, Callable[[], object]] = {
            "writing new bars: binary COPY, upsert, ledger": lambda: _write(engine, series),
            "writing the same bars again": lambda: _write(engine, series),
            "reading: binary COPY into numpy": lambda: _read(engine, series),
            "reading: psycopg2's rows into numpy": lambda: _read_rows(engine),
        }
        if adbc is not None:
            contestants["reading: ADBC into Arrow"] = lambda: _read_arrow(engine, adbc)
        else:
            table.caption = "Arrow is left out: pip install adbc-driver-postgresql pyarrow"
        for name, job in contestants.items():
            is_first_write = "new" in name
            fastest = min(_seconds(engine, job, is_first_write) for _ in range(REPEATS))
            table.add_row(name, f"{n_rows / fastest:,.0f}")
    return [table]


def _seconds(engine: sa.Engine, job: Callable[[], object], is_first_write: bool) -> float:
    if is_first_write:
        with engine.begin() as connection:
            connection.exec_driver_sql("TRUNCATE ohlcv_daily, bar_ledger, bar_series")
        settle(engine)
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


def _write(engine: sa.Engine, series: list[Bars]) -> None:
    with engine.begin() as connection:
        write_bars(connection, series, "benchmark")


def _read(engine: sa.Engine, series: list[Bars]) -> dict[str, Bars]:
    with engine.connect() as connection:
        return read_bars(connection, Timeframe.DAILY, [bars.symbol for bars in series])


def _read_rows(engine: sa.Engine) -> dict[str, Any]:
    with engine.connect() as connection, driver_cursor(connection) as cursor:
        cursor.execute(_QUERY)
        columns = zip(*cursor.fetchall(), strict=True)
        names = ("symbol", "time", "open", "high", "low", "close", "volume")
        return {name: np.array(values) for name, values in zip(names, columns, strict=True)}


def _read_arrow(engine: sa.Engine, adbc: ModuleType) -> object:
    with adbc.connect(libpq_url(engine)) as connection, connection.cursor() as cursor:
        cursor.execute(_QUERY)
        return cursor.fetch_arrow_table()


if __name__ == "__main__":
    show(measure())
