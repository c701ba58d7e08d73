"""Messages that are committed together with what they tell of, and published afterwards.

One row holds the messages of one transaction, in their order. A crash between commit and publication leaves a row that
is not marked as published: some worker sends it later. A crash between publication and mark sends it twice.
"""

from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

# Two seconds, with ``appendfsync everysec`` on a busy disk; the rest is for clocks that count whole seconds.
_FORGOTTEN_S = 5.0


class Message(NamedTuple):
    """What goes to a channel."""

    channel: str
    payload: str


class Unpublished(NamedTuple):
    """One row: its messages in order."""

    id: int
    messages: tuple[Message, ...]


def put(connection: sa.Connection, messages: Sequence[Message]) -> int | None:
    """Store messages in the caller's transaction.

    Returns
    -------
    The row's id; None where there is no message.
    """
    if not messages:
        return None
    return int(
        connection.execute(
            sa.text("INSERT INTO outbox (channels, payloads) VALUES (:channels, :payloads) RETURNING id"),
            {"channels": [one.channel for one in messages], "payloads": [one.payload for one in messages]},
        ).scalar_one()
    )


def mark_published(connection: sa.Connection, ids: Sequence[int]) -> None:
    """Say that rows have been published."""
    if ids:
        connection.execute(sa.text("UPDATE outbox SET published_at = now() WHERE id = ANY (:ids)"), {"ids": list(ids)})


def left_over(connection: sa.Connection, *, older_than_s: float, at_most: int = 100) -> list[Unpublished]:
    """Rows that nobody has published, oldest first; those that another worker is about to publish are left out.

    Parameters
    ----------
    older_than_s : younger ones are still their own worker's business
    """
    rows = connection.execute(
        sa.text("""
            SELECT id, channels, payloads FROM outbox
            WHERE published_at IS NULL AND created_at <= now() - make_interval(secs => :seconds)
            ORDER BY id LIMIT :at_most FOR UPDATE SKIP LOCKED
        """),
        {"seconds": older_than_s, "at_most": at_most},
    )
    return [Unpublished(row_id, tuple(map(Message, channels, payloads))) for row_id, channels, payloads in rows]


def take_back(connection: sa.Connection, *, restarted_s_ago: float) -> int:
    """Have rows published again that a server may have forgotten in a crash: the last before it was restarted.

    Returns
    -------
    How many there are.
    """
    return int(
        connection.execute(
            sa.text("""
                WITH before AS MATERIALIZED (
                    SELECT id, published_at FROM outbox WHERE published_at <= now() - make_interval(secs => :ago)
                )
                UPDATE outbox SET published_at = NULL FROM before
                WHERE outbox.id = before.id AND before.published_at
                    >= (SELECT max(published_at) FROM before) - make_interval(secs => :forgotten)
            """),
            {"ago": restarted_s_ago, "forgotten": _FORGOTTEN_S},
        ).rowcount
    )


def prune(connection: sa.Connection, *, at_most: int = 500) -> int:
    """Forget what was published more than an hour ago; how many rows that were.

    Parameters
    ----------
    at_most : rows that are looked at, the oldest first, so that a worker under load can afford it
    """
    return int(
        connection.execute(
            sa.text("""
                WITH oldest AS (SELECT id FROM outbox ORDER BY id LIMIT :at_most FOR UPDATE SKIP LOCKED)
                DELETE FROM outbox USING oldest
                WHERE outbox.id = oldest.id AND outbox.published_at < now() - interval '1 hour'
            """),
            {"at_most": at_most},
        ).rowcount
    )
