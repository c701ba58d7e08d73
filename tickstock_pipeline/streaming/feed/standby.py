"""Another provider's minutes while the live source is down for longer than a bound, asked for again and again.

What it gives replaces nothing that the live source has sent. Once the live source is back, its gap is filled from its
own history, and that replaces what stood in for it.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from tickstock_pipeline.errors import ProviderError, ProviderRefusedError, RateLimitedError
from tickstock_pipeline.market.calendar import TradingCalendar
from tickstock_pipeline.messaging.bar_event import LiveBar
from tickstock_pipeline.providers.base import HistoricalProvider
from tickstock_pipeline.streaming.feed.history import Minutes, live_bars
from tickstock_pipeline.streaming.feed.inbox import Inbox
from tickstock_pipeline.streaming.feed.source import Delivery, Origin

_logger = logging.getLogger(__name__)

STOOD_IN = "stand-in"
"""``data_quality`` of a bar that another provider gave while the live source was down."""

_LOOK_BACK = np.timedelta64(15, "m")


@dataclass(slots=True)
class Standing:
    """Whether another provider stands in.

    Attributes
    ----------
    provider : its name; empty: the live source serves
    reason : why, or why it cannot
    """

    provider: str = ""
    reason: str = ""


class Standby:
    """Asks another provider while the live source is down.

    Parameters
    ----------
    provider : whose minutes
    missing_since : since when the live source gives nothing, monotonic seconds; None: it serves
    is_open : whether the market trades now
    symbols : whose minutes are wanted
    now : the market's time, UTC
    after_s : how long, of a session, it may give nothing before
    every_s : between two rounds
    """

    def __init__(
        self,
        provider: HistoricalProvider,
        calendar: TradingCalendar,
        inbox: Inbox,
        *,
        missing_since: Callable[[], float | None],
        is_open: Callable[[], bool],
        symbols: Callable[[], Sequence[str]],
        now: Callable[[], np.datetime64],
        after_s: float = 120.0,
        every_s: float = 60.0,
    ) -> None:
        self._provider = provider
        self._minutes = Minutes(provider, calendar)
        self._inbox = inbox
        self._missing_since = missing_since
        self._is_open = is_open
        self._symbols = symbols
        self._now = now
        self._after_s = after_s
        self._every_s = every_s
        self._pool = ThreadPoolExecutor(provider.concurrency, "feed-standby")
        self._open_since: float | None = None
        self.standing = Standing()

    async def run(self) -> None:
        """Look every now and then, until cancelled."""
        step = min(self._after_s, self._every_s) / 4
        while True:
            if not self._is_needed():
                if self.standing.provider:
                    _logger.info("stand-in ends provider=%s", self.standing.provider)
                self.standing.provider = self.standing.reason = ""
                await asyncio.sleep(step)
                continue
            if not self.standing.provider:
                self.standing.provider = self._provider.name
                self.standing.reason = f"the live source has given nothing for {self._after_s:g} s"
                _logger.warning("stand-in begins provider=%s", self._provider.name)
            begun = time.monotonic()
            await self._round()
            await asyncio.sleep(max(self._every_s - (time.monotonic() - begun), step))

    def close(self) -> None:
        """End the threads, without waiting for answers or for a turn to ask."""
        self._minutes.end()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _is_needed(self) -> bool:
        now = time.monotonic()
        if not self._is_open():
            self._open_since = None
            return False
        self._open_since = now if self._open_since is None else self._open_since
        since = self._missing_since()
        return since is not None and now - max(since, self._open_since) >= self._after_s

    async def _round(self) -> None:
        waiting = iter(self._symbols())

        async def ask() -> None:
            for symbol in waiting:
                if not self._is_needed():
                    return
                asked_at = time.time()
                loop = asyncio.get_running_loop()
                try:
                    bars = await loop.run_in_executor(self._pool, self._latest, symbol)
                except ProviderError as error:
                    self.standing.reason = error.message
                    _logger.warning("stand-in failed symbol=%s reason=%s", symbol, error.message)
                    if isinstance(error, (ProviderRefusedError, RateLimitedError)):
                        return
                    continue
                if bars:
                    await self._inbox.put(Delivery(bars, Origin.STANDBY, asked_at))

        await asyncio.gather(*(ask() for _ in range(self._provider.concurrency)))

    def _latest(self, symbol: str) -> list[LiveBar]:
        since = self._now() - _LOOK_BACK
        bars, source = self._minutes.since(symbol, since, self._now())
        return live_bars(bars, source, STOOD_IN)
