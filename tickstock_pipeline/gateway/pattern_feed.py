"""Pattern events as they come, and as they came: the stream ``pattern_events`` read in its order.

The stream is read, not the channel: what is published while no connection stands is lost there, and found here.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, NamedTuple

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tickstock_pipeline.gateway.measures import GatewayMeasures
from tickstock_pipeline.gateway.published_event import PublishedEvent, read_event
from tickstock_pipeline.messaging.bar_stream import EntryId, parsed_id
from tickstock_pipeline.messaging.channels import PATTERN_STREAM

_READ_AT_ONCE = 128
_BLOCK_MS = 2000
_TIMEOUT_S = 5.0
_SHORTEST_WAIT_S, _LONGEST_WAIT_S = 0.1, 5.0
_BEGINNING: EntryId = (0, 0)

_logger = logging.getLogger(__name__)

Deliver = Callable[[Sequence[PublishedEvent]], None]


class Extent(NamedTuple):
    """What the stream holds.

    Attributes
    ----------
    first : its oldest entry; None: it is empty
    last : the newest that it ever had
    is_trimmed : whether it once had more
    """

    first: EntryId | None
    last: EntryId
    is_trimmed: bool

    def lacks_after(self, after: EntryId) -> bool:
        """Whether events that came after ``after`` may be gone: trimmed, or lost with Redis."""
        if after > self.last:
            return True
        return self.is_trimmed and after < self.last and (self.first is None or after < self.first)


class Portion(NamedTuple):
    """Events after some position, oldest first, and where they end; ``is_last``: there are none after them yet."""

    events: tuple[PublishedEvent, ...]
    end: EntryId
    has_gap: bool
    is_last: bool


class PatternFeed:
    """Reads for all clients of one gateway; used from one event loop.

    Parameters
    ----------
    url : of Redis; a secret
    deliver : is given new events in their order; must not wait

    Attributes
    ----------
    position : of the newest event that was delivered; None: Redis has not been reached yet
    problem : why nothing can be read at the moment; empty: it can
    has_begun : whoever subscribes from then on misses nothing
    """

    def __init__(self, url: str, deliver: Deliver, measures: GatewayMeasures) -> None:
        self._client = redis.asyncio.Redis.from_url(
            url,
            protocol=2,
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        self._deliver = deliver
        self._measures = measures
        self.position: EntryId | None = None
        self.problem = "not begun"
        self.has_begun = asyncio.Event()

    async def run(self) -> None:
        """Read until cancelled; begins again by itself when Redis was away."""
        wait = _SHORTEST_WAIT_S
        try:
            while True:
                try:
                    async for events in self._new_events():
                        wait = _SHORTEST_WAIT_S
                        self._deliver(events)
                        # many events at once must not keep clients waiting that are quick enough
                        await asyncio.sleep(0)
                except (redis.RedisError, OSError) as error:
                    if not self.problem:
                        self._measures.reconnects.inc()
                    self.problem = f"Redis does not answer ({type(error).__name__})"
                    _logger.warning("pattern events wait retry_s=%.1f reason=%s", wait, type(error).__name__)
                    await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
                    wait = min(2 * wait, _LONGEST_WAIT_S)
        finally:
            await self._client.aclose()

    async def portion(self, after: EntryId) -> Portion:
        """The next events after ``after``, for a client that has missed some; waits while Redis is away."""
        wait = _SHORTEST_WAIT_S
        while True:
            try:
                return await self._portion(after)
            except (redis.RedisError, OSError):
                await asyncio.sleep(wait)
                wait = min(2 * wait, _LONGEST_WAIT_S)

    async def _portion(self, after: EntryId) -> Portion:
        delivered = self.position
        entries: Any = await self._client.xrange(PATTERN_STREAM, min=f"({entry_id_text(after)}", count=_READ_AT_ONCE)
        # looked up afterwards: what was there by now was there when the entries were read
        extent = await self._extent()
        has_gap = extent.lacks_after(after)
        end = parsed_id(entries[-1][0]) if entries else min(after, extent.last)
        # what was delivered while the entries were on their way may not be among them
        is_last = not entries and delivered is not None and self.position == delivered
        return Portion(tuple(self._read(entries)), end, has_gap, is_last)

    async def _new_events(self) -> AsyncIterator[list[PublishedEvent]]:
        last = (await self._extent()).last
        # a Redis that has lost its newest entries numbers the next ones from there
        self.position = last if self.position is None else min(self.position, last)
        self.problem = ""
        self.has_begun.set()
        while True:
            answer: Any = await self._client.xread(
                {PATTERN_STREAM: entry_id_text(self.position)}, count=_READ_AT_ONCE, block=_BLOCK_MS
            )
            for _, entries in answer or ():
                self.position = parsed_id(entries[-1][0])
                events = list(self._read(entries))
                yield events

    def _read(self, entries: Sequence[Any]) -> list[PublishedEvent]:
        events = []
        for entry_id, fields in entries:
            try:
                events.append(read_event(entry_id, fields or {}))
            except ValueError as error:
                self._measures.unreadable.inc()
                _logger.warning("unreadable entry id=%s reason=%s", entry_id.decode(), error)
        return events

    async def _extent(self) -> Extent:
        try:
            found: Any = await self._client.xinfo_stream(PATTERN_STREAM)
        except redis.ResponseError as error:
            if "no such key" not in str(error):
                raise
            return Extent(None, _BEGINNING, False)
        first = found["first-entry"]
        return Extent(
            None if first is None else parsed_id(first[0]),
            parsed_id(found["last-generated-id"]),
            int(found["entries-added"]) > int(found["length"]),
        )


def entry_id_text(entry_id: EntryId) -> str:
    """An entry's id as Redis writes it."""
    return "{}-{}".format(*entry_id)
