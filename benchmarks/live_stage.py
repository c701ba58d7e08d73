"""The live path as it runs: PostgreSQL, Redis, ``tickstock feed`` and ``tickstock worker``, a process each."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import NamedTuple

import psutil
import redis
import sqlalchemy as sa

from benchmarks.database import settle
from chaos.stage import Stage
from chaos.state import holds_all_shards
from chaos.waiting import until
from tickstock_pipeline.batch.analysis import analyse_partitions
from tickstock_pipeline.batch.roll_ups import roll_up_bars
from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.messaging.bar_reader import BarReader
from tickstock_pipeline.messaging.connection import connect
from tickstock_pipeline.messaging.process_states import State, feed_state, shards_in_use, worker_states
from tickstock_pipeline.replay.market import ReplayMarket
from tickstock_pipeline.storage import schema
from tickstock_pipeline.storage.bars import write_bars
from tickstock_pipeline.storage.engine import create_engine
from tickstock_pipeline.storage.symbols import add_symbols


class Running(NamedTuple):
    """What a benchmark needs of it."""

    stage: Stage
    engine: sa.Engine
    client: "redis.Redis"
    folder: Path

    @property
    def feed(self) -> State:
        """What the feed shows of itself; empty: nothing yet."""
        return feed_state(self.client) or {}

    @property
    def worker(self) -> State:
        """What the worker shows of itself; empty: nothing yet."""
        return worker_states(self.client).get(self.stage.worker, {})

    def memory(self, target: str) -> float:
        """Resident memory of ``feed`` or ``worker``, MB."""
        return float(psutil.Process(self.stage.pid(target)).memory_info().rss / 1e6)

    def n_waiting(self) -> int:
        """Entries of the streams that are not done."""
        lags = BarReader(self.client, "benchmark").lag(shards_in_use(self.client)).values()
        return sum(lag.undelivered + lag.pending for lag in lags)

    def start(self) -> None:
        """Start worker and feed, and wait until they have begun: all shards, a connection, no gap to ask for."""
        self.stage.start("worker")
        until(lambda: holds_all_shards(self.engine, self.stage.worker), "worker with all shards")
        self.stage.start("feed")
        until(
            lambda: self.feed.get("is_connected") == "True" and self.feed["gaps_waiting"] == "0",
            "connected feed without gaps",
        )

    def until_rest(self) -> None:
        """Wait until everything on the streams is stored, analysed and published."""
        queries = (
            "SELECT count(*) FROM live_backlog",
            "SELECT count(*) FROM outbox WHERE published_at IS NULL",
        )

        def is_done() -> bool:
            if self.n_waiting():
                return False
            with self.engine.connect() as connection:
                return not any(connection.scalar(sa.text(query)) for query in queries)

        until(is_done, "rest")


@contextmanager
def live_stage(
    symbols: Sequence[str], commands: Callable[[Path], Mapping[str, Sequence[str]]] = lambda folder: {}
) -> Iterator[Running]:
    """Servers on a fresh folder with these symbols registered; feed and worker are not started yet.

    Parameters
    ----------
    commands : given the folder, other commands of feed and worker
    """
    with tempfile.TemporaryDirectory(prefix="tickstock-benchmark-") as temporary:
        folder = Path(temporary)
        (folder / "home").mkdir()
        with Stage(folder / "home", commands(folder)) as stage:
            schema.upgrade(stage.database_url)
            engine = create_engine(stage.database_url)
            try:
                with engine.begin() as connection:
                    add_symbols(connection, symbols)
                with connect(stage.redis_url) as client:
                    yield Running(stage, engine, client, folder)
            finally:
                engine.dispose()


def store_history(running: Running, market: ReplayMarket, first: date, last: date) -> None:
    """Store and analyse the market's minutes of some sessions, as a batch does: what a feed finds at its start."""
    history = [market.bars_to_come(listing.symbol, Timeframe.MINUTE, first, last) for listing in market.listings()]
    with running.engine.begin() as connection:
        write_bars(connection, history, "benchmark")
    partitions = [Partition(bars.symbol, year) for bars in history for year in range(first.year, last.year + 1)]
    for timeframe in (Timeframe.HOURLY, Timeframe.DAILY):
        roll_up_bars(running.engine, trading_calendar(), timeframe, partitions)
    for timeframe in (Timeframe.MINUTE, Timeframe.HOURLY, Timeframe.DAILY):
        analyse_partitions(running.engine, trading_calendar(), timeframe, partitions)
    settle(running.engine)
