"""Imports: bars from a provider that answers at once, through validation's result, into the tables and the ledgers.

The provider serves arrays, so that what is measured is ours: requests, batches, COPY, upsert, triggers, provenance.
"""

import resource
import subprocess
import sys
import time
from datetime import UTC, date, datetime

import numpy as np
import sqlalchemy as sa
from rich.table import Table

from benchmarks.database import database, settle, show
from tickstock_pipeline.batch.imports import import_bars
from tickstock_pipeline.batch.outcome import failures
from tickstock_pipeline.market.adjustment import Dividend, Split
from tickstock_pipeline.market.bar import Bars, empty_bars
from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.base import FetchedBars, Listing

SYMBOLS = 100
MONTH = (date(2024, 3, 1), date(2024, 3, 31))
DAYS_OF_SYMBOLS = 500
YEAR = (date(2024, 1, 1), date(2024, 12, 31))
WEEK = (date(2024, 3, 4), date(2024, 3, 8))
MEMORY_OF = (50, 200, 500)
NOW = datetime(2025, 6, 2, tzinfo=UTC)


class ArraysProvider:
    """The same made-up walk for every symbol, cut to what is asked for."""

    name = "arrays"
    timeframes = frozenset({Timeframe.MINUTE, Timeframe.DAILY})
    concurrency = 4

    def __init__(self, first: date, last: date) -> None:
        calendar = trading_calendar()
        sessions = calendar.sessions(first, last)
        opened = zip(calendar.opening(sessions), calendar.closing(sessions), strict=True)
        self._times = {
            Timeframe.DAILY: sessions.astype("datetime64[us]"),
            Timeframe.MINUTE: np.concatenate([np.arange(*span, np.timedelta64(1, "m")) for span in opened]),
        }

    def fetch_bars(self, symbol: str, timeframe: Timeframe, first: date, last: date) -> FetchedBars:
        """See ``HistoricalProvider``; fresh arrays each time, as a real answer would be."""
        times = self._times[timeframe]
        within = (times >= np.datetime64(first)) & (times < np.datetime64(last) + np.timedelta64(1, "D"))
        time_ = times[within]
        if not len(time_):
            return FetchedBars(empty_bars(symbol, timeframe))
        random = np.random.default_rng(sum(symbol.encode()))
        close = 100 * np.exp(np.cumsum(random.normal(0, 0.001, len(time_))))
        volume = random.integers(100, 100_000, len(time_))
        return FetchedBars(Bars(symbol, timeframe, time_, close, close + 0.1, close - 0.1, close, volume))

    def fetch_splits(self, symbol: str) -> tuple[Split, ...]:
        """None."""
        return ()

    def fetch_dividends(self, symbol: str) -> tuple[Dividend, ...]:
        """None."""
        return ()

    def earliest(self, timeframe: Timeframe, today: date) -> date | None:
        """Says nothing about that."""
        return None

    def catalogue(self) -> tuple[Listing, ...]:
        """Lists nothing."""
        return ()


def measure() -> list[Table]:
    """Rows a second of first and of repeated imports, and the process's memory by number of symbols."""
    return [_throughput(), _memory()]


def _throughput() -> Table:
    table = Table(title="Imports from a provider that answers at once")
    for column in ("", "rows", "rows/s, new", "rows/s, again"):
        table.add_column(column, justify="right" if column else "left")
    cases = (
        (f"{SYMBOLS} symbols, a month of minutes", Timeframe.MINUTE, SYMBOLS, MONTH),
        (f"{DAYS_OF_SYMBOLS} symbols, a year of days", Timeframe.DAILY, DAYS_OF_SYMBOLS, YEAR),
    )
    with database() as engine:
        for name, timeframe, n_symbols, span in cases:
            provider = ArraysProvider(*span)
            settle(engine)
            n_rows, new = _import(engine, provider, timeframe, n_symbols)
            _, again = _import(engine, provider, timeframe, n_symbols)
            table.add_row(name, f"{n_rows:,}", f"{n_rows / new:,.0f}", f"{n_rows / again:,.0f}")
    return table


def _import(engine: sa.Engine, provider: ArraysProvider, timeframe: Timeframe, n_symbols: int) -> tuple[int, float]:
    partitions = [Partition(f"S{number:04}", 2024) for number in range(n_symbols)]
    begin = time.perf_counter()
    outcomes = import_bars(engine, provider, trading_calendar(), timeframe, partitions, now=NOW)
    seconds = time.perf_counter() - begin
    assert not failures(outcomes)
    return sum(int(outcome.facts["bars_fetched"]) for outcome in outcomes), seconds


def _memory() -> Table:
    table = Table(title="Peak memory of an import of a week of minutes")
    for column in ("symbols", "MB"):
        table.add_column(column, justify="right")
    for n_symbols in MEMORY_OF:
        command = [sys.executable, "-m", "benchmarks.imports", str(n_symbols)]
        peak = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        table.add_row(f"{n_symbols:,}", f"{peak:.0f}")
    return table


def _peak_megabytes(n_symbols: int) -> float:
    with database() as engine:
        _import(engine, ArraysProvider(*WEEK), Timeframe.MINUTE, n_symbols)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(_peak_megabytes(int(sys.argv[1])))
    else:
        show(measure())
