"""While PostgreSQL does not answer, those who listen on Redis are told so, and nothing is lost."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import pytest
import redis
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from tickstock_pipeline.messaging.bar_stream import BarStream
from tickstock_pipeline.messaging.channels import HEALTH, worker_state_key
from tickstock_pipeline_tests.integration.streaming.conftest import MakeWorker, live, minutes, table

WAIT_S = 20.0

Outage = Callable[[], Any]


@pytest.fixture
def outage(database_url: str, postgres_url: str) -> Outage:
    """Closes the test's database to everybody while its context lasts."""
    name = make_url(database_url).database

    @contextmanager
    def closed() -> Iterator[None]:
        administration = psycopg2.connect(postgres_url)
        administration.autocommit = True
        with administration.cursor() as cursor:
            cursor.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
            cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
            try:
                yield
            finally:
                cursor.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
                administration.close()

    return closed


def heard(listener: "redis.client.PubSub", status: str) -> dict[str, Any]:
    """The next health event with this status."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        message = listener.get_message(timeout=1.0)
        if message is not None:
            data: dict[str, Any] = json.loads(message["data"])["data"]
            if data["status"] == status:
                return data
    raise AssertionError(f"no health event says {status}")


def until_shown(client: "redis.Redis", status: bytes) -> None:
    """Wait for the worker's state: it comes with the event."""
    deadline = time.monotonic() + 10.0
    while client.hget(worker_state_key("one"), "status") != status:
        assert time.monotonic() < deadline


def test_a_worker_without_its_database_says_so_and_goes_on_when_it_is_back(
    engine: sa.Engine, client: "redis.Redis", stream: BarStream, make_worker: MakeWorker, outage: Outage
) -> None:
    bars = live(minutes("AAPL", "2026-03-02", "2026-03-02")[:20])
    listener = client.pubsub(ignore_subscribe_messages=True)
    listener.subscribe(HEALTH)
    worker = make_worker()
    stream.append(bars[:10])
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        assert heard(listener, "healthy")["problem"] == ""
        with outage():
            told = heard(listener, "unhealthy")
            assert told["problem"].startswith("PostgreSQL at ")
            stream.append(bars[10:])
            until_shown(client, b"unhealthy")
        heard(listener, "healthy")
        until_shown(client, b"healthy")
    finally:
        worker.request_stop()
        thread.join(WAIT_S)
        listener.close()
    engine.dispose()
    assert table(engine, "SELECT count(*), count(DISTINCT timestamp) FROM ohlcv_1min") == [(20, 20)]
