"""The way from closed minutes to the streams: judged, without repeats, appended together, kept until Redis has them.

Redis and PostgreSQL are spoken to in threads of their own, so that reading from the socket never waits for them. Bars
that Redis does not take are kept, and nothing more is taken from the inbox until it does: nothing is dropped.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import redis
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from tickstock_pipeline.errors import MessagingError, StorageError
from tickstock_pipeline.market.bar import RefusedBar
from tickstock_pipeline.market.calendar import TradingCalendar
from tickstock_pipeline.messaging.bar_event import LiveBar
from tickstock_pipeline.storage.quarantine import record_refused
from tickstock_pipeline.streaming.feed.kept_stream import KeptStream, Restored
from tickstock_pipeline.streaming.feed.sent_bars import SentBars
from tickstock_pipeline.streaming.feed.source import Delivery, Origin
from tickstock_pipeline.streaming.judging import judged

_logger = logging.getLogger(__name__)

T = TypeVar("T")

CHECK_S = 1.0
_BACK_OFF_S = (0.05, 2.0)
_QUARANTINE_S = 2.0
_MOST_REFUSED = 5_000
_LATENCIES = 2_000


@dataclass(slots=True)
class Written:
    """What has become of the bars so far.

    Attributes
    ----------
    bars : appended to the streams, revisions included
    repeats : said nothing new
    filled, stood_in : of ``bars``, those of a gap's fill and of a stand-in
    refused : broke a rule
    outside_session : dropped
    restored : appended once more after a failure of Redis
    redis_problem : why Redis does not take bars at the moment
    latencies_ms : of the last messages, from receipt to the stream
    """

    bars: int = 0
    repeats: int = 0
    filled: int = 0
    stood_in: int = 0
    refused: int = 0
    outside_session: int = 0
    restored: int = 0
    redis_restarts: int = 0
    redis_problem: str = ""
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_LATENCIES))


class StreamWriter:
    """Writes deliveries; from one event loop.

    Parameters
    ----------
    client : used in one thread of ours only
    engine : for the quarantine
    on_restart : told when Redis has been restarted, once what was lost is back
    """

    def __init__(
        self,
        client: "redis.Redis",
        engine: sa.Engine,
        calendar: TradingCalendar,
        on_restart: Callable[[], None],
    ) -> None:
        self._kept = KeptStream(client)
        self._engine = engine
        self._calendar = calendar
        self._on_restart = on_restart
        self._redis_thread = ThreadPoolExecutor(1, "feed-redis")
        self._refused: list[tuple[str, RefusedBar]] = []
        self._checked_at = 0.0
        self.sent = SentBars()
        self.written = Written()

    async def begin(self) -> None:
        """Learn what the streams hold.

        Raises
        ------
        MessagingError
            If Redis does not answer.
        """
        for bar, at in await self._in_redis_thread(self._load):
            self.sent.new_of(Delivery([bar], Origin.LIVE, at), [bar])

    async def write(self, deliveries: Sequence[Delivery], received_at: Sequence[float] = ()) -> None:
        """Append what is new and good; returns once Redis has it.

        Parameters
        ----------
        deliveries : in order
        received_at : when the messages came that they are from, Unix seconds
        """
        bars = [bar for delivery in deliveries for bar in delivery.bars]
        judgement = judged(bars, self._calendar)
        self.refuse(judgement.refused)
        self.written.outside_session += judgement.outside_session
        groups: list[tuple[list[LiveBar], bytes | None]] = []
        start = 0
        for delivery in deliveries:
            verdicts = judgement.is_good[start : start + len(delivery.bars)]
            start += len(delivery.bars)
            good = [bar for bar, is_good in zip(delivery.bars, verdicts, strict=True) if is_good]
            new = self.sent.new_of(delivery, good)
            self.written.repeats += len(good) - len(new)
            self.written.filled += len(new) if delivery.origin is Origin.FILL else 0
            self.written.stood_in += len(new) if delivery.origin is Origin.STANDBY else 0
            if new:
                groups.append((new, delivery.via))
        if groups:
            await self._append(groups)
            self.written.bars += sum(len(new) for new, _ in groups)
            now = time.time()
            self.written.latencies_ms.extend((now - at) * 1_000 for at in received_at)

    def refuse(self, refused: Sequence[tuple[str, RefusedBar]]) -> None:
        """Put bars into quarantine, a little later."""
        self.written.refused += len(refused)
        self._refused += refused[: _MOST_REFUSED - len(self._refused)]

    async def check_redis(self) -> None:
        """Look whether Redis is still the same, if that is due."""
        if time.monotonic() - self._checked_at >= CHECK_S:
            await self._mend(is_first_try=True)

    async def keep_quarantine(self) -> None:
        """Store what was refused every few seconds, until cancelled."""
        while True:
            await asyncio.sleep(_QUARANTINE_S)
            await self.store_refused()

    async def store_refused(self) -> None:
        """Store what was refused; what the database does not take now is tried again."""
        refused, self._refused = self._refused, []
        if not refused:
            return
        try:
            await asyncio.to_thread(self._quarantine, refused)
        except (StorageError, DBAPIError) as error:
            _logger.warning("quarantine failed bars=%d reason=%s", len(refused), type(error).__name__)
            self._refused = (refused + self._refused)[:_MOST_REFUSED]

    def close(self) -> None:
        """End the thread."""
        self._redis_thread.shutdown(wait=True)

    async def _append(self, groups: Sequence[tuple[Sequence[LiveBar], bytes | None]]) -> None:
        try:
            await self._in_redis_thread(lambda: self._kept.append(groups, time.time()))
        except MessagingError as error:
            self._is_down(error)
            await self._mend(is_first_try=False)

    async def _mend(self, *, is_first_try: bool) -> None:
        wait = 0.0 if is_first_try else _BACK_OFF_S[0]
        while True:
            await asyncio.sleep(wait)
            try:
                restored: Restored | None = await self._in_redis_thread(self._kept.check)
                break
            except MessagingError as error:
                self._is_down(error)
                wait = min(max(2 * wait, _BACK_OFF_S[0]), _BACK_OFF_S[1])
        self._checked_at = time.monotonic()
        if self.written.redis_problem:
            _logger.info("redis takes bars again")
            self.written.redis_problem = ""
        if restored is not None:
            _logger.warning(
                "redis mended bars_restored=%d is_complete=%s is_other_run=%s",
                *(restored.n_bars, restored.is_complete, restored.is_other_run),
            )
            self.written.restored += restored.n_bars
            if not restored.is_complete:
                self.sent.forget()
            if restored.is_other_run:
                self.written.redis_restarts += 1
                self._on_restart()

    def _is_down(self, error: MessagingError) -> None:
        if not self.written.redis_problem:
            _logger.error("redis does not take bars reason=%s", error.message)
        self.written.redis_problem = error.message

    def _load(self) -> list[tuple[LiveBar, float]]:
        self._kept.check()
        return self._kept.load()

    def _quarantine(self, refused: Sequence[tuple[str, RefusedBar]]) -> None:
        with self._engine.begin() as connection:
            for source in sorted({source for source, _ in refused}):
                record_refused(connection, [bar for by, bar in refused if by == source], source)

    async def _in_redis_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._redis_thread, work)
