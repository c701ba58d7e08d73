"""Market time that passes: sessions played over the stream, minute by minute, at a chosen speed.

1. The minutes of one session are loaded, of all symbols.
2. A minute's aggregates are sent when it ends; seconds, trades and quotes within it, for those who subscribed.
3. Between two sessions no time passes: closed hours are left out.
4. The clock that the REST answers obey is set before anything is sent, so a client that fills a gap by REST never
   sees a bar that has not closed yet, and always those that were sent.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple, TextIO

import numpy as np

from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.replay import eastern
from tickstock_pipeline.replay.bridge import Whole
from tickstock_pipeline.replay.finer import BySecond, FinerEvents
from tickstock_pipeline.replay.market import ReplayMarket
from tickstock_pipeline.replay.stream import StreamHub
from tickstock_pipeline.replay.stream_events import MINUTE, DaySoFar, Event, aggregate, wholes
from tickstock_pipeline.replay.stream_faults import EventFaults

_MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Span:
    """What is played.

    Attributes
    ----------
    symbols : whose minutes
    first, last : dates on the exchange, both included
    speed : market seconds a second; 0: as fast as the clients read
    """

    symbols: Sequence[str]
    first: date
    last: date
    speed: float = 60.0


class Progress(NamedTuple):
    """How far a playback is.

    Attributes
    ----------
    now : the market's time, datetime64[us], UTC
    minutes, total_minutes : of trading, played and in all
    events : sent so far
    behind : seconds that the playback lags behind its speed
    """

    now: np.datetime64
    minutes: int
    total_minutes: int
    events: int
    behind: float


class Playback:
    """One run over a span; :meth:`run` in the server's event loop.

    Parameters
    ----------
    set_now : told the market's time, before what happens then is sent
    log : gets a line for each event sent: ``{"sent": Unix seconds, "market": Unix milliseconds, "event": {…}}``
    on_progress : told after each minute

    Raises
    ------
    ValueError
        If the exchange does not trade in the span.
    """

    def __init__(
        self,
        market: ReplayMarket,
        hub: StreamHub,
        span: Span,
        set_now: Callable[[np.datetime64], None],
        *,
        log: TextIO | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self._market = market
        self._hub = hub
        self._span = span
        self._set_now = set_now
        self._log = log
        self._on_progress = on_progress
        self._faults = EventFaults(hub.faults, market.seed)
        self._events = 0
        self._played_ms = 0
        self._started = 0.0
        sessions = market.calendar.sessions(span.first, span.last)
        if not len(sessions):
            raise ValueError(f"no session of the exchange between {span.first} and {span.last}")
        self._sessions = sessions
        lengths = market.calendar.closing(sessions) - market.calendar.opening(sessions)
        self._total_minutes = int(lengths.sum() // np.timedelta64(1, "m"))

    def rewind(self) -> None:
        """Set the market's time to the opening of the first session."""
        self._set_now(_as_instant(self._market.calendar.opening(self._sessions[0])))

    async def run(self) -> int:
        """Play it all.

        Returns
        -------
        How many events were sent.
        """
        self._started = time.monotonic()
        for session in self._sessions:
            opening = self._market.calendar.opening(session)
            closing = self._market.calendar.closing(session)
            self._set_now(_as_instant(opening))
            loading = time.monotonic()
            minutes = await asyncio.to_thread(self._minutes_by_start, eastern.as_date(session))
            # nothing trades meanwhile
            self._started += time.monotonic() - loading
            so_far = {symbol: DaySoFar() for symbol in self._span.symbols}
            first, last = (int(eastern.milliseconds(moment)) for moment in (opening, closing))
            finer = FinerEvents(self._hub, minutes, self._market.seed)
            try:
                for start in range(first, last, _MINUTE_MS):
                    await self._play_minute(start, minutes.get(start, {}), so_far, finer)
            finally:
                finer.close()
            await self._send(self._faults.rest())
        await self._hub.drained()
        return self._events

    async def _play_minute(
        self,
        start: int,
        minutes: dict[str, Whole],
        so_far: dict[str, DaySoFar],
        finer: FinerEvents,
    ) -> None:
        await self._play_seconds(start, await finer.of(start))
        events = []
        for symbol, whole in minutes.items():
            so_far[symbol].add(whole)
            events.append(aggregate(MINUTE, symbol, start, _MINUTE_MS, whole, so_far[symbol]))
        end = start + _MINUTE_MS
        behind = await self._wait(_MINUTE_MS)
        self._played_ms += _MINUTE_MS
        self._set_now(eastern.instant(end))
        await self._send(self._faults.passed(events, end))
        if self._on_progress is not None:
            played = self._played_ms // _MINUTE_MS
            self._on_progress(Progress(eastern.instant(end), played, self._total_minutes, self._events, behind))

    async def _play_seconds(self, start: int, by_second: BySecond) -> None:
        for second in sorted(by_second):
            await self._wait((second + 1) * 1_000)
            await self._send(self._faults.passed(by_second[second], start + (second + 1) * 1_000))

    async def _wait(self, market_ms: int) -> float:
        """Wait for a moment of the running minute; says how many seconds ago it should have been."""
        if not self._span.speed:
            await asyncio.sleep(0)
            return 0.0
        due = self._started + (self._played_ms + market_ms) / 1_000 / self._span.speed
        left = due - time.monotonic()
        await asyncio.sleep(max(left, 0.0))
        return max(-left, 0.0)

    async def _send(self, events: Sequence[Event]) -> None:
        if not events:
            return
        self._events += len(events)
        if self._log is not None:
            sent = time.time()
            for event in events:
                self._log.write(f'{{"sent":{sent:.6f},"market":{event.start},"event":{event.text}}}\n')
        await self._hub.broadcast(events, can_wait=not self._span.speed)

    def _minutes_by_start(self, session: date) -> dict[int, dict[str, Whole]]:
        found: dict[int, dict[str, Whole]] = {}
        for symbol in self._span.symbols:
            minutes: Bars = self._market.bars_to_come(symbol, Timeframe.MINUTE, session, session)
            for start, whole in zip(eastern.milliseconds(minutes.time).tolist(), wholes(minutes), strict=True):
                found.setdefault(start, {})[symbol] = whole
        return found


def _as_instant(moment: np.ndarray) -> np.datetime64:
    return np.datetime64(int(eastern.milliseconds(moment)) * 1_000, "us")
