"""The one door through which every job comes, whichever way it was sent: stored first, all else after.

Also the one through which jobs are cancelled.
"""

import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import sqlalchemy as sa

from tickstock_pipeline.errors import JobError
from tickstock_pipeline.imports.message import CancelRequest, InvalidRequest, JobRequest, parse_job
from tickstock_pipeline.imports.planning import Surroundings, plan_job
from tickstock_pipeline.storage.job_progress import read_job_runs
from tickstock_pipeline.storage.jobs import (
    JobState,
    StoredJob,
    end_job,
    insert_job,
    read_job,
    request_cancel,
)
from tickstock_pipeline.storage.refused_messages import count_refused

REQUESTER_SECONDS = 1.0
"""How long a job's status key is left to a requester that came over Redis."""

_EXCERPT = 200

_logger = logging.getLogger(__name__)


class WayIn(StrEnum):
    """How a job came to us."""

    CHANNEL = "channel"
    STREAM = "stream"
    HTTP = "http"
    COMMAND = "command"

    @property
    def writes_key(self) -> bool:
        """Whether the requester may write to the job's status key right after its message."""
        return self in (WayIn.CHANNEL, WayIn.STREAM)


@dataclass(frozen=True)
class Accepted:
    """A job that is stored.

    Attributes
    ----------
    is_new : False for a ``job_id`` that was known: the message changed nothing
    """

    job_id: str
    is_new: bool
    publish_after: datetime


def accept_job(engine: sa.Engine, data: bytes, way_in: WayIn, now: datetime | None = None) -> Accepted:
    """Store the job that a message asks for; once this returns it is safe.

    A message that names its job but cannot be done is a job as well: one that has failed, with the reason.

    Raises
    ------
    JobError
        If the message is no job at all; it is counted.
    """
    moment = now or datetime.now(UTC)
    publish_after = moment + timedelta(seconds=REQUESTER_SECONDS if way_in.writes_key else 0.0)
    try:
        request = parse_job(data)
    except JobError as error:
        refuse(engine, error, data)
        raise
    is_invalid = isinstance(request, InvalidRequest)
    job = StoredJob(
        job_id=request.job_id,
        job_type=request.job_type,
        message=request.message,
        source=way_in.value,
        accepted_at=moment,
        status=JobState.FAILED if is_invalid else JobState.SUBMITTED,
        completed_at=moment if is_invalid else None,
        error_message=request.reason if isinstance(request, InvalidRequest) else None,
        requested_by=request.requested_by,
        run_analysis=False if isinstance(request, InvalidRequest) else request.run_analysis,
        analysis_mode="batch" if isinstance(request, InvalidRequest) else request.analysis_mode,
        publish_after=publish_after,
    )
    with engine.begin() as connection:
        is_new = insert_job(connection, job)
    if is_new:
        _logger.info("Job %s is accepted (%s)", ascii(job.job_id), way_in)
    return Accepted(job.job_id, is_new, publish_after)


def plan_accepted(engine: sa.Engine, job: StoredJob, surroundings: Surroundings) -> None:
    """Plan a job that is stored and waits for it; does nothing for any other."""
    if job.status is not JobState.SUBMITTED:
        return
    try:
        # not escaped, which would make it larger than what was accepted
        request = parse_job(json.dumps(dict(job.message), ensure_ascii=False).encode())
        reason = request.reason if isinstance(request, InvalidRequest) else ""
        if request.job_id != job.job_id:
            # another program has written the row
            reason = "the stored message is that of another job"
    except JobError as error:
        reason = error.message
    if reason:
        # what was valid once may not be for a newer version of this program
        with engine.begin() as connection:
            end_job(connection, job.job_id, JobState.FAILED, reason)
    elif isinstance(request, JobRequest):
        plan_job(engine, request, surroundings)


def cancel_job(engine: sa.Engine, request: CancelRequest) -> StoredJob | None:
    """End a job early: nothing new is begun, what runs stops at its next symbol.

    A job of which nothing runs is cancelled at once; one that is over stays as it is.

    Returns
    -------
    The job as it is then; None if there is no such job.
    """
    with engine.begin() as connection:
        job = read_job(connection, request.job_id, lock=True)
        if job is None:
            return None
        request_cancel(connection, request.job_id, request.requested_by)
        if all(run.status.is_over for run in read_job_runs(connection, request.job_id)):
            end_job(connection, request.job_id, JobState.CANCELLED)
        return read_job(connection, request.job_id)


def refuse(engine: sa.Engine, error: JobError, data: bytes) -> None:
    """Count a message that is no job, and remember how the last of its kind began."""
    _logger.warning("A message of %d bytes is refused: %s", len(data), error.message)
    excerpt = ascii(data[:_EXCERPT].decode("utf-8", errors="replace"))[1:-1]
    with engine.begin() as connection:
        count_refused(connection, error.message, excerpt)
