"""Work on many items at once in which one bad item fails alone.

This is the one place where anything that the work raises is taken as possibly one item's fault. What a definition, a
library or a foreign trigger raises about a symbol cannot be listed beforehand; what is certainly nobody's fault among
the items can, and is raised again at once: see :func:`may_be_of_one`.
"""

import logging
import traceback
from collections.abc import Callable, Sequence
from typing import TypeVar

import psycopg2
from sqlalchemy.exc import SQLAlchemyError, StatementError

from tickstock_pipeline.errors import TickstockError

Item = TypeVar("Item")
Result = TypeVar("Result")

_logger = logging.getLogger(__name__)

# SQLSTATE classes and codes that a row can cause: data exception, integrity constraint violation, program limit
# exceeded (a value too long for an index), an exception of somebody's trigger, a damaged page or index entry; and a row
# that another transaction holds, where the caller has set how long to wait for locks. A lost connection, a full disk, a
# missing table or privilege is nobody's fault among the items.
_LOCK_NOT_AVAILABLE = "55P03"
_CAUSED_BY_DATA = ("22", "23", "54", "P0001", "XX001", "XX002", _LOCK_NOT_AVAILABLE)
_LONGEST_REASON = 500


def apart(
    items: Sequence[Item],
    work: Callable[[Sequence[Item]], Sequence[Result]],
    refused: Callable[[Item, str], Sequence[Result]],
    named: Callable[[Item], str],
) -> list[Result]:
    """Do ``work`` on items together; where it raises, halve them until the bad one stands alone.

    If all are bad, the work is begun twice as often as there are items, and ends each time at the first bad one.

    Parameters
    ----------
    work : on some of the items, in their order; may be called again, so what it did before it raised must not count
    refused : what stands for a bad item, given the reason for a person
    named : the item in the log

    Raises
    ------
    Exception
        What ``work`` raised, if no item can be to blame.
    """
    return _apart(items, work, refused, named, set())


def _apart(
    items: Sequence[Item],
    work: Callable[[Sequence[Item]], Sequence[Result]],
    refused: Callable[[Item, str], Sequence[Result]],
    named: Callable[[Item], str],
    shown: set[tuple[object, ...]],
) -> list[Result]:
    if not items:
        return []
    try:
        return list(work(items))
    except Exception as error:
        if not may_be_of_one(error):
            raise
        if len(items) == 1:
            _log(named(items[0]), error, shown)
            return list(refused(items[0], _reason(error)))
    middle = len(items) // 2
    return [
        *_apart(items[:middle], work, refused, named, shown),
        *_apart(items[middle:], work, refused, named, shown),
    ]


def may_be_of_one(error: Exception) -> bool:
    """Whether an exception may be about one item among many, rather than about the database, the machine or the work.

    Errors of our own tree are raised where somebody knows what is wrong: that is never left to guessing.
    """
    if isinstance(error, TickstockError | MemoryError | OSError):
        return False
    if isinstance(error, StatementError) and isinstance(error.orig, Exception):
        return may_be_of_one(error.orig)
    if isinstance(error, psycopg2.Error):
        # what the driver itself refuses has no code
        is_of_data = isinstance(error, psycopg2.DataError | psycopg2.IntegrityError)
        return is_of_data or (error.pgcode or "").startswith(_CAUSED_BY_DATA)
    return not isinstance(error, SQLAlchemyError)


def _reason(error: Exception) -> str:
    cause = error.orig if isinstance(error, StatementError) and isinstance(error.orig, Exception) else error
    lines = str(cause).strip().splitlines()
    words = lines[0][:_LONGEST_REASON] if lines else ""
    if isinstance(cause, psycopg2.Error):
        return words
    return f"{type(cause).__name__}: {words}" if words else type(cause).__name__


def _log(name: str, error: Exception, shown: set[tuple[object, ...]]) -> None:
    cause = error.orig if isinstance(error, StatementError) else error
    if isinstance(cause, psycopg2.Error) and cause.pgcode == _LOCK_NOT_AVAILABLE:
        # whoever set the limit knows what to do about it, and says it once
        _logger.debug("%s waited for a lock in vain", name)
        return
    # fifty symbols that fail alike need not fill the log with fifty tracebacks
    frames = traceback.extract_tb(error.__traceback__)
    place = (type(error), frames[-1].filename, frames[-1].lineno)
    # in the message, since a run's log shows nothing else of a record
    details = "" if place in shown else "\n" + "".join(traceback.format_exception(error)).rstrip()
    shown.add(place)
    _logger.error("%s failed: %s%s", name, _reason(error), details)
