"""Analysis of history, end to end: bars in their table -> values, patterns and coverage in theirs, as Dagster runs it.

Dagster hands over chunks of 50 symbols and one year. Bars of the years before are stored too: they are the warm-up,
which is read and computed but neither written nor counted.
"""

import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context

import psutil
import sqlalchemy as sa
from rich.table import Table

from benchmarks.database import database, libpq_url, settle, show
from benchmarks.random_walks import daily_bars
from benchmarks.stopwatch import Place, split_times
from tickstock_pipeline.batch import analysis as batch
from tickstock_pipeline.batch import commit
from tickstock_pipeline.batch.outcome import Status
from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.patterns.candlestick import CANDLESTICKS
from tickstock_pipeline.patterns.registry import FUNCTIONS
from tickstock_pipeline.storage import analysis_store
from tickstock_pipeline.storage.bars import write_bars
from tickstock_pipeline.storage.engine import create_engine
from tickstock_pipeline.storage.tables import PATTERN_DEFINITIONS

SYMBOLS = 500
FIRST_YEAR, LAST_YEAR = 2011, 2013
PARTITIONS_A_RUN = 50
RUNS_AT_ONCE = 2
REPEATS = 4

_PARTS: dict[str, list[Place]] = {
    "ledger queries": [
        (batch, "read_definitions"),
        (batch, "stale_analysis"),
        (batch, "input_revisions"),
        (batch, "lock_inputs"),
    ],
    "reading bars": [(batch, "read_series")],
    "computing": [(batch, "_analyse")],
    "writing indicators": [(analysis_store, "write_bar_indicators")],
    "writing patterns": [(analysis_store, "write_detections")],
    "latest rows": [(analysis_store, "write_latest_indicators")],
    "coverage": [(batch, "record_coverage")],
    "commit": [(commit, "_in_transaction")],
}
_engine: sa.Engine | None = None
"""Of a process that is one of several."""
_RESULTS = ("bar_indicators", "daily_patterns", "latest_indicators", "analysis_coverage")


@dataclass(frozen=True)
class Measured:
    """One pass over the partitions."""

    n_bars: int
    seconds: float
    parts: dict[str, float]
    n_patterns: int = 0
    processor_s: float = 0.0

    @property
    def bars_per_s(self) -> float:
        return self.n_bars / self.seconds


def measure() -> list[Table]:
    """A first analysis of one year and of all, with candlesticks only and with all patterns; one and two runs."""
    last_year = runs([LAST_YEAR])
    all_years = runs(range(FIRST_YEAR, LAST_YEAR + 1))
    with database() as engine:
        store_bars(engine)
        enable_patterns(engine, CANDLESTICKS)
        columns = {f"{LAST_YEAR},\ncandlesticks": best(engine, last_year)}
        enable_patterns(engine, FUNCTIONS)
        columns[f"{LAST_YEAR},\nall patterns"] = best(engine, last_year)
        columns[f"{FIRST_YEAR} to {LAST_YEAR},\nall patterns"] = best(engine, all_years)
        again = min(analyse(engine, all_years).seconds for _ in range(REPEATS))
        with ProcessPoolExecutor(RUNS_AT_ONCE, get_context("spawn"), _start_process, (libpq_url(engine),)) as processes:
            columns[f"{FIRST_YEAR} to {LAST_YEAR}, all patterns,\n{RUNS_AT_ONCE} runs at once"] = best(
                engine, all_years, lambda: _analyse_in(processes, all_years)
            )
    table = _table(columns)
    n_partitions = sum(map(len, all_years))
    table.caption = (
        f"{LAST_YEAR - FIRST_YEAR} years before {LAST_YEAR} are stored, read and computed as its warm-up. Best of "
        f"{REPEATS}. All {n_partitions:,} partitions again, nothing stale: {again:.2f} s."
    )
    return [table]


def enable_patterns(engine: sa.Engine, functions: Collection[str]) -> None:
    """Enable the definitions of these functions and no others."""
    table = PATTERN_DEFINITIONS
    with engine.begin() as connection:
        connection.execute(sa.update(table).values(enabled=table.c.function.in_(list(functions))))


def store_bars(engine: sa.Engine) -> None:
    """Fill the table of daily bars."""
    with engine.begin() as connection:
        write_bars(connection, daily_bars(SYMBOLS, FIRST_YEAR, LAST_YEAR), "benchmark")


