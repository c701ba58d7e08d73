"""The bounded queue between reading and work, and how full it gets.

Nothing is ever dropped: where there is no room, whoever reads waits, and for how long is counted. What was missed
before waits aside, so that it does not hold up what happens now: a thousand symbols' gaps are a million bars.
"""

import asyncio
import time
from typing import Any, NamedTuple

DEFAULT_CAPACITY = 2_000
_TAKEN_AT_ONCE = 200
_ASIDE = 4


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
        self._aside: asyncio.Queue[Message] = asyncio.Queue(_ASIDE)
        self._arrived = asyncio.Event()

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
        self._arrived.set()

    async def put_aside(self, payload: Any) -> None:
        """Add what is in no hurry; waits as long as there is much of it, and is not counted."""
        await self._aside.put(Message(time.time(), payload))
        self._arrived.set()

    async def take(self, wait_s: float) -> list[Message]:
        """What is there, in its order, and then one message of those aside; waits for the first at most so long."""
        # whoever reads or fills gets a turn between two batches, however much is there
        await asyncio.sleep(0)
        if self._queue.empty() and self._aside.empty():
            self._arrived.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await self._arrived.wait()
            except TimeoutError:
                return []
        taken = [self._queue.get_nowait() for _ in range(min(self._queue.qsize(), _TAKEN_AT_ONCE))]
        if not self._aside.empty():
            taken.append(self._aside.get_nowait())
        return taken
