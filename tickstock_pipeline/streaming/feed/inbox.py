"""The bounded queue between reading and work, and how full it gets.

Nothing is ever dropped: where there is no room, whoever reads waits, and for how long is counted.
"""

import asyncio
import time
from typing import Any, NamedTuple

DEFAULT_CAPACITY = 2_000
_TAKEN_AT_ONCE = 200


class Message(NamedTuple):
    """Something heard: when it came, Unix seconds, and what."""

    at: float
    payload: Any


class Inbox:
    """A queue of messages within one event loop.

    Parameters
    ----------
    capacity : messages

    Attributes
    ----------
    n_put : messages so far
    deepest : the most that ever waited
    blocked_s : seconds that readers have waited for room
    """

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        self.capacity = capacity
        self.n_put = 0
        self.deepest = 0
        self._blocked_s = 0.0
        self._blocked_since: float | None = None
        self._queue: asyncio.Queue[Message] = asyncio.Queue(capacity)

    @property
    def depth(self) -> int:
        """How many wait now."""
        return self._queue.qsize()

    @property
    def blocked_s(self) -> float:
        """Seconds that the reader has waited for room so far, the wait under way included."""
        under_way = 0.0 if self._blocked_since is None else time.monotonic() - self._blocked_since
        return self._blocked_s + under_way

    async def put(self, payload: Any) -> None:
        """Add a message, as soon as there is room."""
        message = Message(time.time(), payload)
        if self._queue.full():
            self._blocked_since = time.monotonic() if self._blocked_since is None else self._blocked_since
            try:
                await self._queue.put(message)
            finally:
                if self._blocked_since is not None:
                    self._blocked_s += time.monotonic() - self._blocked_since
                    self._blocked_since = None
        else:
            self._queue.put_nowait(message)
        self.n_put += 1
        self.deepest = max(self.deepest, self._queue.qsize())

    async def take(self, wait_s: float) -> list[Message]:
        """What is there, in its order; waits for the first one at most so long."""
        try:
            async with asyncio.timeout(wait_s):
                taken = [await self._queue.get()]
        except TimeoutError:
            return []
        while len(taken) < _TAKEN_AT_ONCE and not self._queue.empty():
            taken.append(self._queue.get_nowait())
        return taken
