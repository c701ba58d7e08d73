"""Jobs that come over Redis: the channels, the durable stream, and what was said while nobody listened.

Three threads, each of which begins again by itself when Redis or PostgreSQL was away:

1. *channels*: what is published on the job and control channels. Whatever is published while no connection stands is
   lost, which is why the stream is beside it.
2. *stream*: entries are acknowledged once they are stored, so that what is not stored is read again.
3. *upkeep*: hashes that requesters left for jobs that never reached us are answered, and the status keys of jobs under
   way are kept fresh.

A job is stored first. Only then does its status key change hands: see ``StatusPublisher.publish_after_requester``.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import redis
import sqlalchemy as sa
from redis.backoff import NoBackoff
from redis.retry import Retry

from tickstock_pipeline.errors import JobError, StorageError
from tickstock_pipeline.imports.acceptance import (
    Accepted,
    WayIn,
    accept_job,
    cancel_job,
    plan_accepted,
    refuse,
)
from tickstock_pipeline.imports.job_stream import JobStream
from tickstock_pipeline.imports.message import is_control, parse_control
from tickstock_pipeline.imports.orphans import Orphans
from tickstock_pipeline.imports.planning import Surroundings
from tickstock_pipeline.imports.status import StatusPublisher
from tickstock_pipeline.messaging.channels import JOB_CONTROL, JOBS
from tickstock_pipeline.messaging.connection import client_of
from tickstock_pipeline.settings import Settings
from tickstock_pipeline.storage.jobs import JobState, active_jobs, fail_unreadable, read_job

UPKEEP_SECONDS = 5.0

_LISTEN_SECONDS = 0.5
_SHORTEST_WAIT_S, _LONGEST_WAIT_S = 0.1, 10.0
_LISTENING_SECONDS = 30.0
_REDIS_TIMEOUT_S = 5.0
_HEALTH_CHECK_S = 10
# each waits for a requester's hash for a second at most
_FOLLOWERS = 8

_logger = logging.getLogger(__name__)


@dataclass
class IntakeHealth:
    """What the intake's threads last said of themselves; ``monotonic`` seconds, and words."""

    alive_at: dict[str, float] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def is_listening(self, part: str) -> bool:
        """Whether a part has worked lately."""
        return part not in self.problems and time.monotonic() - self.alive_at.get(part, -1e9) < _LISTENING_SECONDS


