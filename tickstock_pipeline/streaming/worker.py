"""The live worker: from the streams of bars to what is committed and published.

Each turn:

1. Leases: renew them. What was delivered to others on shards that have come to us is claimed and comes first.
2. What is there on our shards is one batch: bars are stored with their analysis, published, acknowledged.
3. Between batches: closed periods, series that are not followed yet; in slices, so that new bars never wait long.
4. Signs of life, trimming, what other workers have left over.

A failure of Redis or PostgreSQL ends the turn. Nothing is acknowledged then, so all of it comes again; series whose
transaction did not commit are replayed.
"""

import logging
import threading
import time
from functools import partial
from typing import Any

import psycopg2
import redis
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from tickstock_pipeline.errors import LeaseLostError, MessagingError, StorageError
from tickstock_pipeline.market.calendar import TradingCalendar
from tickstock_pipeline.messaging.bar_reader import BarReader, Entry
from tickstock_pipeline.messaging.bar_stream import create_groups, shard_count, trim
from tickstock_pipeline.storage.engine import create_engine
from tickstock_pipeline.storage.leases import APPLICATION
from tickstock_pipeline.storage.outbox import prune
from tickstock_pipeline.storage.schema import require_head
from tickstock_pipeline.streaming.background import Background
from tickstock_pipeline.streaming.breaker import Breaker, Limits
from tickstock_pipeline.streaming.desk import Desk
from tickstock_pipeline.streaming.leases import ShardShare
from tickstock_pipeline.streaming.publisher import Publisher
from tickstock_pipeline.streaming.taking import BarTaker
from tickstock_pipeline.streaming.vital_signs import VitalSigns

_logger = logging.getLogger(__name__)

_ENTRIES_A_SHARD = 256
_CLAIMED_AT_ONCE = 4000
_WAIT_MS = 200
_DEFERRED_S = 0.02
_LONGEST_BACK_OFF_S = 2.0
_STRAY_MS = 5000
# The server ends a transaction of ours that is idle: a stalled process must not hold locks for long.
_IDLE_TRANSACTION_MS = 5000

_SWEEP_S = 0.5
_TRIM_S = 10.0
# with what one round looks at: a hundred rows a second, of which a batch makes one
_PRUNE_S = 5.0
_QUIET_S = 60.0


