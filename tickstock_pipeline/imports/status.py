"""The status of a job as other programs read it, built from the tables, and written to Redis.

Every process that moves a job on may publish. What it publishes is read and numbered under a lock of the job's row, so
that no state has half of a change, and sent after that, so that a Redis that does not answer holds up nobody else. A
state is written only where no later one is there already.
"""

import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import redis
import sqlalchemy as sa

from tickstock_pipeline.imports.stages import Stage, job_stages, owed_steps
from tickstock_pipeline.messaging.channels import job_status_key, job_status_version_key
from tickstock_pipeline.messaging.connection import client_of
from tickstock_pipeline.messaging.job_status import STATUS_LIFETIME_SECONDS, JobStatus, Phase
from tickstock_pipeline.settings import Settings
from tickstock_pipeline.storage.job_progress import JobRun, JobSymbol, read_job_runs, read_job_symbols
from tickstock_pipeline.storage.jobs import (
    JobState,
    StoredJob,
    jobs_to_publish,
    mark_published,
    next_status_version,
    read_job,
)

PUBLISH_EVERY_SECONDS = 30.0

# short, since whoever moves a job on has other things to do
_REDIS_TIMEOUT_S = 2.0
_HASH_POLL_S = 0.02

# KEYS: of the status, of its version. ARGV: the status, seconds to live, the job's birth, its version. A job that was
# stored anew, in a database that was made anew, counts from the beginning again.
_SET_IF_LATER = """
local birth, version = string.match(redis.call('GET', KEYS[2]) or '', '^(.*) (%d+)$')
if birth == ARGV[3] and tonumber(version) >= tonumber(ARGV[4]) then
    return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
redis.call('SET', KEYS[2], ARGV[3] .. ' ' .. ARGV[4], 'EX', ARGV[2])
return 1
"""

_logger = logging.getLogger(__name__)


def status_of(job: StoredJob, symbols: Sequence[JobSymbol], runs: Sequence[JobRun] = ()) -> JobStatus:
    """What the tables say of a job.

    ``processed_symbols`` are those whose bars have ended, well or not. ``progress`` counts the steps that have ended,
    analysis included, and those that cannot be done any more.
    """
    stages = job_stages(job)
    importing = [stage for stage in stages if not stage.is_analysis]
    analysing = [stage for stage in stages if stage.is_analysis]
    imported = [symbol for symbol in symbols if not _owed(symbol, importing, stages)]
    analysed = [symbol for symbol in imported if not _owed(symbol, analysing, stages)]
    is_imported = len(imported) == len(symbols)
    phase: Phase = "importing"
    if job.status is JobState.COMPLETED:
        phase = "complete"
    elif analysing and symbols and is_imported:
        phase = "analyzing"
    failed = [symbol for symbol in symbols if symbol.errors]
    return JobStatus(
        job_id=job.job_id,
        status=job.status.value,
        progress=100 if job.status is JobState.COMPLETED else _percent(symbols, stages),
        total_symbols=len(symbols),
        processed_symbols=len(imported),
        successful_symbols=tuple(symbol.symbol for symbol in imported if not symbol.errors),
        failed_symbols=tuple(symbol.symbol for symbol in failed),
        error_message=job.error_message,
        started_at=job.started_at,
        completed_at=job.completed_at,
        phase=phase,
        message=_words(job, phase, len(imported), len(analysed), len(symbols), len(failed)),
        errors={symbol.symbol: reason_of(symbol) for symbol in failed},
        run_ids=tuple(run.run_id for run in runs if run.run_id is not None),
    )


def reason_of(symbol: JobSymbol) -> str:
    """Why a symbol failed: each reason once."""
    return "; ".join(dict.fromkeys(symbol.errors[step] for step in sorted(symbol.errors)))


def _owed(symbol: JobSymbol, stages: Sequence[Stage], all_stages: Sequence[Stage]) -> int:
    return sum(len(owed_steps(symbol, stage.steps, all_stages)) for stage in stages)