def runs(years: Sequence[int]) -> list[list[Partition]]:
    """The partitions of ``years``, in the portions and the order in which Dagster runs them."""
    symbols = [f"S{number:04d}" for number in range(SYMBOLS)]
    return [
        [Partition(symbol, year) for symbol in symbols[start : start + PARTITIONS_A_RUN]]
        for year in years
        for start in range(0, SYMBOLS, PARTITIONS_A_RUN)
    ]


def best(
    engine: sa.Engine, portions: Sequence[Sequence[Partition]], job: Callable[[], Measured] | None = None
) -> Measured:
    """The fastest of several first analyses; by default in this process."""
    found = []
    for _ in range(REPEATS):
        with engine.begin() as connection:
            connection.exec_driver_sql(f"TRUNCATE {', '.join(_RESULTS)}")
        settle(engine)
        before = _processor_seconds()
        measured = job() if job else analyse(engine, portions)
        spent = _processor_seconds() - before
        with engine.connect() as connection:
            n_patterns = connection.execute(sa.text("SELECT count(*) FROM daily_patterns")).scalar_one()
        found.append(replace(measured, processor_s=spent, n_patterns=n_patterns))
    return max(found, key=lambda one: one.bars_per_s)


def analyse(engine: sa.Engine, portions: Sequence[Sequence[Partition]]) -> Measured:
    """Analyse all portions, one after the other."""
    calendar = trading_calendar()
    calendar.anchor(Timeframe.DAILY, LAST_YEAR)  # the calendar is built once a process
    n_bars = 0
    with split_times(_PARTS) as parts:
        start = time.perf_counter()
        for partitions in portions:
            outcomes = batch.analyse_partitions(engine, calendar, Timeframe.DAILY, partitions)
            assert all(outcome.status is not Status.FAILED for outcome in outcomes)
            n_bars += sum(int(outcome.facts.get("bars_analysed", 0)) for outcome in outcomes)
        seconds = time.perf_counter() - start
    return Measured(n_bars, seconds, {**parts, "the rest": seconds - sum(parts.values())})


def _processor_seconds() -> float:
    """Of this process and those that it started: the server's and the other runs'."""
    this = psutil.Process()
    times = [process.cpu_times() for process in (this, *this.children(recursive=True))]
    return float(sum(one.user + one.system for one in times))


def _start_process(url: str) -> None:
    global _engine
    _engine = create_engine(url)
    _analyse_portion([])  # modules and the calendar, which a run has before it begins


def _analyse_portion(partitions: Sequence[Partition]) -> Measured:
    assert _engine is not None
    return analyse(_engine, [partitions] if partitions else [])


def _analyse_in(processes: ProcessPoolExecutor, portions: Sequence[Sequence[Partition]]) -> Measured:
    list(processes.map(_analyse_portion, [[]] * RUNS_AT_ONCE))
    start = time.perf_counter()
    done = list(processes.map(_analyse_portion, portions))
    seconds = time.perf_counter() - start
    parts = {part: sum(one.parts[part] for one in done) / RUNS_AT_ONCE for part in done[0].parts}
    return Measured(sum(one.n_bars for one in done), seconds, parts)


def _table(measured: dict[str, Measured]) -> Table:
    table = Table(title=f"{SYMBOLS} symbols, daily, 18 indicators, runs of {PARTITIONS_A_RUN} partitions")
    table.add_column("")
    for title in measured:
        table.add_column(title, justify="right", no_wrap=True)
    columns = list(measured.values())
    table.add_row("bars analysed", *(f"{one.n_bars:,}" for one in columns))
    table.add_row("patterns stored", *(f"{one.n_patterns:,}" for one in columns))
    table.add_row("seconds", *(f"{one.seconds:.2f}" for one in columns))
    table.add_row("bars/s", *(f"{one.bars_per_s:,.0f}" for one in columns))
    table.add_row("processor, s", *(f"{one.processor_s:.2f}" for one in columns), end_section=True)
    for part in columns[0].parts:
        table.add_row(
            part, *(f"{one.parts[part]:.2f} s  {100 * one.parts[part] / one.seconds:4.1f} %" for one in columns)
        )
    return table


if __name__ == "__main__":
    show(measure())
