"""What comes out of the live path, noted with the time at which it came: entries of the streams, published messages."""

import json
import threading
import time
from datetime import datetime
from types import TracebackType
from typing import Any, NamedTuple, Self

import redis

from tickstock_pipeline.messaging.bar_stream import BAR_FIELD
from tickstock_pipeline.messaging.channels import ANALYSIS_COMPLETE, MARKET_DATA, bar_stream
from tickstock_pipeline.messaging.connection import connect

Key = tuple[str, int]
"""A symbol and the start of its minute, Unix milliseconds."""

_WAIT_S = 0.5
_AT_ONCE = 10_000


class Seen(NamedTuple):
    """A message: when it came, Unix seconds, and its JSON."""

    at: float
    raw: bytes


class Observer:
    """Notes, in threads of its own, what is appended to the streams, published as a bar, and said to be analysed.

    Parameters
    ----------
    url : of Redis
    n_shards : streams to follow; 0: none of them

    Attributes
    ----------
    appended, published, analysed : so far, in their order
    """

    def __init__(self, url: str, n_shards: int = 0) -> None:
        self.appended: list[Seen] = []
        self.published: list[Seen] = []
        self.analysed: list[Seen] = []
        self._stop = threading.Event()
        self._clients = [connect(url), connect(url)]
        self._threads = [threading.Thread(target=self._listen, args=(self._clients[0],), daemon=True)]
        if n_shards:
            self._threads.append(threading.Thread(target=self._follow, args=(self._clients[1], n_shards), daemon=True))
        self._is_ready = threading.Barrier(len(self._threads) + 1)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self._is_ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        for client in self._clients:
            client.close()

    def _listen(self, client: "redis.Redis") -> None:
        places = {MARKET_DATA.encode(): self.published, ANALYSIS_COMPLETE.encode(): self.analysed}
        with client.pubsub() as subscription:  # type: ignore[no-untyped-call]
            subscription.subscribe(*places)
            self._is_ready.wait()
            while not self._stop.is_set():
                message: Any = subscription.get_message(timeout=_WAIT_S)
                if message is not None and message["type"] == "message":
                    places[message["channel"]].append(Seen(time.time(), message["data"]))

    def _follow(self, client: "redis.Redis", n_shards: int) -> None:
        last: dict[Any, Any] = {}
        for shard in range(n_shards):
            newest: Any = client.xrevrange(bar_stream(shard), count=1)
            last[bar_stream(shard).encode()] = newest[0][0] if newest else b"0"
        self._is_ready.wait()
        while not self._stop.is_set():
            answer: Any = client.xread(last, count=_AT_ONCE, block=int(_WAIT_S * 1_000))
            now = time.time()
            for stream, entries in answer or ():
                last[stream] = entries[-1][0]
                self.appended += [Seen(now, fields[BAR_FIELD]) for _, fields in entries]


def by_minute(messages: list[Seen]) -> dict[Key, float]:
    """When the last message of each symbol's minute came; of coarser bars there are none in it."""
    found: dict[Key, float] = {}
    for seen in messages:
        event = json.loads(seen.raw)
        if event["timeframe"] == "1min":
            found[event["symbol"], round(datetime.fromisoformat(event["timestamp"]).timestamp() * 1_000)] = seen.at
    return found
