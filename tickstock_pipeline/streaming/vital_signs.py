"""How a worker shows that it lives and how it is: heartbeats, health events, and its state for status and metrics."""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import psutil
import redis

from tickstock_pipeline import __version__
from tickstock_pipeline.analysis import ENGINE_VERSION
from tickstock_pipeline.errors import MessagingError
from tickstock_pipeline.market.status import market_status
from tickstock_pipeline.messaging.channels import SOURCE, worker_state_key
from tickstock_pipeline.messaging.connection import named_errors
from tickstock_pipeline.messaging.health import HEARTBEAT_S, Status, beat, publish_health
from tickstock_pipeline.storage.event_log import PRODUCER_ALIVE, PRODUCER_STARTED, log_sign_of_life
from tickstock_pipeline.streaming.breaker import Breaker
from tickstock_pipeline.streaming.desk import Desk

_logger = logging.getLogger(__name__)

STATE_S = 2.0
_STATE_EXPIRY_S = 15
_SYMBOLS_SHOWN = 20


@dataclass(slots=True)
class Tally:
    """What a worker has done since its start, and how the last batch went.

    Attributes
    ----------
    lag_ms : age of the last batch's oldest entry when the batch was begun
    last_batch_ms : from the receipt of the last batch to its publication
    last_pattern_at : Unix seconds; 0: none yet
    """

    entries: int = 0
    bars: int = 0
    unanalysed_bars: int = 0
    repeats: int = 0
    quarantined: int = 0
    outside_session: int = 0
    patterns: int = 0
    batches: int = 0
    lag_ms: float = 0.0
    last_batch_bars: int = 0
    last_batch_ms: float = 0.0
    last_pattern_at: float = 0.0


class VitalSigns:
    """Shows one worker's state.

    Parameters
    ----------
    clock : seconds, never going back
    """

    def __init__(
        self, desk: Desk, client: "redis.Redis", breaker: Breaker, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._desk = desk
        self._client = client
        self._breaker = breaker
        self._clock = clock
        self._started = clock()
        self._beat_at: float | None = None
        self._shown_at: float | None = None
        self._told_at: float | None = None
        self._told_status: Status | None = None
        self._problem = ""
        self.tally = Tally()

    @property
    def status(self) -> Status:
        """How the worker is."""
        if self._problem or self._breaker.is_unhealthy:
            return "unhealthy"
        return "degraded" if self._breaker.state == "open" or self._desk.held_up.symbols else "healthy"

    def started(self) -> None:
        """Tell that the worker begins."""
        with self._desk.engine.begin() as connection:
            log_sign_of_life(connection, SOURCE, PRODUCER_STARTED, {"worker": self._desk.worker, **_versions()})
        _logger.info("started worker=%s shards=%d", self._desk.worker, self._desk.n_shards)

    def show(self) -> None:
        """Show what is due: the state every two seconds, heartbeats every minute, health at each change as well."""
        self._problem = ""
        now = self._clock()
        self._show_in_redis(now)
        if self._beat_at is None or now - self._beat_at >= HEARTBEAT_S:
            beat(self._client)
            with self._desk.engine.begin() as connection:
                log_sign_of_life(connection, SOURCE, PRODUCER_ALIVE, self._alive())
            self._beat_at = now

    def failed(self, problem: str) -> None:
        """Show that nothing can be done at the moment, and why, as far as Redis answers."""
        self._problem = problem
        with suppress(MessagingError):
            self._show_in_redis(self._clock())

    def _show_in_redis(self, now: float) -> None:
        if self._shown_at is None or now - self._shown_at >= STATE_S:
            self._breaker.saw_load(psutil.cpu_percent())
            self._show_state()
            self._shown_at = now
        status = self.status
        is_change = status != self._told_status
        if self._told_at is None or now - self._told_at >= HEARTBEAT_S or is_change:
            publish_health(self._client, f"worker:{self._desk.worker}", status, self._details())
            if is_change:
                self._show_state()
                _logger.info("health status=%s reason=%s", status, self._problem or self._breaker.reason or "-")
            self._told_at, self._told_status = now, status

    def stopped(self) -> None:
        """Tell that the worker ends."""
        publish_health(self._client, f"worker:{self._desk.worker}", "stopped", self._details())
        with named_errors():
            self._client.delete(worker_state_key(self._desk.worker))

    def _show_state(self) -> None:
        key = worker_state_key(self._desk.worker)
        state = {**self._details(), **_versions(), "status": self.status, "updated_at": f"{time.time():.3f}"}
        with named_errors():
            pipeline = self._client.pipeline(transaction=True)
            pipeline.hset(key, mapping={name: str(value) for name, value in state.items()})
            pipeline.expire(key, _STATE_EXPIRY_S)
            pipeline.execute()

    def _alive(self) -> dict[str, Any]:
        return {
            "worker": self._desk.worker,
            "patterns_detected": self.tally.patterns,
            "uptime_seconds": round(self._clock() - self._started, 1),
            "last_pattern_time": self.tally.last_pattern_at or None,
        }

    def _details(self) -> dict[str, Any]:
        tally, book = self.tally, self._desk.book
        market = market_status(self._desk.calendar, np.datetime64(time.time_ns() // 1000, "us"))
        return {
            "worker": self._desk.worker,
            "market": market.phase.value,
            "is_early_close": market.is_early_close,
            "shards": ",".join(map(str, sorted(self._desk.leases))),
            "lag_ms": round(tally.lag_ms, 1),
            "last_batch_bars": tally.last_batch_bars,
            "last_batch_ms": round(tally.last_batch_ms, 2),
            "batches": tally.batches,
            "entries": tally.entries,
            "bars": tally.bars,
            "unanalysed_bars": tally.unanalysed_bars,
            "repeats": tally.repeats,
            "quarantined": tally.quarantined,
            "outside_session": tally.outside_session,
            "patterns": tally.patterns,
            "breaker": self._breaker.state,
            "breaker_reason": self._breaker.reason if self._breaker.state == "open" else "",
            "problem": self._problem,
            "held_up": ",".join(self._desk.held_up.symbols[:_SYMBOLS_SHOWN]),
            "errors_last_minute": self._breaker.errors_last_minute,
            "series": len(book),
            "series_waiting": book.n_waiting,
            "open_periods": len(self._desk.open_periods),
            "uptime_seconds": round(self._clock() - self._started, 1),
        }


def _versions() -> dict[str, Any]:
    try:
        talib = version("TA-Lib")
    except PackageNotFoundError:
        talib = ""
    return {"version": __version__, "engine_version": ENGINE_VERSION, "talib": talib}
