"""Messages that were taken for jobs and were none: how many of each kind, and how the last one began."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from tickstock_pipeline.storage.job_tables import REFUSED_MESSAGES


@dataclass(frozen=True, slots=True)
class RefusedMessages:
    """Messages that were no job, by what was wrong with them."""

    reason: str
    count: int
    latest_at: datetime
    latest_excerpt: str


def count_refused(connection: sa.Connection, reason: str, excerpt: str) -> None:
    """Count a message that is no job.

    Parameters
    ----------
    reason : one of a few, never with parts of the message in it
    excerpt : the message's beginning, printable
    """
    statement = insert(REFUSED_MESSAGES).values(reason=reason, latest_excerpt=excerpt)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["reason"],
            set_={
                "count": REFUSED_MESSAGES.c.count + 1,
                "latest_at": sa.func.now(),
                "latest_excerpt": statement.excluded.latest_excerpt,
            },
        )
    )


def read_refused(connection: sa.Connection) -> list[RefusedMessages]:
    """All counts, the latest first."""
    rows = connection.execute(sa.select(REFUSED_MESSAGES).order_by(REFUSED_MESSAGES.c.latest_at.desc())).mappings()
    return [RefusedMessages(**row) for row in rows]
