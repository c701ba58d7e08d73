"""What happens within the minutes of a session, made a minute ahead of its time in a thread.

A thousand symbols' seconds take longer to make than some of them last: made when they are due, they would come late and
then all at once.
"""

import asyncio
from collections.abc import Mapping

from tickstock_pipeline.replay.bridge import Whole
from tickstock_pipeline.replay.stream import StreamHub
from tickstock_pipeline.replay.stream_events import QUOTE, SECOND, TRADE, Event, SecondEvents

FINER = (SECOND, TRADE, QUOTE)

_MINUTE_MS = 60_000

Wanted = dict[str, frozenset[str]]
"""The types of events that somebody wants of each symbol."""

BySecond = dict[int, list[Event]]
"""Events by the second (0 to 59) in which they happen."""


class FinerEvents:
    """Seconds, trades and quotes of one session; from one event loop.

    Parameters
    ----------
    hub : knows who wants what
    minutes : start in milliseconds -> symbol -> values of the minute
    seed : of what is invented
    """

    def __init__(self, hub: StreamHub, minutes: Mapping[int, Mapping[str, Whole]], seed: int) -> None:
        self._hub = hub
        self._minutes = minutes
        self._seed = seed
        self._makers: dict[str, SecondEvents] = {}
        self._ahead: tuple[int, Wanted, asyncio.Task[BySecond]] | None = None

    async def of(self, start: int) -> BySecond:
        """What happens within a minute and is wanted; the minutes of a session are asked for in their order."""
        events: BySecond = {}
        made: Wanted = {}
        if self._ahead is not None and self._ahead[0] == start:
            _, made, task = self._ahead
            events = await task
        # who has subscribed since gets it too
        missing = {symbol: types for symbol, types in self._wanted(start).items() if symbol not in made}
        if missing:
            for second, more in (await asyncio.to_thread(self._make, start, missing)).items():
                events.setdefault(second, []).extend(more)
        self._ahead = None
        after = start + _MINUTE_MS
        if wanted := self._wanted(after):
            self._ahead = (after, wanted, asyncio.create_task(asyncio.to_thread(self._make, after, wanted)))
        return events

    def close(self) -> None:
        """Forget what was made ahead."""
        if self._ahead is not None:
            self._ahead[2].cancel()
            self._ahead = None

    def _wanted(self, start: int) -> Wanted:
        symbols = list(self._minutes.get(start, ()))
        by_type = {type_: set(self._hub.wanted(type_, symbols)) for type_ in FINER if self._hub.wants(type_)}
        wanted = {symbol: frozenset(type_ for type_, of in by_type.items() if symbol in of) for symbol in symbols}
        return {symbol: types for symbol, types in wanted.items() if types}

    def _make(self, start: int, wanted: Wanted) -> BySecond:
        found: BySecond = {}
        for symbol, types in wanted.items():
            maker = self._makers.get(symbol)
            if maker is None:
                maker = self._makers[symbol] = SecondEvents(symbol, self._seed)
            for second, events in maker.within(start, self._minutes[start][symbol], types).items():
                found.setdefault(second, []).extend(events)
        return found
