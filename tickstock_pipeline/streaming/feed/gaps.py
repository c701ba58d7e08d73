"""Fills what was missed, from the provider's history: at the start, after a connection was lost, after Redis was lost.

1. What is wanted of a symbol is everything from a minute on: of several wishes the earliest counts. Where nobody knows
   since when something is missing, it is the session of the last stored minute and the one before.
2. The answer is compared with what is stored and with what was sent since. Only what is missing or different goes on.
3. A failure puts the symbol back. After a refusal nothing is asked for until the next wish, which then is one for all
   that is still missing; the reason is shown.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from tickstock_pipeline.errors import (
    ProviderError,
    ProviderRefusedError,
    RateLimitedError,
    StorageError,
    UnknownSymbolError,
)
from tickstock_pipeline.market.bar import Bars, BoolArray
from tickstock_pipeline.market.calendar import TradingCalendar
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.messaging.bar_event import LiveBar
from tickstock_pipeline.providers.base import HistoricalProvider
from tickstock_pipeline.storage.bars import read_bars
from tickstock_pipeline.storage.quality import series_extents
from tickstock_pipeline.streaming.feed.history import Minutes, day_of, live_bars
from tickstock_pipeline.streaming.feed.inbox import Inbox
from tickstock_pipeline.streaming.feed.source import Delivery, Origin

_logger = logging.getLogger(__name__)

FILLED = "filled"
"""``data_quality`` of a bar that was asked for after a gap."""
MOST_SESSIONS = 5
"""Gaps are filled so far back at most; what is older is for imports."""

_RETRY_S = 30.0
# A connection that comes and goes puts fills off so often at most.
_MOST_SETTLINGS = 3
_EVER = np.datetime64(0, "us")


@dataclass(slots=True)
class Filling:
    """How far it is.

    Attributes
    ----------
    waiting : symbols that are still to be asked for, or whose answer is awaited
    problem : the last failure, until an answer comes
    """

    waiting: int = 0
    answers: int = 0
    failures: int = 0
    problem: str = ""


class GapFiller:
    """Asks for what was missed, in the background.

    Parameters
    ----------
    provider : whose minutes; None: nobody's, gaps stay
    now : the market's time, UTC
    settling_s : seconds after a wish until it is asked for: the provider must have its last minute too
    via : how live bars come to us, for the stream
    """

    def __init__(
        self,
        provider: HistoricalProvider | None,
        engine: sa.Engine,
        calendar: TradingCalendar,
        inbox: Inbox,
        now: Callable[[], np.datetime64],
        *,
        settling_s: float = 5.0,
        retry_s: float = _RETRY_S,
        via: bytes | None = None,
    ) -> None:
        has_minutes = provider is not None and Timeframe.MINUTE in provider.timeframes
        self._minutes = Minutes(provider, calendar) if provider is not None and has_minutes else None
        self._engine = engine
        self._calendar = calendar
        self._inbox = inbox
        self._now = now
        self._settling_s = settling_s
        self._retry_s = retry_s
        self._via = via
        self._wanted: dict[str, np.datetime64] = {}
        self._unknown_since: set[str] = set()
        self._asked: set[str] = set()
        self._arrived = asyncio.Event()
        self._pool = ThreadPoolExecutor(1 if self._minutes is None else self._minutes.concurrency, "feed-history")
        self.filling = Filling()
        if self._minutes is None:
            self.filling.problem = "no provider of minutes is configured: gaps are not filled"

    def want(self, symbols: Iterable[str], since: np.datetime64 | None) -> None:
        """Ask for the minutes of symbols.

        Parameters
        ----------
        since : the first one, UTC; None: whatever each symbol's last sessions lack
        """
        if self._minutes is None:
            return
        for symbol in symbols:
            if since is None:
                self._unknown_since.add(symbol)
            else:
                self._wanted[symbol] = min(since, self._wanted.get(symbol, since))
        self._count_waiting()
        self._arrived.set()

    async def run(self) -> None:
        """Fill until cancelled."""
        minutes = self._minutes
        is_known = True
        while minutes is not None:
            await self._arrived.wait()
            for _ in range(_MOST_SETTLINGS):
                if not self._arrived.is_set():
                    break
                self._arrived.clear()
                # first of all: soon the newest stored minute is one that came after the gap
                is_known = await self._looked_up()
                await asyncio.sleep(self._settling_s)
            wanted, self._wanted = self._wanted, {}
            again, is_refused = await self._filled(minutes, wanted)
            for symbol, since in again:
                self._wanted[symbol] = min(since, self._wanted.get(symbol, since))
            self._count_waiting()
            if not is_known:
                self._arrived.set()
            elif self._wanted and not is_refused and not self._arrived.is_set():
                await asyncio.sleep(self._retry_s)
                self._arrived.set()

    def close(self) -> None:
        """End the threads, without waiting for answers or for a turn to ask."""
        if self._minutes is not None:
            self._minutes.end()
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _looked_up(self) -> bool:
        """Find out since when minutes may be missing of the symbols of which that is not known; False: not now."""
        unknown, self._unknown_since = self._unknown_since, set()
        if not unknown:
            return True
        try:
            newest = await asyncio.to_thread(self._newest_stored, sorted(unknown))
        except (StorageError, DBAPIError) as error:
            _logger.warning("gaps cannot be known reason=%s", type(error).__name__)
            self._unknown_since |= unknown
            return False
        for symbol in unknown:
            since = newest.get(symbol, _EVER)
            self._wanted[symbol] = min(since, self._wanted.get(symbol, since))
        return True

    def _newest_stored(self, symbols: list[str]) -> dict[str, np.datetime64]:
        with self._engine.connect() as connection:
            extents = series_extents(connection, Timeframe.MINUTE)
        return {symbol: self._sure_until(extents[symbol][2]) for symbol in symbols if symbol in extents}

    def _sure_until(self, newest: np.datetime64) -> np.datetime64:
        """The opening of the session before that of the last stored minute.

        What is stored may have holes: minutes that came while an earlier feed was down are older than those that came
        since, a late or corrected one than its neighbours; and a feed may have ended before it had filled its gap.
        """
        sessions = self._calendar.sessions(self._calendar.first, day_of(newest))
        opening: np.datetime64 = self._calendar.opening(sessions[-2:])[0]
        return opening

    async def _filled(
        self, minutes: Minutes, wanted: dict[str, np.datetime64]
    ) -> tuple[list[tuple[str, np.datetime64]], bool]:
        """Ask for symbols; gives back those to ask for again, and whether the provider refuses to answer."""
        again: list[tuple[str, np.datetime64]] = []
        self._asked = set(wanted)
        self._count_waiting()
        waiting = iter(sorted(wanted.items(), key=lambda item: (item[1], item[0])))
        refusal = ""

        async def ask() -> None:
            nonlocal refusal
            while not refusal and (next_one := next(waiting, None)) is not None:
                symbol, since = next_one
                try:
                    await self._fill(minutes, symbol, since)
                except UnknownSymbolError:
                    self.filling.answers += 1
                except ProviderRefusedError as error:
                    refusal = error.message
                    again.append((symbol, since))
                    return
                except ProviderError as error:
                    self._failed(error)
                    again.append((symbol, since))
                    if isinstance(error, RateLimitedError):
                        await asyncio.sleep(error.retry_after_seconds or self._retry_s)
                self._asked.discard(symbol)
                self._count_waiting()

        await asyncio.gather(*(ask() for _ in range(minutes.concurrency)))
        if refusal:
            self.filling.problem = refusal
            _logger.error("gaps are not filled reason=%s", refusal)
        self._asked = set()
        return [*again, *waiting], bool(refusal)

    async def _fill(self, minutes: Minutes, symbol: str, since: np.datetime64) -> None:
        asked_at = time.time()
        since = max(since, self._earliest())
        loop = asyncio.get_running_loop()
        bars = await loop.run_in_executor(self._pool, self._missing, minutes, symbol, since)
        self.filling.answers += 1
        self.filling.problem = ""
        if bars:
            _logger.info("gap filled symbol=%s bars=%d since=%s", symbol, len(bars), since)
            await self._inbox.put_aside(Delivery(bars, Origin.FILL, asked_at, self._via))

    def _missing(self, minutes: Minutes, symbol: str, since: np.datetime64) -> list[LiveBar]:
        bars, source = minutes.since(symbol, since, self._now())
        try:
            with self._engine.connect() as connection:
                stored = read_bars(connection, Timeframe.MINUTE, [symbol], since).get(symbol)
        except (StorageError, DBAPIError):
            stored = None
        missing = bars if stored is None else bars[~_is_stored(bars, stored)]
        return live_bars(missing, source, FILLED)

    def _earliest(self) -> np.datetime64:
        sessions = self._calendar.sessions(self._calendar.first, day_of(self._now()))
        opening: np.datetime64 = self._calendar.opening(sessions[-MOST_SESSIONS:])[0]
        return opening

    def _count_waiting(self) -> None:
        self.filling.waiting = len(self._wanted.keys() | self._unknown_since | self._asked)

    def _failed(self, error: ProviderError) -> None:
        self.filling.failures += 1
        if self.filling.problem != error.message:
            _logger.warning("gap not filled yet reason=%s", error.message)
        self.filling.problem = error.message


def _is_stored(bars: Bars, stored: Bars) -> BoolArray:
    at = np.minimum(np.searchsorted(stored.time, bars.time), max(len(stored) - 1, 0))
    is_same: BoolArray = stored.time[at] == bars.time
    for name in ("open", "high", "low", "close", "volume"):
        is_same &= getattr(stored, name)[at] == getattr(bars, name)
    return is_same
