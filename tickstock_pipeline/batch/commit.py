"""Many partitions in one transaction, without one bad symbol taking the others with it."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import psycopg2
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from tickstock_pipeline.batch.isolation import apart
from tickstock_pipeline.batch.outcome import Outcome, Status
from tickstock_pipeline.market.partition import Partition

Item = TypeVar("Item")

_RETRIED = ("40001", "40P01")  # serialization_failure, deadlock_detected
_MOST_TRIES = 5


def commit_together(
    engine: sa.Engine,
    items: Sequence[Item],
    write: Callable[[sa.Connection, Sequence[Item]], list[Outcome]],
    partitions_of: Callable[[Item], Sequence[Partition]],
    what: str = "storing",
) -> list[Outcome]:
    """Write ``items`` in one transaction; if one of them is refused, halve them until the bad one stands alone.

    Parameters
    ----------
    items : in the order of their keys, so that two writers lock rows in the same order
    write : writes items within a transaction and says what became of their partitions; may be called again
    partitions_of : the partitions that fail with an item
    what : is done to them, in the log

    Returns
    -------
    The outcomes of all items; those of a refused item are FAILED with the database's reason, or with what was raised.
    """
    return apart(
        items,
        lambda some: _in_transaction(engine, some, write),
        lambda item, reason: [Outcome(partition, Status.FAILED, error=reason) for partition in partitions_of(item)],
        lambda item: f"{what} {', '.join(partition.key for partition in partitions_of(item))}",
    )


def _in_transaction(
    engine: sa.Engine, items: Sequence[Item], write: Callable[[sa.Connection, Sequence[Item]], list[Outcome]]
) -> list[Outcome]:
    for attempt in range(1, _MOST_TRIES + 1):
        try:
            with engine.begin() as connection:
                return write(connection, items)
        except (OperationalError, psycopg2.OperationalError) as error:
            cause = error.orig if isinstance(error, OperationalError) else error
            if getattr(cause, "pgcode", None) not in _RETRIED or attempt == _MOST_TRIES:
                raise
    raise AssertionError("unreachable")
