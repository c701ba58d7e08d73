"""The status key while Redis is slow: nobody waits for it in the database, and no old state replaces a new one."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import redis
import sqlalchemy as sa

from tickstock_pipeline.imports.acceptance import WayIn, accept_job
from tickstock_pipeline.imports.status import StatusPublisher, redis_client
from tickstock_pipeline.settings import Settings
from tickstock_pipeline.storage.jobs import JobState, end_job, jobs_to_publish, mark_started, read_job

EVERY, LIFETIME = timedelta(seconds=30), timedelta(days=1)
KEY = "tickstock.jobs.status:j"


@pytest.fixture
def job(engine: sa.Engine) -> str:
    message = {"job_id": "j", "job_type": "historical_load", "symbols": ["AAPL"], "years": 1, "timespan": "day"}
    return accept_job(engine, json.dumps(message).encode(), WayIn.HTTP).job_id


class Stalled:
    """A Redis that takes connections and commands, and says nothing."""

    def __init__(self) -> None:
        self.was_asked = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self._held: list[socket.socket] = []
        self._thread = threading.Thread(target=self._take)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._server.getsockname()[1]}/0"

    def _take(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            self._held.append(connection)
            if connection.recv(1):
                self.was_asked.set()

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join()
        for connection in self._held:
            connection.close()


@pytest.fixture
def stalled() -> Iterator[Stalled]:
    server = Stalled()
    yield server
    server.close()


def test_a_redis_that_does_not_answer_keeps_nobody_from_the_job(engine: sa.Engine, stalled: Stalled, job: str) -> None:
    with redis.Redis.from_url(stalled.url, socket_timeout=2, decode_responses=True) as client:
        publishing = threading.Thread(target=StatusPublisher(engine, client).publish, args=(job,))
        publishing.start()
        assert stalled.was_asked.wait(20)
        with engine.begin() as connection:
            connection.exec_driver_sql("SET LOCAL lock_timeout = '300ms'")
            found = read_job(connection, job, lock=True)
            assert found is not None
            assert found.published_at is None
            assert mark_started(connection, job)
            assert publishing.is_alive()
        publishing.join()


class Slow(redis.Redis):
    """A connection on which commands that write wait until they are let through."""

    before_write: Callable[[], Any] = staticmethod(lambda: None)

    def execute_command(self, *arguments: Any, **options: Any) -> Any:
        if str(arguments[0]).startswith("EVAL"):
            self.before_write()
        return super().execute_command(*arguments, **options)


def test_a_state_that_arrives_late_does_not_replace_a_later_one(
    engine: sa.Engine, settings: Settings, redis_url: str, job: str
) -> None:
    arrived, may_write = threading.Event(), threading.Event()

    def hold() -> None:
        arrived.set()
        assert may_write.wait(20)

    with Slow.from_url(redis_url, decode_responses=True) as slow:
        slow.before_write = hold  # type: ignore[method-assign]
        late = threading.Thread(target=StatusPublisher(engine, slow).publish, args=(job,))
        late.start()
        assert arrived.wait(20)
        with engine.begin() as connection:
            end_job(connection, job, JobState.CANCELLED)
        quick = redis_client(settings)
        assert quick is not None
        assert StatusPublisher(engine, quick).publish(job)
        may_write.set()
        late.join()

        assert json.loads(str(quick.get(KEY)))["status"] == "cancelled"
        assert 0 < int(str(quick.ttl(KEY))) <= 86_400
        quick.close()


def test_a_job_that_is_stored_anew_is_told_of_from_the_beginning(
    engine: sa.Engine, settings: Settings, job: str
) -> None:
    client = redis_client(settings)
    assert client is not None
    publisher = StatusPublisher(engine, client)
    for _ in range(3):
        assert publisher.publish(job)
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM import_jobs")
    message = {"job_id": "j", "job_type": "historical_load", "symbols": [], "years": 1}
    accept_job(engine, json.dumps(message).encode(), WayIn.HTTP)

    assert publisher.publish("j")
    assert json.loads(str(client.get(KEY)))["status"] == "failed"
    client.close()


def test_what_happens_while_a_state_is_sent_is_still_to_be_told(engine: sa.Engine, redis_url: str, job: str) -> None:
    def end() -> None:
        with engine.begin() as connection:
            end_job(connection, job, JobState.FAILED, "no")

    with Slow.from_url(redis_url, decode_responses=True) as client:
        client.before_write = end  # type: ignore[method-assign]
        StatusPublisher(engine, client).publish(job)
    with engine.connect() as connection:
        assert jobs_to_publish(connection, EVERY, LIFETIME) == [job]
