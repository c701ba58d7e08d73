"""Import jobs as rows: what was asked for, where it stands, what came of it.

Who decides what happens next is no matter of this module; it keeps the transitions honest, so that a job that has
ended stays ended whoever comes late. What a job's symbols and runs are doing is in :mod:`.job_progress`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.job_tables import IMPORT_JOB_SYMBOLS, IMPORT_JOBS, JOB_TYPES


class JobState(StrEnum):
    """Where a job stands; the values are those of the status key."""

    SUBMITTED = "submitted"
    """Stored; what it means in symbols and dates is not worked out yet."""
    QUEUED = "queued"
    """Worked out; no run has begun."""
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen."""
        return self in (JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED)


_ACTIVE = tuple(state.value for state in JobState if not state.is_over)


@dataclass(frozen=True)
class StoredJob:
    """One job.

    Attributes
    ----------
    message : the known keys of the request, in a form that JSON can hold
    source : the way in: ``channel``, ``stream``, ``http`` or ``command``
    timeframes : of the bars asked for; empty until planned, and for a job that registers symbols only
    first_date, last_date : of the bars asked for, both included; whole years around them are imported
    publish_after : until then, the status key is left to the requester, who writes to it right after the message
    """

    job_id: str
    job_type: str
    message: Mapping[str, Any] = field(repr=False)
    source: str
    accepted_at: datetime
    publish_after: datetime
    status: JobState = JobState.SUBMITTED
    requested_by: str | None = None
    timeframes: tuple[Timeframe, ...] = ()
    first_date: date | None = None
    last_date: date | None = None
    run_analysis: bool = False
    analysis_mode: str = "batch"
    error_message: str | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    cancel_requested_by: str | None = None
    published_at: datetime | None = None


_COLUMNS = [IMPORT_JOBS.c[item.name] for item in fields(StoredJob)]


def _stored(row: sa.RowMapping) -> StoredJob:
    found = dict(row)
    found["status"] = JobState(found["status"])
    # whatever else is there, from a program that goes past our constraints, is for fail_unreadable
    found["timeframes"] = tuple(Timeframe(name) for name in found["timeframes"] if name in set(Timeframe))
    if not isinstance(found["message"], Mapping):
        found["message"] = {}
    return StoredJob(**found)


def _is_readable() -> sa.ColumnElement[bool]:
    table = IMPORT_JOBS.c
    return sa.and_(
        table.job_type.in_(JOB_TYPES),
        sa.func.jsonb_typeof(table.message) == "object",
        table.timeframes.contained_by([frame.value for frame in Timeframe]),
    )


def insert_job(connection: sa.Connection, job: StoredJob) -> bool:
    """Store a job that is new; whether it was. One that is known stays as it is."""
    values = {item.name: getattr(job, item.name) for item in fields(StoredJob)}
    values |= {"status": job.status.value, "timeframes": [frame.value for frame in job.timeframes]}
    statement = insert(IMPORT_JOBS).values(values).on_conflict_do_nothing(index_elements=["job_id"])
    return connection.execute(statement).rowcount == 1


def read_job(connection: sa.Connection, job_id: str, *, lock: bool = False) -> StoredJob | None:
    """The job, or None.

    Parameters
    ----------
    lock : hold its row until the transaction ends, so that nobody else moves the job on
    """
    query = sa.select(*_COLUMNS).where(IMPORT_JOBS.c.job_id == job_id)
    if lock:
        query = query.with_for_update()
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else _stored(row)


def known_job_ids(connection: sa.Connection, job_ids: Sequence[str]) -> set[str]:
    """Those of ``job_ids`` that are stored."""
    wanted = sa.any_(sa.literal(list(job_ids), sa.ARRAY(sa.Text)))
    return set(connection.execute(sa.select(IMPORT_JOBS.c.job_id).where(IMPORT_JOBS.c.job_id == wanted)).scalars())


def fail_unreadable(connection: sa.Connection) -> int:
    """End jobs that another program has stored and that mean nothing to us; how many there were."""
    reason = "The stored job cannot be read: another program has written it. Submit it again over Redis or HTTP."
    statement = sa.update(IMPORT_JOBS).where(IMPORT_JOBS.c.status.in_(_ACTIVE), ~_is_readable())
    return connection.execute(
        statement.values(
            status=JobState.FAILED.value, completed_at=sa.func.clock_timestamp(), error_message=reason, timeframes=[]
        )
    ).rowcount


def active_jobs(connection: sa.Connection) -> list[StoredJob]:
    """Jobs that have not ended and that can be read, the oldest first."""
    query = sa.select(*_COLUMNS).where(IMPORT_JOBS.c.status.in_(_ACTIVE), _is_readable())
    query = query.order_by(IMPORT_JOBS.c.accepted_at, IMPORT_JOBS.c.job_id)
    return [_stored(row) for row in connection.execute(query).mappings()]


