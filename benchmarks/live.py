"""The live worker on real servers: from a bar on the stream to committed and published, stage by stage.

One process sends bars and is the worker, so a figure holds the sender's appending, the worker's read, all of
PostgreSQL's work with ``fsync`` on, and the publication. What it does not hold is the wait of a sleeping process for
its turn. Memory is that of a worker in a process of its own, which takes the streams over at the end.
"""

import gc
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import psutil
import sqlalchemy as sa
from rich.table import Table

from benchmarks.database import database, libpq_url, settle
from benchmarks.stopwatch import Place, split_times
from tickstock_pipeline.batch.analysis import analyse_partitions
from tickstock_pipeline.live.bar import each_bar
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.messaging.bar_event import LiveBar
from tickstock_pipeline.messaging.bar_reader import BarReader
from tickstock_pipeline.messaging.bar_stream import BarStream
from tickstock_pipeline.messaging.connection import connect
from tickstock_pipeline.runtime.redis import EmbeddedRedis
from tickstock_pipeline.storage.bars import write_bars
from tickstock_pipeline.streaming import announcing, desk, storing, taking
from tickstock_pipeline.streaming.breaker import Limits
from tickstock_pipeline.streaming.publisher import Publisher
from tickstock_pipeline.streaming.worker import LiveWorker, worker_engine

SYMBOLS = 1000
HISTORY = 300
SINGLE_BARS = 300
BURSTS = 20
UNLIMITED = Limits(cpu_percent=1e9, lag_s=1e9, busy_lag_s=1e9)

STAGES: dict[str, list[Place]] = {
    "append to the streams": [(BarStream, "append")],
    "read from the streams": [(BarReader, "read")],
    "decode and judge": [(taking, "taken_in")],
    "leases": [(desk, "require_leases")],
    "lock the series": [(storing, "lock_free_inputs")],
    "ask the ledger": [(storing, "input_states")],
    "bars, with their triggers": [(storing, "upsert_bars")],
    "coarser periods": [(storing, "add_open_periods"), (storing, "follow_input")],
    "analysis": [(storing, "advance")],
    "values": [(storing, "write_values")],
    "detections": [
        (storing, "replace_detections"),
        (storing, "window_of_tail"),
        (announcing, "log_flow_steps"),
        (storing, "found_detections"),
    ],
    "coverage": [(storing, "record_coverage")],
    "messages and outbox": [(storing, "tell_complete"), (storing, "put")],
    "commit": [(sa.Transaction, "commit")],
    "publish": [(Publisher, "publish")],
    "acknowledge": [(BarReader, "acknowledge")],
}


def measure() -> list[Table]:
    """A bar at a time, then all symbols at once, then the memory of a worker that follows them."""
    with _worker() as (worker, stream, series, redis_url):
        single = _single(worker, stream, series[0])
        bursts = _bursts(worker, stream, series)
        worker.close()
        before, after = _memory(libpq_url(worker.desk.engine), redis_url, stream, series)
    bursts.caption = (
        f"A worker in a process of its own has {before:.0f} MB before its first bar and {after:.0f} MB, following "
        f"{len(series)} symbols, after three bursts."
    )
    return [single, bursts]


def _single(worker: LiveWorker, stream: BarStream, bars: Bars) -> Table:
    coming = _live(bars[HISTORY:])
    taken = []
    before = _processor_seconds(worker)
    with split_times(STAGES) as spent:
        for bar in coming[:SINGLE_BARS]:
            started = time.perf_counter()
            stream.append([bar])
            worker.take_bars()
            taken.append(time.perf_counter() - started)
            worker.work_between()
    return _table("One bar, XADD to committed and published", taken, spent, _since(before, worker))


def _bursts(worker: LiveWorker, stream: BarStream, series: Sequence[Bars]) -> Table:
    coming = [_live(bars[HISTORY:]) for bars in series]
    taken = []
    before = _processor_seconds(worker)
    with split_times(STAGES) as spent:
        for step in range(BURSTS):
            bars = [bars[SINGLE_BARS + step if number == 0 else step] for number, bars in enumerate(coming)]
            started = time.perf_counter()
            stream.append(bars)
            worker.take_bars()
            taken.append(time.perf_counter() - started)
            worker.work_between()
    return _table(
        f"{len(series)} symbols' minute at once, XADD to committed and published", taken, spent, _since(before, worker)
    )


def _memory(database_url: str, redis_url: str, stream: BarStream, series: Sequence[Bars]) -> tuple[float, float]:
    """MB of a worker's process before it follows anything, and with all series followed."""
    ours, theirs = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_follow, args=(database_url, redis_url, theirs))
    process.start()
    before = float(ours.recv())
    for step in range(BURSTS, BURSTS + 3):
        stream.append([_live(bars[at : at + 1])[0] for bars in series for at in [HISTORY + SINGLE_BARS + step]])
        ours.send("go on")
        after = float(ours.recv())
    process.join()
    return before, after