def _percent(symbols: Sequence[JobSymbol], stages: Sequence[Stage]) -> int:
    total = len(symbols) * sum(len(stage.steps) for stage in stages)
    if not total:
        return 0
    return 100 * (total - sum(_owed(symbol, stages, stages) for symbol in symbols)) // total


def _words(job: StoredJob, phase: Phase, imported: int, analysed: int, total: int, failed: int) -> str:
    if job.status is JobState.SUBMITTED:
        return "Accepted"
    if job.status is JobState.QUEUED:
        return f"Waiting to import {total} symbols"
    if job.status is JobState.FAILED:
        return "Failed"
    if job.status is JobState.CANCELLED:
        return f"Cancelled at {imported}/{total}"
    if job.status is JobState.COMPLETED:
        what = "Registered" if not job.timeframes else "Done:"
        return f"{what} {total} symbols" + (f", {failed} of them failed" if failed else "")
    return f"Analyzing {analysed}/{total}" if phase == "analyzing" else f"Importing {imported}/{total}"


class StatusPublisher:
    """Writes the status key. Redis being away is no failure: what is due is written when it is back."""

    def __init__(self, engine: sa.Engine, client: redis.Redis | None) -> None:
        self._engine = engine
        self._client = client
        self._set_if_later = None if client is None else client.register_script(_SET_IF_LATER)

    def publish(self, job_id: str) -> bool:
        """Write a job's status as the tables have it now; whether it was written.

        For a moment after a job has come in over Redis its key is left to whoever sent it (``publish_after``).
        """
        return bool(self._write(job_id))

    def _write(self, job_id: str) -> bool | None:
        """Whether the key tells of the job as it is now, or later; None if Redis does not answer."""
        if self._client is None or self._set_if_later is None:
            return False
        with self._engine.begin() as connection:
            version = next_status_version(connection, job_id)
            job = read_job(connection, job_id)
            if job is None or version is None:
                return False
            status = status_of(job, read_job_symbols(connection, job_id), read_job_runs(connection, job_id))
        key = job_status_key(job_id)
        try:
            if datetime.now(UTC) < job.publish_after and self._client.type(key) == "none":
                return False
            # replaces whatever is there, of any type, in one step
            self._set_if_later(
                [key, job_status_version_key(job_id)],
                [status.as_json(), STATUS_LIFETIME_SECONDS, job.accepted_at.isoformat(), version.number],
            )
        except redis.RedisError as error:
            _logger.warning("The status of job %s could not be published: %s", ascii(job_id), type(error).__name__)
            return None
        with self._engine.begin() as connection:
            mark_published(connection, job_id, version)
        return True

    def publish_after_requester(self, job_id: str, until: datetime) -> bool:
        """Wait until the requester has written its hash to the key, ``until`` at the latest; then replace it."""
        if self._client is None:
            return False
        try:
            while datetime.now(UTC) < until and self._client.type(job_status_key(job_id)) == "none":
                time.sleep(_HASH_POLL_S)
        except redis.RedisError:
            return False
        return self.publish(job_id)

    def publish_due(self) -> None:
        """Write the status of each job whose key is half a minute old, or does not tell yet that the job has ended."""
        if self._client is None:
            return
        with self._engine.connect() as connection:
            due = jobs_to_publish(
                connection, timedelta(seconds=PUBLISH_EVERY_SECONDS), timedelta(seconds=STATUS_LIFETIME_SECONDS)
            )
        for job_id in due:
            if self._write(job_id) is None:
                # the others would each wait for it as long
                return


def redis_client(settings: Settings) -> redis.Redis | None:
    """A client that gives up soon, for a caller with other things to do; None where no Redis is configured."""
    if settings.redis_url is None:
        return None
    return client_of(
        settings.redis_dsn(),
        decode_responses=True,
        socket_timeout=_REDIS_TIMEOUT_S,
        socket_connect_timeout=_REDIS_TIMEOUT_S,
    )