def jobs_to_publish(connection: sa.Connection, every: timedelta, lifetime: timedelta) -> list[str]:
    """Ids of the jobs whose status key is out of date, the oldest job first.

    Parameters
    ----------
    every : the key of a job under way is written so often
    lifetime : of a status key; the end of a job is told that long, if whoever ended it could not
    """
    table = IMPORT_JOBS.c
    now = sa.func.now()
    is_old = sa.or_(
        table.published_at.is_(None),
        sa.and_(table.completed_at.is_(None), table.published_at <= now - every),
        table.published_at < table.completed_at,
    )
    is_of_interest = sa.or_(table.completed_at.is_(None), table.completed_at > now - lifetime)
    query = sa.select(table.job_id).where(is_old, is_of_interest).order_by(table.accepted_at, table.job_id)
    return list(connection.scalars(query))


def latest_jobs(connection: sa.Connection, limit: int) -> list[StoredJob]:
    """The newest jobs, the newest first."""
    query = sa.select(*_COLUMNS).order_by(IMPORT_JOBS.c.accepted_at.desc(), IMPORT_JOBS.c.job_id).limit(limit)
    return [_stored(row) for row in connection.execute(query).mappings()]


def store_plan(
    connection: sa.Connection,
    job_id: str,
    symbols: Sequence[str],
    timeframes: Sequence[Timeframe],
    dates: tuple[date, date] | None,
) -> bool:
    """Note what a submitted job means; it is queued then. Whether the job was waiting for that."""
    first, last = dates or (None, None)
    changed = _update(
        connection,
        job_id,
        (JobState.SUBMITTED,),
        status=JobState.QUEUED.value,
        timeframes=[frame.value for frame in timeframes],
        first_date=first,
        last_date=last,
    )
    if changed and symbols:
        connection.execute(
            sa.insert(IMPORT_JOB_SYMBOLS),
            [{"job_id": job_id, "symbol": symbol, "position": at} for at, symbol in enumerate(symbols)],
        )
    return changed


def mark_started(connection: sa.Connection, job_id: str) -> bool:
    """The first of a job's runs has begun; whether that is news."""
    return _update(
        connection,
        job_id,
        (JobState.SUBMITTED, JobState.QUEUED),
        status=JobState.RUNNING.value,
        started_at=sa.func.clock_timestamp(),
    )


def end_job(connection: sa.Connection, job_id: str, state: JobState, error_message: str | None = None) -> bool:
    """End a job; whether it had not ended before."""
    return _update(
        connection,
        job_id,
        (JobState.SUBMITTED, JobState.QUEUED, JobState.RUNNING),
        status=state.value,
        completed_at=sa.func.clock_timestamp(),
        error_message=error_message,
    )


def request_cancel(connection: sa.Connection, job_id: str, requested_by: str | None) -> bool:
    """Note that a job is to end early; whether it was under way and nobody had asked before."""
    statement = sa.update(IMPORT_JOBS).where(
        IMPORT_JOBS.c.job_id == job_id,
        IMPORT_JOBS.c.status.in_(_ACTIVE),
        IMPORT_JOBS.c.cancel_requested_at.is_(None),
    )
    values = {"cancel_requested_at": sa.func.clock_timestamp(), "cancel_requested_by": requested_by}
    return connection.execute(statement.values(values)).rowcount == 1


def is_cancel_requested(connection: sa.Connection, job_id: str) -> bool:
    """Whether the job is to end, or has ended."""
    query = sa.select(IMPORT_JOBS.c.cancel_requested_at.is_not(None) | IMPORT_JOBS.c.status.not_in(_ACTIVE))
    return bool(connection.scalar(query.where(IMPORT_JOBS.c.job_id == job_id)))


@dataclass(frozen=True, slots=True)
class StatusVersion:
    """Which state of a job was read.

    Attributes
    ----------
    number : rises with each; of one job, the state with the higher number is the later one
    read_at : when, by the database's clock
    """

    number: int
    read_at: datetime


def next_status_version(connection: sa.Connection, job_id: str) -> StatusVersion | None:
    """Number what this transaction is about to read of a job, which it keeps to itself meanwhile; None: no such job."""
    statement = sa.update(IMPORT_JOBS).where(IMPORT_JOBS.c.job_id == job_id)
    statement = statement.values(status_version=IMPORT_JOBS.c.status_version + 1)
    row = connection.execute(statement.returning(IMPORT_JOBS.c.status_version, sa.func.now())).one_or_none()
    return None if row is None else StatusVersion(*row)


def mark_published(connection: sa.Connection, job_id: str, version: StatusVersion) -> None:
    """Note that the status key tells of that state of a job, or of a later one."""
    table = IMPORT_JOBS.c
    # not later than it was read: what has happened since is still to be told
    is_news = sa.or_(table.published_at.is_(None), table.published_at < version.read_at)
    connection.execute(
        sa.update(IMPORT_JOBS).where(table.job_id == job_id, is_news).values(published_at=version.read_at)
    )


def _update(connection: sa.Connection, job_id: str, states: Sequence[JobState], **values: Any) -> bool:
    statement = sa.update(IMPORT_JOBS).where(
        IMPORT_JOBS.c.job_id == job_id, IMPORT_JOBS.c.status.in_([state.value for state in states])
    )
    return connection.execute(statement.values(values)).rowcount == 1
