"""A live feed in a thread of its own, against the local provider, with waits short enough for a test."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Self

import numpy as np
import pytest
import redis
import sqlalchemy as sa
from pydantic import SecretStr

from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.messaging.bar_event import LiveBar, decode
from tickstock_pipeline.messaging.bar_stream import BAR_FIELD, shard_count
from tickstock_pipeline.messaging.channels import FEED_STATE, bar_stream
from tickstock_pipeline.messaging.connection import connect
from tickstock_pipeline.providers.alpha_vantage import AlphaVantageProvider
from tickstock_pipeline.providers.limits import request_budget
from tickstock_pipeline.providers.polygon import PolygonProvider
from tickstock_pipeline.replay.server import ReplayServer
from tickstock_pipeline.replay.source import MemorySource
from tickstock_pipeline.settings import Settings
from tickstock_pipeline.streaming.feed.feed import Feed
from tickstock_pipeline.streaming.feed.options import FeedOptions
from tickstock_pipeline.streaming.feed.polygon_events import PolygonSource
from tickstock_pipeline.streaming.feed.source import LiveSource
from tickstock_pipeline.streaming.feed.supervisor import Patience

DAY = "2013-02-25"
SYMBOLS = ("AAPL", "IBM", "MSFT")

HASTY = FeedOptions(
    patience=Patience(opening=5.0, silence=60.0, first_back_off=0.02, longest_back_off=0.1, serving=1.0),
    symbols_every=0.1,
    settling=0.05,
    retry=0.1,
    standby_after=0.2,
    standby_every=0.2,
    state_every=0.05,
    is_watched=lambda: True,
)
WAIT_S = 15.0


def day_of_minutes(symbol: str, day: str = DAY) -> Bars:
    """A seeded walk over every minute of a session."""
    calendar = trading_calendar()
    session = np.datetime64(day)
    time_ = np.arange(calendar.opening(session), calendar.closing(session), np.timedelta64(1, "m"))
    random = np.random.default_rng([*symbol.encode()])
    close = np.round(100 * np.exp(np.cumsum(random.normal(0, 0.001, len(time_)))), 2)
    open_ = np.round(close * np.exp(random.normal(0, 0.0005, len(time_))), 2)
    high = np.round(np.maximum(open_, close) + np.abs(random.normal(0, 0.05, len(time_))), 2)
    low = np.round(np.minimum(open_, close) - np.abs(random.normal(0, 0.05, len(time_))), 2)
    volume = random.integers(1_000, 10_000, len(time_))
    return Bars(symbol, Timeframe.MINUTE, time_.astype("datetime64[us]"), open_, high, low, close, volume)


@pytest.fixture(scope="session")
def minutes() -> dict[str, Bars]:
    """The session of each symbol."""
    return {symbol: day_of_minutes(symbol) for symbol in SYMBOLS}


@pytest.fixture
def server(minutes: dict[str, Bars]) -> Iterator[ReplayServer]:
    with ReplayServer(MemorySource(minutes.values()), api_key="right") as found:
        yield found


def until(is_so: Callable[[], bool], what: str, wait_s: float = WAIT_S) -> None:
    """Wait for what another thread does."""
    deadline = time.monotonic() + wait_s
    while not is_so():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {wait_s:g} s")
        time.sleep(0.005)


class RunningFeed:
    """A feed in a thread; a ``with`` statement ends it."""

    def __init__(self, make: Callable[[], Feed], redis_url: str) -> None:
        self._make = make
        self.client = connect(redis_url)
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.feed: Feed
        self.error: BaseException | None = None
        self._is_error_expected = False

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(WAIT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.client.close()
        if self.error is not None and not self._is_error_expected:
            raise self.error

    def stop(self) -> None:
        """End it now."""
        if self._thread.is_alive():
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()

    def wait(self) -> BaseException | None:
        """Wait until it ends by itself; gives the error that ended it."""
        self._is_error_expected = True
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()
        return self.error

    def do(self, work: Callable[[], Any]) -> None:
        """Call something in the feed's loop."""
        self._loop.call_soon_threadsafe(work)

    def until_connected(self, times: int = 1) -> None:
        until(lambda: self.feed.state.connections >= times and self.feed.state.is_connected, f"connection {times}")

    def until(self, is_so: Callable[[], bool], what: str) -> None:
        """Wait for what the feed does."""
        until(is_so, what)

    def until_keys(self, wanted: set[tuple[str, int]]) -> None:
        """Wait until exactly these bars are on the streams, as (symbol, microseconds)."""
        try:
            until(lambda: wanted <= set(self.keys_on_streams()), f"{len(wanted)} bars on the stream")
        except AssertionError:
            print(self.feed.signs.details())
            raise
        assert set(self.keys_on_streams()) == wanted

    def bars(self) -> list[LiveBar]:
        """Everything on the streams, each symbol's in the order of the stream."""
        return bars_on_streams(self.client)

    def latest(self) -> dict[tuple[str, int], tuple[float, ...]]:
        """The values that each bar has in the end."""
        return {(bar.symbol, bar.time): values_of(bar) for bar in self.bars()}

    def keys_on_streams(self) -> list[tuple[str, int]]:
        return [(bar.symbol, bar.time) for bar in self.bars()]

    def state(self) -> dict[str, str]:
        """The state that is shown."""
        found: Any = self.client.hgetall(FEED_STATE)
        return {name.decode(): value.decode() for name, value in found.items()}

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except asyncio.CancelledError:
            pass
        except BaseException as error:  # noqa: BLE001 - handed to the test
            self.error = error
        finally:
            self._started.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.feed = self._make()
        self._task = asyncio.create_task(self.feed.run())
        self._started.set()
        await self._task


