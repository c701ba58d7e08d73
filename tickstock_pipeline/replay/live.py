"""The stream as threads outside the server's event loop use it: tests, benchmarks and the command line."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from datetime import date
from typing import Any, TextIO, TypeVar

import numpy as np

from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.replay.faults import FaultKind
from tickstock_pipeline.replay.market import ReplayMarket
from tickstock_pipeline.replay.playback import Playback, Progress, Span
from tickstock_pipeline.replay.stream import StreamHub
from tickstock_pipeline.replay.stream_events import Event, event_of, minute_events

_T = TypeVar("_T")
_SECONDS = 30.0


class Playing:
    """A playback that is under way."""

    def __init__(self, future: "Future[int]") -> None:
        self._future = future

    @property
    def is_over(self) -> bool:
        """Whether it has come to its end, or was stopped."""
        return self._future.done()

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for its end.

        Returns
        -------
        How many events were sent; None if it was stopped, or has not ended in so many seconds.
        """
        try:
            return self._future.result(timeout)
        except (CancelledError, FutureTimeoutError):
            return None

    def stop(self) -> None:
        """End it now."""
        self._future.cancel()


class ReplayStream:
    """What can be done with the stream of a running server; from any thread.

    Parameters
    ----------
    hub : lives in the event loop
    loop : the server's
    market : what is played
    set_now : sets the time that the REST answers obey
    """

    def __init__(
        self,
        hub: StreamHub,
        loop: asyncio.AbstractEventLoop,
        market: ReplayMarket,
        set_now: Callable[[np.datetime64], None],
    ) -> None:
        self._hub = hub
        self._loop = loop
        self._market = market
        self._set_now = set_now

    @property
    def n_clients(self) -> int:
        """How many clients are connected and have shown their key."""
        return self._hub.n_clients

    @property
    def n_sent(self) -> int:
        """How many events were sent, each counted once however many clients there are."""
        return self._hub.sent

    def wait_for_subscribers(self, count: int = 1, timeout: float | None = _SECONDS) -> bool:
        """Wait until so many clients have subscribed to something; False if they have not in so many seconds."""
        try:
            self._run(asyncio.wait_for(self._hub.subscribed(count), timeout), None)
        except TimeoutError:
            return False
        return True

    def play(
        self,
        first: date,
        last: date,
        *,
        symbols: Sequence[str] | None = None,
        speed: float = 0.0,
        subscribers: int = 1,
        log: TextIO | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Playing:
        """Let market time pass from the opening of the first session to the closing of the last one.

        Parameters
        ----------
        first, last : dates on the exchange, both included
        symbols : None: all
        speed : market seconds a second; 0: as fast as the clients read
        subscribers : how many clients must have subscribed before it begins
        log, on_progress : see :class:`Playback`; called from the server's thread

        Raises
        ------
        ValueError
            If the exchange does not trade between the dates.
        """
        chosen = [listing.symbol for listing in self._market.listings()] if symbols is None else list(symbols)
        playback = Playback(
            self._market,
            self._hub,
            Span(chosen, first, last, speed),
            self._set_now,
            log=log,
            on_progress=on_progress,
        )
        # also while it waits: what a client asks for then must not come from the future
        playback.rewind()

        async def begin() -> int:
            await self._hub.subscribed(subscribers)
            return await playback.run()

        return Playing(asyncio.run_coroutine_threadsafe(begin(), self._loop))

    def send(self, events: Iterable[Mapping[str, Any] | Event]) -> None:
        """Send events to those who subscribed to them; returns once they are handed to the network.

        Parameters
        ----------
        events : as Polygon names their fields, with ``ev`` and ``sym`` at least
        """
        made = [event if isinstance(event, Event) else event_of(dict(event)) for event in events]
        self._run(self._send(made))

    def send_minutes(self, bars: Bars) -> None:
        """Send 1min bars of one symbol as AM events."""
        self.send(minute_events(bars))

    def disrupt(self, kind: FaultKind | str) -> None:
        """Let a fault of the connection (``cut``, ``close-1001``, ``mute``, …) happen to every client, now."""
        self._run(self._hub.disrupt(FaultKind(kind)))

    async def _send(self, events: Sequence[Event]) -> None:
        await self._hub.broadcast(events, can_wait=True)
        await self._hub.drained()

    def _run(self, work: Coroutine[Any, Any, _T], timeout: float | None = _SECONDS) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout)
