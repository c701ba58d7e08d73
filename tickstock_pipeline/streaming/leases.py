"""A worker's share of the shards: renewed, taken, given up, so that all workers have about the same number.

Everything is decided by what the database says of all workers. Each computes its own share from the sorted list of
those alive: the first of them have one more where the shards do not divide evenly.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import sqlalchemy as sa

from tickstock_pipeline.storage.leases import LEASE_S, acquire, add_shards, release, renew, sign_off
from tickstock_pipeline.streaming.desk import Desk

_logger = logging.getLogger(__name__)

RENEW_S = 1.0
"""Time between renewals: several may fail before a lease runs out."""


@dataclass(slots=True)
class Turnover:
    """Shards that have come to a worker and gone from it."""

    gained: set[int] = field(default_factory=set)
    lost: set[int] = field(default_factory=set)


class ShardShare:
    """Keeps ``desk.leases`` up to date.

    Parameters
    ----------
    most : never hold more shards than that; None: a fair share
    """

    def __init__(self, desk: Desk, *, most: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._desk = desk
        self._most = most
        self._clock = clock
        self._renewed_at: float | None = None

    @property
    def is_due(self) -> bool:
        """Whether it is time to renew."""
        return self._renewed_at is None or self._clock() - self._renewed_at >= RENEW_S

    @property
    def may_read(self) -> bool:
        """Whether the leases have not run out since they were renewed: a stalled process must not read on."""
        return self._renewed_at is not None and self._clock() - self._renewed_at < LEASE_S / 2

    def expire(self) -> None:
        """Renew at the next occasion, whenever the last one was."""
        self._renewed_at = None

    def prepare(self) -> None:
        """Make the lease rows; once."""
        with self._desk.engine.begin() as connection:
            add_shards(connection, self._desk.n_shards)

    def turn(self) -> Turnover:
        """Renew, give up what is too much, take what is free and missing."""
        before = dict(self._desk.leases)
        started = self._clock()
        with self._desk.engine.begin() as connection:
            state = renew(connection, self._desk.worker, before)
            held = {shard: token for shard, token in state.held.items() if shard < self._desk.n_shards}
            share = self._fair_share(state.workers)
            if len(held) > share:
                surplus = sorted(held)[share:]
                release(connection, self._desk.worker, surplus)
                held = {shard: token for shard, token in held.items() if shard not in surplus}
            elif len(held) < share and state.free:
                free = [shard for shard in state.free if shard < self._desk.n_shards]
                held |= self._taken(connection, free[: share - len(held)])
        self._renewed_at = started
        self._desk.leases.clear()
        self._desk.leases.update(held)
        # a shard that was lost and taken again has another token, and may have been another worker's in between
        gained = {shard for shard, token in held.items() if before.get(shard) != token}
        lost = {shard for shard, token in before.items() if held.get(shard) != token}
        return Turnover(gained, lost)

    def sign_off(self) -> None:
        """Give everything up: others may take over at once."""
        with self._desk.engine.begin() as connection:
            sign_off(connection, self._desk.worker)
        self._desk.leases.clear()

    def _fair_share(self, workers: tuple[str, ...]) -> int:
        whole, rest = divmod(self._desk.n_shards, len(workers))
        share = whole + (workers.index(self._desk.worker) < rest)
        return share if self._most is None else min(share, self._most)

    def _taken(self, connection: sa.Connection, shards: list[int]) -> dict[int, int]:
        return acquire(connection, self._desk.worker, shards) if shards else {}
