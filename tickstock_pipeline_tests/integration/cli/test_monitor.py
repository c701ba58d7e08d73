"""``tickstock monitor`` and ``tickstock test-event``, run as their users run them."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import pytest
import redis
import sqlalchemy as sa
from rich.console import Console

import tickstock_pipeline
from tickstock_pipeline.cli.live_screen import screen
from tickstock_pipeline.messaging.bar_stream import BarStream, create_groups
from tickstock_pipeline.messaging.connection import connect
from tickstock_pipeline.messaging.health import beat
from tickstock_pipeline.streaming.observation import Observer
from tickstock_pipeline_tests.contracts.independent_consumer import IndependentConsumer, parsed
from tickstock_pipeline_tests.integration.cli.conftest import Tickstock
from tickstock_pipeline_tests.live_states import log_flow, show_feed, show_worker


def test_an_idle_system_is_shown_as_such(configured: Tickstock) -> None:
    shown = configured("monitor")

    assert shown.exit_code == 0
    assert "PostgreSQL up   Redis up" in shown.stdout
    assert "Feed     none runs" in shown.stdout
    assert "Workers  none runs" in shown.stdout


def busy(client: "redis.Redis", engine: sa.Engine) -> None:
    """A feed, five workers, lag on all shards, flows in every minute, and more troubles than fit."""
    show_feed(client, status="degraded", reasons="a reason that is much longer than any line of a terminal " * 3)
    for number in range(5):
        show_worker(client, f"a-rather-long-host-name-{number}-12345-abcdef", bars="123456789", breaker="open")
    beat(client)
    stream = BarStream(client)
    create_groups(client, range(stream.n_shards))
    stream.append_raw([(f"S{number}", b"{}") for number in range(400)])
    with engine.begin() as connection:
        for minute in range(9):
            log_flow(connection, str(uuid.uuid4()), 60 * minute + 1, 1234.5, 10, 20)


def test_a_busy_system_fits_a_small_terminal(
    database_url: str, redis_url: str, engine: sa.Engine, tickstock: Tickstock
) -> None:
    with connect(redis_url) as client:
        busy(client, engine)
        observer = Observer(database_url, client)
        console = Console(width=80, height=24)
        with console.capture() as capture:
            console.print(screen(observer.look(), observer.flows()))
        observer.close()
    lines = capture.get().rstrip().splitlines()

    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    for words in ("degraded", "and 2 more", "no analysis", "publish to receive", "1,234.5", "400 bars wait"):
        assert words in text, text


def test_programs_get_everything_as_json(configured: Tickstock, redis_url: str, engine: sa.Engine) -> None:
    with connect(redis_url) as client:
        busy(client, engine)
    shown = configured("monitor", "--json")

    document = shown.json()
    assert len(document["workers"]) == 5
    assert sum(lag["undelivered"] for lag in document["lag"].values()) == 400
    assert (document["flows"]["published"], document["flows"]["complete"]) == (9, 9)
    assert document["flows"]["latencies"][0]["p50"] == pytest.approx(1234.5)
    assert {one["part"] for one in document["degraded"]} == {"feed", "worker"}


def test_watching_goes_on_until_ctrl_c(configured: Tickstock) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "tickstock_pipeline", "monitor", "--watch"],
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"},
        cwd=Path(tickstock_pipeline.__file__).parents[1],
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
    )
    os.close(theirs)
    shown = b""
    while shown.count(b"Live work at") < 2:
        shown += os.read(ours, 4096)
    process.send_signal(signal.SIGINT)
    reading = threading.Thread(target=read_to_the_end, args=(ours,))
    reading.start()
    _, errors = process.communicate(timeout=30)
    reading.join()
    os.close(ours)

    assert (process.returncode, errors) == (0, b"")


def read_to_the_end(terminal: int) -> None:
    """Take what a program prints, so that it does not wait for its terminal."""
    # Linux says that the other end is gone by an error
    with contextlib.suppress(OSError):
        while os.read(terminal, 4096):
            pass


def test_without_redis_the_rest_is_shown(configured: Tickstock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKSTOCK_REDIS_URL", "redis://:geheim@127.0.0.1:1/0")
    shown = configured("monitor")

    assert shown.exit_code == 1
    assert "Redis down" in shown.stdout
    assert "Waiting       outbox 0" in shown.stdout
    assert "geheim" not in shown.stdout + shown.stderr


def test_a_test_event_goes_all_the_way_and_leaves_no_detection(
    configured: Tickstock, redis_url: str, database_url: str, engine: sa.Engine
) -> None:
    with IndependentConsumer(redis_url, database_url, expects_row=False) as consumer:
        shown = configured("test-event")
    assert consumer.failures == []
    [found] = consumer.events

    assert shown.exit_code == 0, shown
    order = ("PATTERN_PUBLISHED", "EVENT_RECEIVED", "EVENT_PARSED", "WEBSOCKET_DELIVERED", "Complete after")
    places = [shown.stdout.index(words) for words in order]
    assert places == sorted(places)
    assert found["data"]["symbol"] == "TEST"
    assert found["data"]["pattern"] == "test_event"
    assert found["data"]["test"] is True
    assert found["data"]["metadata"]["test"] is True
    with redis.Redis.from_url(redis_url) as client:
        [(_, fields)] = client.xrange("pattern_events")
        assert parsed(fields[b"event"]) == found
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM daily_patterns")) == 0
        details = connection.scalar(
            sa.text("SELECT details FROM integration_events WHERE checkpoint = 'PATTERN_PUBLISHED'")
        )
        assert details["test"] is True
        assert connection.scalar(sa.text("SELECT count(*) FROM outbox WHERE published_at IS NULL")) == 0


def test_a_test_event_that_nobody_takes_says_what_is_missing(configured: Tickstock) -> None:
    shown = configured("test-event", "--symbol", "aapl", "--wait", "0.1")

    assert shown.exit_code == 1
    assert "PATTERN_PUBLISHED" in shown.stdout
    assert "Not complete after 0.1 s: EVENT_RECEIVED, EVENT_PARSED, WEBSOCKET_DELIVERED not logged." in shown.stdout
    assert "Nobody listens on the channel." in shown.stdout


def test_two_test_events_are_two_flows(configured: Tickstock, redis_url: str) -> None:
    for _ in range(2):
        configured("test-event", "--wait", "0")
    with redis.Redis.from_url(redis_url) as client:
        flows = {json.loads(fields[b"event"])["data"]["flow_id"] for _, fields in client.xrange("pattern_events")}

    assert len(flows) == 2


def test_a_test_event_trims_the_stream_to_the_length_that_is_configured(
    configured: Tickstock, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TICKSTOCK_LIVE_EVENTS_KEPT", "2000")
    with redis.Redis.from_url(redis_url) as client:
        pipeline = client.pipeline(transaction=False)
        for _ in range(3_000):
            pipeline.xadd("pattern_events", {"event": "{}"})
        pipeline.execute()
        configured("test-event", "--wait", "0")

        # whole nodes of a hundred entries are trimmed
        assert 2_000 <= client.xlen("pattern_events") <= 2_100
