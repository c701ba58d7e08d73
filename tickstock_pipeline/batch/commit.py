"""Many partitions in one transaction, without one bad symbol taking the others with it."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import psycopg2
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, OperationalError

from tickstock_pipeline.batch.outcome import Outcome, Status
from tickstock_pipeline.market.partition import Partition

Item = TypeVar("Item")

# SQLSTATE classes that a value in a row can cause: data exception, integrity constraint violation; and a row that
# another transaction holds, where the caller has set how long to wait for locks. A lost connection, a full disk, a
# missing table or privilege is nobody's fault among the symbols: it must end the whole chunk.
_CAUSED_BY_DATA = ("22", "23", "55P03")
_RETRIED = ("40001", "40P01")  # serialization_failure, deadlock_detected
_MOST_TRIES = 5


def commit_together(
    engine: sa.Engine,
    items: Sequence[Item],
    write: Callable[[sa.Connection, Sequence[Item]], list[Outcome]],
    partitions_of: Callable[[Item], Sequence[Partition]],
) -> list[Outcome]:
    """Write ``items`` in one transaction; if the database refuses, halve them until the bad one stands alone.

    Parameters
    ----------
    items : in the order of their keys, so that two writers lock rows in the same order
    write : writes items within a transaction and says what became of their partitions; may be called again
    partitions_of : the partitions that fail with an item

    Returns
    -------
    The outcomes of all items; those of a refused item are FAILED with the database's reason.
    """
    if not items:
        return []
    try:
        return _in_transaction(engine, items, write)
    except (DBAPIError, psycopg2.Error) as error:
        # COPY goes past SQLAlchemy, so its errors are the driver's own.
        cause = error.orig if isinstance(error, DBAPIError) else error
        if not (getattr(cause, "pgcode", None) or "").startswith(_CAUSED_BY_DATA):
            raise
        if len(items) == 1:
            reason = str(cause).strip().splitlines()[0]
            return [Outcome(partition, Status.FAILED, error=reason) for partition in partitions_of(items[0])]
    middle = len(items) // 2
    return [
        *commit_together(engine, items[:middle], write, partitions_of),
        *commit_together(engine, items[middle:], write, partitions_of),
    ]


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