class Intake:
    """Takes jobs from Redis until it is stopped.

    Parameters
    ----------
    client : see :func:`listening_client`
    publisher : of the jobs' status, over a client of its own
    """

    def __init__(
        self, engine: sa.Engine, client: redis.Redis, publisher: StatusPublisher, surroundings: Surroundings
    ) -> None:
        self.health = IntakeHealth()
        self._engine = engine
        self._client = client
        self._publisher = publisher
        self._surroundings = surroundings
        self._orphans = Orphans(engine, client)
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._followers = ThreadPoolExecutor(_FOLLOWERS, thread_name_prefix="follow-job")

    def start(self) -> None:
        """Begin to listen; returns at once."""
        parts: dict[str, Callable[[Callable[[], None]], None]] = {
            "channels": self._listen,
            "stream": self._read_stream,
            "upkeep": self._upkeep,
        }
        for name, work in parts.items():
            thread = threading.Thread(target=self._again_and_again, args=(name, work), name=f"intake-{name}")
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """End the threads; what is being stored is stored."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._followers.shutdown()

    def follow(self, accepted: Accepted) -> None:
        """What comes after a job is stored: its plan, and its status once the key is ours. Returns at once."""
        if not self._stopping.is_set():
            self._followers.submit(self._follow, accepted)

    def _follow(self, accepted: Accepted) -> None:
        try:
            with self._engine.connect() as connection:
                job = read_job(connection, accepted.job_id)
            if job is not None:
                plan_accepted(self._engine, job, self._surroundings)
            self._publisher.publish_after_requester(accepted.job_id, accepted.publish_after)
        except (StorageError, sa.exc.SQLAlchemyError) as error:
            # the job is stored: the upkeep plans it and publishes it when the database is back
            _logger.warning("Job %s waits: %s", ascii(accepted.job_id), _first_line(error))

    def _again_and_again(self, name: str, work: Callable[[Callable[[], None]], None]) -> None:
        wait = _SHORTEST_WAIT_S

        def is_well() -> None:
            nonlocal wait
            wait = _SHORTEST_WAIT_S
            self.health.alive_at[name] = time.monotonic()
            if self.health.problems.pop(name, None):
                _logger.info("The intake's %s work again.", name)

        while not self._stopping.is_set():
            try:
                work(is_well)
            except (redis.RedisError, OSError, StorageError, sa.exc.SQLAlchemyError) as error:
                if name not in self.health.problems:
                    _logger.warning("The intake's %s wait: %s", name, _first_line(error))
                self.health.problems[name] = _first_line(error)
                self._stopping.wait(wait)
                wait = min(2 * wait, _LONGEST_WAIT_S)

    def _listen(self, is_well: Callable[[], None]) -> None:
        with self._client.pubsub(ignore_subscribe_messages=True) as subscription:  # type: ignore[no-untyped-call]
            subscription.subscribe(JOBS, JOB_CONTROL)
            # from here on nothing is missed; what was missed before has left its hash
            self._orphans.look_again()
            while not self._stopping.is_set():
                message = subscription.get_message(timeout=_LISTEN_SECONDS)
                is_well()
                if message is not None:
                    is_job = message["channel"] == JOBS.encode()
                    self._until_stored(partial(self._take_job if is_job else self._take_control, message["data"]))

    def _read_stream(self, is_well: Callable[[], None]) -> None:
        stream = JobStream(self._client)
        while not self._stopping.is_set():
            for entry_id, data in stream.read():
                if is_control(data):
                    self._take_control(data)
                else:
                    self._take_job(data, WayIn.STREAM)
                stream.acknowledge(entry_id)
            is_well()

    def _upkeep(self, is_well: Callable[[], None]) -> None:
        while not self._stopping.is_set():
            with self._engine.begin() as connection:
                if n_failed := fail_unreadable(connection):
                    _logger.warning("%d stored jobs cannot be read, and have failed", n_failed)
                waiting = [job for job in active_jobs(connection) if job.status is JobState.SUBMITTED]
            for job in waiting:
                plan_accepted(self._engine, job, self._surroundings)
            self._publisher.publish_due()
            self._orphans.answer()
            is_well()
            self._stopping.wait(UPKEEP_SECONDS)

    def _until_stored(self, take: Callable[[], None]) -> None:
        """A channel gives a message once: it is kept in hand until the database takes it."""
        wait = _SHORTEST_WAIT_S
        while True:
            try:
                return take()
            except (sa.exc.DataError, sa.exc.IntegrityError):
                # it is the message that the database refuses, and would refuse again
                raise
            except (StorageError, sa.exc.SQLAlchemyError) as error:
                _logger.warning("A message cannot be stored yet: %s", _first_line(error))
                if self._stopping.wait(wait):
                    raise
                wait = min(2 * wait, _LONGEST_WAIT_S)

    def _take_job(self, data: bytes, way_in: WayIn = WayIn.CHANNEL) -> None:
        try:
            self.follow(accept_job(self._engine, data, way_in))
        except JobError:
            return  # counted already
        except (sa.exc.DataError, sa.exc.IntegrityError):
            # taken again it would be refused again, and stand in the way of all others
            refuse(self._engine, JobError("the database refuses it"), data)

    def _take_control(self, data: bytes) -> None:
        try:
            request = parse_control(data)
        except JobError as error:
            refuse(self._engine, error, data)
            return
        job = cancel_job(self._engine, request)
        if job is None:
            refuse(self._engine, JobError("the job to cancel is not known"), data)
        else:
            self._publisher.publish(job.job_id)


def listening_client(settings: Settings) -> redis.Redis:
    """A client for the intake. It repeats nothing by itself: whoever begins again must look for what was missed."""
    return client_of(
        settings.redis_dsn(),
        socket_timeout=_REDIS_TIMEOUT_S,
        socket_connect_timeout=_REDIS_TIMEOUT_S,
        socket_keepalive=True,
        health_check_interval=_HEALTH_CHECK_S,
        retry=Retry(NoBackoff(), 0),
    )


def _first_line(error: Exception) -> str:
    """What a log may show: our own words, or the kind of an error whose words may quote parts of a URL."""
    return error.message if isinstance(error, StorageError) else type(error).__name__
