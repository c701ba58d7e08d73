"""Jobs that were published while nobody listened: they left a hash at their status key, and nothing else.

Whoever waits at such a key would wait for ever, so it is told to submit again. A job that is just being published looks
the same for a moment; so only a hash that is seen twice, some seconds apart, for a job that is unknown both times, is
taken for lost.
"""

import logging
import threading
import time
from datetime import UTC, datetime

import redis
import sqlalchemy as sa

from tickstock_pipeline.imports.message import usable_job_id
from tickstock_pipeline.messaging.channels import JOB_STREAM, job_status_key
from tickstock_pipeline.messaging.job_status import STATUS_LIFETIME_SECONDS, JobStatus
from tickstock_pipeline.storage.jobs import known_job_ids

GRACE_SECONDS = 3.0

_LOOK_EVERY_SECONDS = 60.0
_ADVICE = (
    "The pipeline does not know this job: nobody listened when it was published, or its message was refused. Submit it "
    f"again under a new job_id; on the stream {JOB_STREAM} a message waits until it is read."
)
# only what is still a hash: its owner, or a status of ours, may have come in between
_REPLACE_HASH = """
if redis.call('TYPE', KEYS[1]).ok == 'hash' then
    redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
    return 1
end
return 0
"""

_logger = logging.getLogger(__name__)


class Orphans:
    """Finds the hashes of lost jobs and answers them."""

    def __init__(self, engine: sa.Engine, client: redis.Redis) -> None:
        self._engine = engine
        self._client = client
        self._replace = client.register_script(_REPLACE_HASH)
        self._seen: dict[str, float] = {}
        self._look = threading.Event()
        self._looked_at = float("-inf")

    def look_again(self) -> None:
        """Look at the next call of :meth:`answer`, since something may just have been missed."""
        self._look.set()

    def answer(self) -> int:
        """Look for hashes now and then; answer those that are old enough.

        Returns
        -------
        How many jobs were told to submit again.
        """
        now = time.monotonic()
        if not (self._look.is_set() or self._seen or now - self._looked_at >= _LOOK_EVERY_SECONDS):
            return 0
        self._look.clear()
        self._looked_at = now
        found = self._unknown()
        self._seen = {job_id: self._seen.get(job_id, now) for job_id in found}
        lost = [job_id for job_id, since in self._seen.items() if now - since >= GRACE_SECONDS]
        told = 0
        for job_id in lost:
            status = JobStatus(
                job_id=job_id,
                status="failed",
                error_message=_ADVICE,
                message="Not received",
                completed_at=datetime.now(UTC),
            )
            if self._replace(keys=[job_status_key(job_id)], args=[status.as_json(), STATUS_LIFETIME_SECONDS]):
                told += 1
                _logger.warning("Job %s was published while nobody listened; its status says so.", ascii(job_id))
            del self._seen[job_id]
        return told

    def _unknown(self) -> set[str]:
        prefix = job_status_key("")
        names = {
            key.decode("utf-8", errors="replace").removeprefix(prefix)
            for key in self._client.scan_iter(match=f"{prefix}*", count=1000, _type="hash")
        }
        # no job of ours either way
        asked = sorted(name for name in names if usable_job_id(name))
        with self._engine.connect() as connection:
            return set(asked) - known_job_ids(connection, asked)
