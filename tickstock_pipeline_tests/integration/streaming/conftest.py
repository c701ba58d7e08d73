"""Live bars for tests of the worker: seeded minutes on the exchange's sessions, and a worker in this thread."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import redis
import sqlalchemy as sa

from tickstock_pipeline.live.bar import each_bar
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.messaging.bar_event import LiveBar
from tickstock_pipeline.messaging.bar_stream import BarStream
from tickstock_pipeline.messaging.connection import connect
from tickstock_pipeline.streaming.breaker import Limits
from tickstock_pipeline.streaming.worker import LiveWorker, worker_engine

UNLIMITED = Limits(cpu_percent=1e9, lag_s=1e9, busy_lag_s=1e9)


def minutes(symbol: str, first: str, last: str, *, seed: int = 1, missing: float = 0.0) -> Bars:
    """A walk on the minutes of the sessions from ``first`` to ``last``; a share of the minutes has no trade."""
    calendar = trading_calendar()
    sessions = calendar.sessions(np.datetime64(first), np.datetime64(last))
    time = np.concatenate(
        [
            np.arange(opening, closing, np.timedelta64(1, "m"))
            for opening, closing in zip(calendar.opening(sessions), calendar.closing(sessions), strict=True)
        ]
    )
    random = np.random.default_rng([seed, *symbol.encode()])
    time = time[random.random(len(time)) >= missing]
    close = np.round(100 * np.exp(np.cumsum(random.normal(0, 0.001, len(time)))), 2)
    open_ = np.round(close * np.exp(random.normal(0, 0.0005, len(time))), 2)
    high = np.round(np.maximum(open_, close) + np.abs(random.normal(0, 0.05, len(time))), 2)
    low = np.round(np.minimum(open_, close) - np.abs(random.normal(0, 0.05, len(time))), 2)
    volume = random.integers(100, 10_000, len(time))
    return Bars(symbol, Timeframe.MINUTE, time.astype("datetime64[us]"), open_, high, low, close, volume)


def live(bars: Bars, source: str = "test") -> list[LiveBar]:
    """Bars as a feed would send them."""
    return [
        LiveBar(
            bars.symbol, bars.timeframe, bar.time, bar.open, bar.high, bar.low, bar.close, float(bar.volume), source
        )
        for bar in each_bar(bars)
    ]


@pytest.fixture
def client(redis_url: str) -> Iterator["redis.Redis"]:
    with connect(redis_url) as found:
        yield found


@pytest.fixture
def stream(client: "redis.Redis") -> BarStream:
    return BarStream(client)


MakeWorker = Callable[..., LiveWorker]


@pytest.fixture
def make_worker(database_url: str, redis_url: str) -> Iterator[MakeWorker]:
    """Workers that the test drives turn by turn; their connections are closed at its end."""
    engines: list[sa.Engine] = []
    clients: list[redis.Redis] = []

    def make(name: str = "one", *, dsn: str = database_url, **options: Any) -> LiveWorker:
        engines.append(worker_engine(dsn, name))
        clients.append(connect(redis_url))
        worker = LiveWorker(
            name,
            engines[-1],
            clients[-1],
            trading_calendar(),
            **{"kept_events": 100_000, "limits": UNLIMITED, **options},
        )
        worker.prepare()
        return worker

    yield make
    for engine in engines:
        engine.dispose()
    for found in clients:
        found.close()


def until_idle(worker: LiveWorker, *, at_most: int = 2000) -> None:
    """Turn a worker until nothing is left to read, to store or to analyse."""
    for _ in range(at_most):
        worker.turn()
        if worker.is_idle:
            return
    raise AssertionError("the worker does not come to rest")


def table(engine: sa.Engine, query: str) -> list[Any]:
    """The rows of a query."""
    with engine.connect() as connection:
        return list(connection.execute(sa.text(query)).all())


def feed(stream: BarStream, bars: Sequence[LiveBar]) -> None:
    """Send bars in portions, as a feed does."""
    for start in range(0, len(bars), 500):
        stream.append(bars[start : start + 500])
