"""Who works on which shard of the live bars, decided by the database and its clock alone.

A lease carries a token that rises with every change of hands. The transaction that stores a batch calls
:func:`require_leases` first: from there to its end no shard of it can change hands, and a worker that was stalled and
has been replaced finds another token, so nothing of its batch is committed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from tickstock_pipeline.errors import LeaseLostError

LEASE_S = 6
"""How long a lease holds without renewal: a worker that ends without a word is replaced after that."""

APPLICATION = "tickstock-worker:"
"""What the names of workers' connections begin with, so that those of a stalled worker can be found and ended."""


@dataclass(frozen=True, slots=True)
class LeaseState:
    """All leases as one worker sees them.

    Attributes
    ----------
    held : its shards, with their tokens
    workers : names of the workers that are alive, this one included, sorted
    free : shards without a worker, or whose worker has not renewed its lease in time
    """

    held: Mapping[int, int]
    workers: tuple[str, ...]
    free: tuple[int, ...]


def add_shards(connection: sa.Connection, n_shards: int) -> None:
    """Make the lease rows that are missing."""
    connection.execute(
        sa.text("INSERT INTO shard_leases (shard) SELECT generate_series(0, :n - 1) ON CONFLICT DO NOTHING"),
        {"n": n_shards},
    )


def renew(connection: sa.Connection, worker: str, leases: Mapping[int, int]) -> LeaseState:
    """Say that a worker is alive, prolong its leases, and see what there is.

    Parameters
    ----------
    leases : shard -> token, as the worker knows them. What another process of the same name has taken over is not its
    """
    # A renewal that is lost in a power cut is followed by the next one.
    connection.exec_driver_sql("SET LOCAL synchronous_commit TO off")
    parameters = {
        "worker": worker,
        "seconds": LEASE_S,
        "shards": list(leases),
        "tokens": list(leases.values()),
    }
    connection.execute(
        sa.text("""
            INSERT INTO live_workers (worker, expires_at) VALUES (:worker, now() + make_interval(secs => :seconds))
            ON CONFLICT (worker) DO UPDATE SET expires_at = excluded.expires_at
        """),
        parameters,
    )
    rows = connection.execute(
        sa.text("""
            UPDATE shard_leases lease SET expires_at = now() + make_interval(secs => :seconds)
            FROM unnest(cast(:shards AS int[]), cast(:tokens AS bigint[])) AS known (shard, token)
            WHERE lease.shard = known.shard AND lease.token = known.token AND lease.worker = :worker
            RETURNING lease.shard, lease.token
        """),
        parameters,
    )
    held = {int(shard): int(token) for shard, token in rows}
    workers = connection.scalars(sa.text("SELECT worker FROM live_workers WHERE expires_at > now() ORDER BY worker"))
    free = connection.scalars(
        sa.text("SELECT shard FROM shard_leases WHERE worker IS NULL OR expires_at <= now() ORDER BY shard")
    )
    return LeaseState(held, tuple(workers), tuple(free))


def acquire(connection: sa.Connection, worker: str, shards: Iterable[int]) -> dict[int, int]:
    """Take over those of ``shards`` that are free by now.

    Connections of a worker whose lease has run out are ended first: a stalled one may hold locks in the middle of a
    transaction, for which its successor would wait.

    Returns
    -------
    Shard -> token.
    """
    parameters = {"worker": worker, "shards": list(shards), "seconds": LEASE_S, "application": APPLICATION}
    connection.execute(
        sa.text("""
            SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name IN (
                SELECT :application || worker FROM shard_leases
                WHERE shard = ANY (:shards) AND worker <> :worker AND expires_at <= now()
            )
        """),
        parameters,
    )
    rows = connection.execute(
        sa.text("""
            UPDATE shard_leases lease SET worker = :worker, token = token + 1,
                expires_at = now() + make_interval(secs => :seconds)
            FROM (
                SELECT shard FROM shard_leases
                WHERE shard = ANY (:shards) AND (worker IS NULL OR expires_at <= now())
                ORDER BY shard FOR UPDATE SKIP LOCKED
            ) free
            WHERE lease.shard = free.shard RETURNING lease.shard, lease.token
        """),
        parameters,
    )
    return {int(shard): int(token) for shard, token in rows}


def release(connection: sa.Connection, worker: str, shards: Iterable[int]) -> None:
    """Give shards up: another worker may have them at once."""
    connection.execute(
        sa.text("""
            UPDATE shard_leases SET worker = NULL, expires_at = '-infinity'
            WHERE worker = :worker AND shard = ANY (:shards)
        """),
        {"worker": worker, "shards": list(shards)},
    )


def sign_off(connection: sa.Connection, worker: str) -> None:
    """Give all shards up, and count no more as a worker."""
    connection.execute(
        sa.text("UPDATE shard_leases SET worker = NULL, expires_at = '-infinity' WHERE worker = :worker"),
        {"worker": worker},
    )
    connection.execute(
        sa.text("DELETE FROM live_workers WHERE worker = :worker OR expires_at < now() - interval '1 hour'"),
        {"worker": worker},
    )


def require_leases(connection: sa.Connection, worker: str, leases: Mapping[int, int], *, lock_wait_ms: int) -> int:
    """Keep these shards from changing hands until the transaction ends.

    Parameters
    ----------
    leases : shard -> token
    lock_wait_ms : how long a later statement of the transaction waits for a lock before it fails

    Returns
    -------
    The revision of the definitions: another number than before says that one has changed.

    Raises
    ------
    LeaseLostError
        If one of them has changed hands; the transaction must be given up.
    """
    valid, revision, _ = connection.execute(
        sa.text("""
            SELECT (
                SELECT count(*) FROM (
                    SELECT FROM shard_leases JOIN unnest(cast(:shards AS int[]), cast(:tokens AS bigint[]))
                        AS wanted (shard, token) USING (shard, token)
                    WHERE worker = :worker ORDER BY shard FOR SHARE OF shard_leases
                ) held
            ), (SELECT revision FROM definition_changes), set_config('lock_timeout', :lock_wait, true)
        """),
        {
            "worker": worker,
            "shards": list(leases),
            "tokens": list(leases.values()),
            "lock_wait": f"{lock_wait_ms}ms",
        },
    ).one()
    if valid < len(leases):
        raise LeaseLostError(
            f"{len(leases) - valid} of the shards of worker {worker} have been taken over.",
            advice="Nothing is lost: the other worker does what is left. A worker that is replaced often is stalled "
            "by its machine.",
        )
    return int(revision)