def _follow(database_url: str, redis_url: str, parent: "Connection[float, str]") -> None:
    """A worker that takes in what its parent has appended, each time that it is told to."""
    engine = worker_engine(database_url, "apart")
    with connect(redis_url) as client:
        worker = LiveWorker("apart", engine, client, trading_calendar(), kept_events=100_000, limits=UNLIMITED)
        worker.prepare()
        worker.turn()
        parent.send(_resident_mb())
        for _ in range(3):
            parent.recv()
            worker.turn()
            while not worker.is_idle:
                worker.turn()
            worker.turn()
            parent.send(_resident_mb())
        worker.close()
    engine.dispose()


def _resident_mb() -> float:
    return float(psutil.Process().memory_info().rss) / 1e6


def _processor_seconds(worker: LiveWorker) -> tuple[float, float]:
    """Of this process, and of the server's processes that work for the worker."""
    query = "SELECT pid FROM pg_stat_activity WHERE application_name = current_setting('application_name')"
    with worker.desk.engine.connect() as connection:
        pids = list(connection.scalars(sa.text(query)))
    server = [psutil.Process(pid).cpu_times() for pid in pids]
    return time.process_time(), sum(times.user + times.system for times in server)


def _since(before: tuple[float, float], worker: LiveWorker) -> tuple[float, float]:
    ours, server = _processor_seconds(worker)
    return ours - before[0], server - before[1]


def _table(title: str, taken: Sequence[float], spent: dict[str, float], processor: tuple[float, float]) -> Table:
    table = Table(title=f"{title}: {len(taken)} times")
    for column in ("", "ms"):
        table.add_column(column, justify="left" if not column else "right")
    milliseconds = np.array(taken) * 1e3
    for name, quantile in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("slowest", 1.0)):
        table.add_row(name, f"{np.quantile(milliseconds, quantile):.1f}", end_section=name == "slowest")
    for whose, seconds in zip(("ours", "PostgreSQL's"), processor, strict=True):
        # with what is done between batches: marks, renewals
        table.add_row(f"processor time, {whose}, mean", f"{seconds / len(taken) * 1e3:.1f}")
    table.add_section()
    for stage, seconds in spent.items():
        table.add_row(f"  {stage}, mean", f"{seconds / len(taken) * 1e3:.2f}")
    rest = sum(taken) - sum(spent.values())
    table.add_row("  the rest, mean", f"{rest / len(taken) * 1e3:.2f}")
    return table


@contextmanager
def _worker() -> Iterator[tuple[LiveWorker, BarStream, list[Bars], str]]:
    series = [_minutes(number) for number in range(SYMBOLS)]
    with database() as engine, tempfile.TemporaryDirectory(prefix="tickstock-benchmark-") as folder:
        server = EmbeddedRedis(Path(folder))
        try:
            url = server.start()
            with connect(url) as client:
                stream = BarStream(client)
                with engine.begin() as connection:
                    write_bars(connection, [bars[: HISTORY - 1] for bars in series], "benchmark")
                partitions = [Partition(bars.symbol, 2026) for bars in series]
                analyse_partitions(engine, trading_calendar(), Timeframe.MINUTE, partitions)
                settle(engine)
                own = worker_engine(libpq_url(engine), "benchmark")
                worker = LiveWorker("benchmark", own, client, trading_calendar(), kept_events=100_000, limits=UNLIMITED)
                worker.prepare()
                stream.append([_live(bars[HISTORY - 1 : HISTORY])[0] for bars in series])
                started = time.perf_counter()
                worker.turn()
                while not worker.is_idle:
                    worker.turn()
                print(f"{len(series)} symbols replayed and followed after {time.perf_counter() - started:.1f} s")
                gc.collect()
                gc.freeze()
                settle(engine)
                yield worker, stream, series, url
                own.dispose()
        finally:
            gc.unfreeze()
            server.stop()


def _minutes(number: int) -> Bars:
    calendar = trading_calendar()
    opening = calendar.opening(calendar.sessions(np.datetime64("2026-03-02"), np.datetime64("2026-03-03")))
    time_of_bars = np.concatenate([start + np.arange(390) * np.timedelta64(1, "m") for start in opening])
    random = np.random.default_rng(number)
    n_bars = len(time_of_bars)
    close = np.round(100 * np.exp(np.cumsum(random.normal(0, 0.001, n_bars))), 2)
    open_ = np.round(close * np.exp(random.normal(0, 0.0005, n_bars)), 2)
    high = np.round(np.maximum(open_, close) + np.abs(random.normal(0, 0.05, n_bars)), 2)
    low = np.round(np.minimum(open_, close) - np.abs(random.normal(0, 0.05, n_bars)), 2)
    volume = random.integers(100, 10_000, n_bars)
    return Bars(f"S{number:04d}", Timeframe.MINUTE, time_of_bars, open_, high, low, close, volume)


def _live(bars: Bars) -> list[LiveBar]:
    return [
        LiveBar(
            bars.symbol, bars.timeframe, bar.time, bar.open, bar.high, bar.low, bar.close, float(bar.volume), "test"
        )
        for bar in each_bar(bars)
    ]
