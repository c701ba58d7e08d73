"""How the feed shows that it lives and how it is: a hash for status and metrics, health events at each change."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import redis

from tickstock_pipeline.errors import MessagingError
from tickstock_pipeline.market.calendar import TradingCalendar
from tickstock_pipeline.market.status import market_status
from tickstock_pipeline.messaging.channels import FEED_STATE
from tickstock_pipeline.messaging.connection import named_errors
from tickstock_pipeline.messaging.health import HEARTBEAT_S, Status, publish_health
from tickstock_pipeline.providers.waiting import ended_by
from tickstock_pipeline.streaming.feed.gaps import Filling
from tickstock_pipeline.streaming.feed.inbox import Inbox
from tickstock_pipeline.streaming.feed.market_clock import MarketClock
from tickstock_pipeline.streaming.feed.standby import Standing
from tickstock_pipeline.streaming.feed.state import FeedState, feed_status, quantile, shown
from tickstock_pipeline.streaming.feed.writer import Written

_logger = logging.getLogger(__name__)

_EXPIRY_S = 15
_ASK_MARKET_S = 300.0


@dataclass(frozen=True, slots=True)
class FeedParts:
    """What there is to show; each part keeps its own up to date."""

    state: FeedState
    inbox: Inbox
    clock: MarketClock
    written: Written
    filling: Filling
    standing: Standing


class FeedSigns:
    """Shows one feed's state.

    Parameters
    ----------
    client : of :func:`tickstock_pipeline.messaging.connection.connect`
    ask_market : asks a provider for the market's phase; may take a while
    """

    def __init__(
        self,
        parts: FeedParts,
        client: "redis.Redis",
        calendar: TradingCalendar,
        ask_market: Callable[[], str] | None = None,
    ) -> None:
        self._parts = parts
        self._client = client
        self._calendar = calendar
        self._ask_market = ask_market
        self._providers_market = ""
        self._changed = asyncio.Event()
        self._told: tuple[Status, str] | None = None
        self._told_at = 0.0
        self._blocked_s = 0.0
        self._is_blocked = False

    def changed(self) -> None:
        """Something has happened that others should know at once."""
        self._changed.set()

    async def keep_showing(self, every_s: float) -> None:
        """Show the state again and again, and each change of it, until cancelled."""
        while True:
            blocked_s = self._parts.inbox.blocked_s
            self._is_blocked, self._blocked_s = blocked_s > self._blocked_s, blocked_s
            try:
                await asyncio.to_thread(self._show, self.details(), self.status)
            except MessagingError as error:
                _logger.debug("state not shown reason=%s", error.message)
            try:
                async with asyncio.timeout(every_s):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()

    async def keep_asking(self) -> None:
        """Ask the provider for the market's phase every few minutes, until cancelled."""
        is_over = threading.Event()
        try:
            with ended_by(is_over):
                while self._ask_market is not None:
                    self._providers_market = await asyncio.to_thread(self._ask_market)
                    await asyncio.sleep(_ASK_MARKET_S)
        finally:
            # the question may be waiting for its turn, and would keep the process from ending
            is_over.set()

    def stopped(self) -> None:
        """Tell that the feed ends."""
        publish_health(self._client, "feed", "stopped", self.details())
        with named_errors():
            self._client.delete(FEED_STATE)

    @property
    def status(self) -> Status:
        """How the feed is."""
        parts = self._parts
        return feed_status(
            parts.state,
            redis_problem=parts.written.redis_problem,
            stands_in=bool(parts.standing.provider),
            is_blocked=self._is_blocked,
        )

    def details(self) -> dict[str, Any]:
        """Everything that is shown."""
        parts, state, written = self._parts, self._parts.state, self._parts.written
        market = market_status(self._calendar, np.datetime64("now", "us"))
        latencies = list(written.latencies_ms)
        return {
            "source": state.source,
            "provider": parts.standing.provider or state.source,
            "provider_reason": parts.standing.reason,
            "is_connected": state.is_connected,
            "connected_since": _instant(state.connected_at),
            "last_message": _instant(state.last_heard_at),
            "market_time": _instant(parts.clock.newest_ms / 1_000),
            "market": market.phase.value,
            "provider_market": self._providers_market,
            "is_early_close": market.is_early_close,
            "symbols": state.symbols,
            "connections": state.connections,
            "failures": state.failures,
            "reasons": state.recent_reasons(),
            "messages": state.messages,
            "events": state.events,
            "bars": written.bars,
            "repeats": written.repeats,
            "filled": written.filled,
            "stood_in": written.stood_in,
            "refused": written.refused,
            "outside_session": written.outside_session,
            "queue_depth": parts.inbox.depth,
            "queue_deepest": parts.inbox.deepest,
            "queue_capacity": parts.inbox.capacity,
            "blocked_seconds": round(parts.inbox.blocked_s, 3),
            "stream_p50_ms": round(quantile(latencies, 0.5), 2),
            "stream_p99_ms": round(quantile(latencies, 0.99), 2),
            "gaps_waiting": parts.filling.waiting,
            "gaps_problem": parts.filling.problem,
            "redis_problem": written.redis_problem,
            "redis_restarts": written.redis_restarts,
            "restored": written.restored,
            "uptime_seconds": round(time.time() - state.started_at, 1),
        }

    def _show(self, details: dict[str, Any], status: Status) -> None:
        with named_errors():
            pipeline = self._client.pipeline(transaction=True)
            pipeline.hset(FEED_STATE, mapping=shown({**details, "status": status, "updated_at": f"{time.time():.3f}"}))
            pipeline.expire(FEED_STATE, _EXPIRY_S)
            pipeline.execute()
        told = (status, f"{details['provider']} {details['is_connected']} {details['market']}")
        if told != self._told or time.monotonic() - self._told_at >= HEARTBEAT_S:
            publish_health(self._client, "feed", status, details)
            self._told, self._told_at = told, time.monotonic()


def _instant(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds)) if seconds else ""
