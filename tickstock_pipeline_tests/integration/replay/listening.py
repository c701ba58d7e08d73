"""A client of the stream in a thread: Massive's own, and what it heard."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from massive import WebSocketClient

from tickstock_pipeline.replay.server import ReplayServer

SECONDS = 20.0


class Listener:
    """Everything that one client has heard so far, and how it ended."""

    def __init__(self, server: ReplayServer, topics: Sequence[str], key: str, **options: Any) -> None:
        place = server.websocket_url.removeprefix("ws://")
        self.client = WebSocketClient(key, feed=place, secure=False, subscriptions=list(topics), **options)
        self.events: list[Any] = []
        self.error: BaseException | None = None
        self._heard = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(self._loop)])
        self._thread.join(SECONDS)

    def wait_for(self, count: int) -> list[Any]:
        """The first ``count`` events, once they are there."""
        with self._heard:
            assert self._heard.wait_for(lambda: len(self.events) >= count, SECONDS), self.events
            return list(self.events[:count])

    def has_heard(self, seconds: float) -> bool:
        """Whether it hears anything within so many seconds."""
        with self._heard:
            return self._heard.wait_for(lambda: bool(self.events), seconds)

    def wait_for_end(self) -> BaseException | None:
        """How the client's ``connect`` ended; None if it returned."""
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()
        return self.error

    def _run(self) -> None:
        async def heard(events: list[Any]) -> None:
            with self._heard:
                self.events += events
                self._heard.notify_all()

        async def listen() -> None:
            self._loop = asyncio.get_running_loop()
            await self.client.connect(heard)

        try:
            asyncio.run(listen())
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - how it ends is what is tested
            self.error = error


@contextmanager
def listening(server: ReplayServer, *topics: str, key: str = "key", **options: Any) -> Iterator[Listener]:
    """A client that has subscribed to the topics."""
    listener = Listener(server, topics, key, **options)
    listener.start()
    try:
        if topics:
            assert server.stream.wait_for_subscribers()
        yield listener
    finally:
        listener.stop()