def worker_engine(dsn: str, worker: str) -> sa.Engine:
    """An engine whose connections carry the worker's name, so that a successor can end those of a stalled worker."""
    # No ping before each use: a question a transaction less, and a connection that has been lost costs one turn only.
    engine = create_engine(dsn, pool_size=2, pool_pre_ping=False)

    @event.listens_for(engine, "connect")
    def introduce(connection: Any, _: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET application_name TO %s", [APPLICATION + worker])
            cursor.execute("SET idle_in_transaction_session_timeout TO %s", [_IDLE_TRANSACTION_MS])
        connection.commit()

    return engine


class LiveWorker:
    """One worker; :meth:`run` it in the main thread.

    Parameters
    ----------
    name : unlike that of every other worker; at most 40 characters
    engine : of :func:`worker_engine`
    client : of :func:`tickstock_pipeline.messaging.connection.connect`; used from this thread only
    kept_events : in the streams of pattern events and of retractions; older ones are trimmed
    most_shards : never take more shards than that; None: a fair share
    """

    def __init__(
        self,
        name: str,
        engine: sa.Engine,
        client: "redis.Redis",
        calendar: TradingCalendar,
        *,
        kept_events: int,
        limits: Limits | None = None,
        most_shards: int | None = None,
    ) -> None:
        with engine.connect() as connection:
            require_head(connection)
        limits = limits or Limits()
        self.desk = Desk(name, engine, calendar, shard_count(client), limits.analysis_s)
        self._client = client
        self._reader = BarReader(client, name)
        self._share = ShardShare(self.desk, most=most_shards)
        self._publisher = Publisher(client, kept_events=kept_events)
        self.breaker = Breaker(limits, time.monotonic)
        self.signs = VitalSigns(self.desk, client, self.breaker)
        tally = self.signs.tally
        self._background = Background(self.desk, self._publisher, self.breaker, tally)
        self._taker = BarTaker(self.desk, self._reader, self._publisher, self.breaker, tally, saw=self._background.saw)
        self._stop = threading.Event()
        self._unclaimed: set[int] = set()
        self._claimed: list[Entry] = []
        self._done_at: dict[str, float] = {"quiet": time.monotonic()}
        self._last_bar_at = time.monotonic()

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do at the moment: nothing to read, to make up for or to roll up now."""
        lag = self._reader.lag(self.desk.leases)
        return (
            not self._taker.kept
            and not self._claimed
            and not any(one.undelivered or one.pending for one in lag.values())
            and not self._background.has_work
        )

    def request_stop(self) -> None:
        """End :meth:`run` after the batch under way; may be called from a signal handler and from any thread."""
        self._stop.set()

    def run(self) -> None:
        """Work until asked to stop; then give the shards up, so that others take over at once."""
        back_off = 0.0
        is_prepared = False
        while not self._stop.is_set():
            try:
                if not is_prepared:
                    self.prepare()
                    is_prepared = True
                self.turn()
                back_off = 0.0
            except LeaseLostError as error:
                _logger.warning("lease lost reason=%s", error.message)
                self._recover()
            except (StorageError, MessagingError, DBAPIError, psycopg2.Error) as error:
                self.breaker.saw_error()
                back_off = min(max(2 * back_off, 0.1), _LONGEST_BACK_OFF_S)
                _logger.error("turn failed retry_s=%.1f reason=%s", back_off, _reason(error))
                self._recover()
                if not isinstance(error, MessagingError):
                    self.signs.failed(_reason(error))
                self._stop.wait(back_off)
        self.close()

    def turn(self) -> None:
        """One round of all that a worker does.

        Raises
        ------
        LeaseLostError
            If a shard has been taken over.
        StorageError, MessagingError
            If PostgreSQL or Redis do not answer.
        """
        self.take_bars()
        if not self.desk.leases:
            self._stop.wait(_WAIT_MS / 1e3)
        self.work_between()

    def take_bars(self) -> None:
        """The first half of a turn: leases, and the next batch."""
        if self._share.is_due:
            self.renew_now()
        if self.desk.leases:
            entries = self._next_entries()
            if entries:
                self._last_bar_at = time.monotonic()
                self._taker.take(entries)
            self._taker.retry()

    def work_between(self) -> None:
        """The second half of a turn: what is done between batches."""
        if self.desk.leases:
            self._background.work()
        self._keep_house(has_bars=time.monotonic() - self._last_bar_at < 1.0)

    def prepare(self) -> None:
        """Make what the worker needs in Redis and PostgreSQL, and tell that it begins; before the first turn."""
        create_groups(self._client, range(self.desk.n_shards))
        self._share.prepare()
        self.signs.started()

    def renew_now(self) -> None:
        """Renew the leases, and take note of shards that have come and gone."""
        turnover = self._share.turn()
        if turnover.lost:
            _logger.info("shards gone=%s", ",".join(map(str, sorted(turnover.lost))))
            self._unclaimed -= turnover.lost
            self._claimed = [one for one in self._claimed if one.shard not in turnover.lost]
            self._taker.forget(turnover.lost)
            self.desk.held_up.keep(self.desk.holds)
            self._background.forget(turnover.lost)
        if turnover.gained:
            _logger.info("shards come=%s", ",".join(map(str, sorted(turnover.gained))))
            self._unclaimed |= turnover.gained
            self._background.took_over()

    def _next_entries(self) -> list[Entry]:
        entries = list(self._taker.deferred)
        if self._unclaimed:
            shards, self._unclaimed = sorted(self._unclaimed), set()
            self._claimed += self._reader.claim(shards)
        if self._claimed:
            # All of them before any new entry, so that a symbol's order holds
            entries += self._claimed[:_CLAIMED_AT_ONCE]
            del self._claimed[:_CLAIMED_AT_ONCE]
            return entries
        if not self._share.may_read:
            return entries
        if self._taker.deferred:
            self._stop.wait(_DEFERRED_S)
        wait_ms = 0 if self._taker.deferred or self._background.is_busy else _WAIT_MS
        return entries + self._reader.read(sorted(self.desk.leases), wait_ms=wait_ms, at_most=_ENTRIES_A_SHARD)

    def _keep_house(self, *, has_bars: bool) -> None:
        self.signs.show()
        if self._is_due("sweep", _SWEEP_S):
            self._publisher.sweep(self.desk.engine)
        if self._is_due("trim", _TRIM_S) and self.desk.leases:
            trim(self._client, sorted(self.desk.leases))
            # Nothing of ours is pending now but what is kept: anything else was read by a worker that stalled.
            known = {(entry.shard, entry.id) for entry in (*self._taker.kept, *self._claimed)}
            strays = self._reader.claim(sorted(self.desk.leases), idle_ms=_STRAY_MS)
            self._taker.deferred += [entry for entry in strays if (entry.shard, entry.id) not in known]
        if self._is_due("prune", _PRUNE_S):
            with self.desk.engine.begin() as connection:
                prune(connection)
        if not has_bars:
            self._background.tidy()
            if self._is_due("quiet", _QUIET_S):
                self._background.replay_ahead()

    def _is_due(self, what: str, every_s: float) -> bool:
        now = time.monotonic()
        if now - self._done_at.get(what, -every_s) < every_s:
            return False
        self._done_at[what] = now
        return True

    def _recover(self) -> None:
        """Forget what is in flight: it was not acknowledged, so it is claimed again."""
        self._taker.forget(range(self.desk.n_shards))
        self._claimed = []
        self._unclaimed = set(self.desk.leases)
        self._share.expire()

    def close(self) -> None:
        """Give the shards up, so that others take over at once, and say good-bye; :meth:`run` ends with it."""
        # the shards can be had at once also where Redis is what is away
        for farewell in (partial(self._publisher.sweep, self.desk.engine), self._share.sign_off, self.signs.stopped):
            try:
                farewell()
            except (StorageError, MessagingError, DBAPIError, psycopg2.Error) as error:
                _logger.error("stopping failed reason=%s", _reason(error))
        _logger.info("stopped worker=%s", self.desk.worker)


def _reason(error: Exception) -> str:
    text = error.message if isinstance(error, (StorageError, MessagingError)) else str(getattr(error, "orig", error))
    return " ".join(text.split())[:300]
