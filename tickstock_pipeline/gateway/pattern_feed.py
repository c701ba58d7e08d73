"""Pattern events and retractions as they come, and as they came: two streams, read in the one order of their entries.

The streams are read, not the channels: what is published while no connection stands is lost there, and found here.
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
from tickstock_pipeline.messaging.channels import PATTERN_STREAM, RETRACTION_STREAM

_READ_AT_ONCE = 128
_BLOCK_MS = 2000
_TIMEOUT_S = 5.0
_SHORTEST_WAIT_S, _LONGEST_WAIT_S = 0.1, 5.0
_BEGINNING: EntryId = (0, 0)
_STREAMS = (PATTERN_STREAM, RETRACTION_STREAM)

_logger = logging.getLogger(__name__)

Deliver = Callable[[Sequence[PublishedEvent]], None]


class Extent(NamedTuple):
    """What a stream holds.

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
        """Whether events that came after ``after`` may be gone because they were trimmed."""
        return self.is_trimmed and after < self.last and (self.first is None or after < self.first)


class Portion(NamedTuple):
    """Events after some position, oldest first, and where they end; ``is_last``: there are none after them yet."""

    events: tuple[PublishedEvent, ...]
    end: EntryId
    has_gap: bool
    is_last: bool


class _Entry(NamedTuple):
    id: EntryId
    is_retraction: bool
    fields: dict[bytes, bytes]


class PatternFeed:
    """Reads for all clients of one gateway; used from one event loop.

    Parameters
    ----------
    url : of Redis; a secret
    deliver : is given new events in their order; must not wait

    Attributes
    ----------
    position : of the newest event that was delivered; None: Redis has not been reached yet
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
        self._task: asyncio.Task[None] | None = None
        self._is_stopping = False
        self.position: EntryId | None = None
        self._problem = "not begun"
        self.has_begun = asyncio.Event()

    def start(self) -> None:
        """Begin to read, in a task of its own."""
        self._task = asyncio.create_task(self._run(), name="pattern-feed")

    async def stop(self) -> None:
        """End reading, and close the connections."""
        # before Python 3.12, asyncio.wait_for in the client of Redis may swallow a cancellation
        self._is_stopping = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._client.aclose()

    @property
    def problem(self) -> str:
        """Why nothing can be read at the moment; empty: it can."""
        if self._task is not None and self._task.done() and not self._is_stopping:
            return "reading has ended by itself"
        return self._problem

    async def portion(self, after: EntryId) -> Portion | None:
        """The next events after ``after``, for a client that has missed some; None: Redis does not answer."""
        try:
            return await self._portion(after)
        except (redis.RedisError, OSError):
            return None

    async def _run(self) -> None:
        wait = _SHORTEST_WAIT_S
        while not self._is_stopping:
            try:
                async for events in self._new_events():
                    wait = _SHORTEST_WAIT_S
                    self._deliver(events)
                    # many events at once must not keep clients waiting that are quick enough
                    await asyncio.sleep(0)
            except (redis.RedisError, OSError) as error:
                if not self._problem:
                    self._measures.reconnects.inc()
                self._problem = f"Redis does not answer ({type(error).__name__})"
                _logger.warning("pattern events wait retry_s=%.1f reason=%s", wait, type(error).__name__)
                await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
                wait = min(2 * wait, _LONGEST_WAIT_S)

    async def _portion(self, after: EntryId) -> Portion:
        delivered = self.position
        entries, extents = await self._look(after)
        last = max(extent.last for extent in extents)
        # an id after the last one is from a Redis that has lost what it was of
        has_gap = after > last or any(extent.lacks_after(after) for extent in extents)
        end = entries[-1].id if entries else min(after, last)
        # what was delivered while the entries were on their way may not be among them
        is_last = not entries and delivered is not None and self.position == delivered
        return Portion(tuple(self._read(entries)), end, has_gap, is_last)

    async def _new_events(self) -> AsyncIterator[list[PublishedEvent]]:
        _, extents = await self._look(None)
        last = max(extent.last for extent in extents)
        # a Redis that has lost its newest entries numbers the next ones from there
        self.position = last if self.position is None else min(self.position, last)
        self._problem = ""
        self.has_begun.set()
        while not self._is_stopping:
            since = entry_id_text(self.position)
            # it tells of one stream alone, so that both are looked at afterwards
            if await self._client.xread(dict.fromkeys(_STREAMS, since), count=1, block=_BLOCK_MS):
                entries, _ = await self._look(self.position)
                if entries:
                    self.position = entries[-1].id
                    events = self._read(entries)
                    yield events

    async def _look(self, after: EntryId | None) -> tuple[list[_Entry], list[Extent]]:
        """The next entries after a position in their order, and what the streams hold, both at one moment.

        Parameters
        ----------
        after : None: no entries
        """
        pipeline = self._client.pipeline(transaction=True)
        for stream in _STREAMS:
            pipeline.xinfo_stream(stream)
        if after is not None:
            for stream in _STREAMS:
                pipeline.xrange(stream, min=f"({entry_id_text(after)}", count=_READ_AT_ONCE)
        answers: list[Any] = await pipeline.execute(raise_on_error=False)
        extents = [_extent(answer) for answer in answers[: len(_STREAMS)]]
        found = [_answered(answer) for answer in answers[len(_STREAMS) :]]
        entries = [
            _Entry(parsed_id(entry_id), stream == RETRACTION_STREAM, fields or {})
            for stream, of_stream in zip(_STREAMS, found, strict=False)
            for entry_id, fields in of_stream
        ]
        # where a stream has more, nothing is known yet of what comes before the other's later entries
        ends = [parsed_id(of_stream[-1][0]) for of_stream in found if len(of_stream) == _READ_AT_ONCE]
        return sorted((one for one in entries if not ends or one.id <= min(ends)), key=lambda one: one[:2]), extents

    def _read(self, entries: Sequence[_Entry]) -> list[PublishedEvent]:
        events = []
        for entry in entries:
            entry_id = entry_id_text(entry.id)
            try:
                events.append(read_event(entry_id.encode(), entry.fields, is_retraction=entry.is_retraction))
            except ValueError as error:
                self._measures.unreadable.inc()
                _logger.warning("unreadable entry id=%s reason=%s", entry_id, error)
        return events


def _answered(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer


def _extent(answer: Any) -> Extent:
    if isinstance(answer, redis.ResponseError) and "no such key" in str(answer):
        return Extent(None, _BEGINNING, False)
    found = _answered(answer)
    first = found["first-entry"]
    return Extent(
        None if first is None else parsed_id(first[0]),
        parsed_id(found["last-generated-id"]),
        int(found["entries-added"]) > int(found["length"]),
    )


def entry_id_text(entry_id: EntryId) -> str:
    """An entry's id as Redis writes it."""
    return "{}-{}".format(*entry_id)