def bars_on_streams(client: "redis.Redis") -> list[LiveBar]:
    found = []
    for shard in range(shard_count(client)):
        entries: Any = client.xrange(bar_stream(shard))
        found += [decode(fields[BAR_FIELD]) for _, fields in entries]
    return found


MakeFeed = Callable[..., RunningFeed]


@pytest.fixture
def make_feed(engine: sa.Engine, redis_url: str, server: ReplayServer) -> MakeFeed:
    """Feeds from the local provider's socket, unless the test names another source."""

    def make(
        source: Callable[[], LiveSource] | None = None,
        *,
        symbols: Sequence[str] | Callable[[], Sequence[str]] = SYMBOLS,
        key: str = "right",
        options: FeedOptions = HASTY,
        url: str = "",
        source_options: dict[str, Any] | None = None,
        redis_url: str = redis_url,
        **more: Any,
    ) -> RunningFeed:
        def build() -> Feed:
            found = (
                PolygonSource(url or server.websocket_url, SecretStr(key), **(source_options or {}))
                if source is None
                else source()
            )
            return Feed(
                found,
                symbols if callable(symbols) else lambda: symbols,
                (connect(redis_url), connect(redis_url)),
                engine,
                trading_calendar(),
                options=options,
                **more,
            )

        return RunningFeed(build, redis_url)

    return make


def values_of(bar: LiveBar) -> tuple[float, ...]:
    return (bar.open, bar.high, bar.low, bar.close, bar.volume)


class StandIn(NamedTuple):
    """Another provider, and the server that it asks."""

    provider: AlphaVantageProvider
    server: ReplayServer


@pytest.fixture
def hasty() -> FeedOptions:
    """Options with short waits, to be varied."""
    return HASTY


@pytest.fixture
def history(server: ReplayServer, settings: Settings) -> PolygonProvider:
    """The provider's REST side, without a limit."""
    budget = request_budget(settings, "polygon", None, 0, 0)
    return PolygonProvider(base_url=server.url, api_key=SecretStr("right"), budget=budget, timeout=5.0)


@pytest.fixture
def stand_in(minutes: dict[str, Bars], settings: Settings) -> Iterator[StandIn]:
    with ReplayServer(MemorySource(minutes.values())) as server:
        budget = request_budget(settings, "alpha_vantage", None, 0, 0)
        key = SecretStr("any")
        yield StandIn(AlphaVantageProvider(base_url=server.url, api_key=key, budget=budget, timeout=5.0), server)
