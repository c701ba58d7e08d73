"""What waits to be sent to one client: bounded, so that a client that does not read costs no memory."""

import asyncio
from collections import deque
from typing import NamedTuple


class Outgoing(NamedTuple):
    """A message for a client.

    Attributes
    ----------
    text : shared by all clients that get it
    received_at : ``time.monotonic()`` at which a live event came to the gateway; None: it is no live event
    """

    text: str
    received_at: float | None = None


class ClientQueue:
    """Used from one event loop.

    Parameters
    ----------
    most : messages; half of that is left to live events while older ones are sent again
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._items: deque[Outgoing] = deque()
        self._is_filled = asyncio.Event()
        self._has_room = asyncio.Event()
        self._has_room.set()

    def __len__(self) -> int:
        return len(self._items)

    def offer(self, item: Outgoing) -> bool:
        """Add a message; False if there is no room for it."""
        if len(self._items) >= self._most:
            return False
        self._items.append(item)
        self._is_filled.set()
        if len(self._items) * 2 >= self._most:
            self._has_room.clear()
        return True

    async def put(self, item: Outgoing) -> None:
        """Add a message once the queue is less than half full."""
        while not self.offer_politely(item):
            await self._has_room.wait()

    def offer_politely(self, item: Outgoing) -> bool:
        """Add a message if the queue is less than half full."""
        return len(self._items) * 2 < self._most and self.offer(item)

    async def take(self) -> Outgoing:
        """The oldest message, as soon as there is one."""
        while not self._items:
            self._is_filled.clear()
            await self._is_filled.wait()
        item = self._items.popleft()
        if len(self._items) * 2 < self._most:
            self._has_room.set()
        return item
