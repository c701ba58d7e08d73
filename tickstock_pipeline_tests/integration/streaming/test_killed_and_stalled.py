"""A worker's process that is killed or stopped in the middle of a batch: nothing lost, nothing doubled."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa

from tickstock_pipeline.messaging.bar_stream import BarStream
from tickstock_pipeline_tests.integration.streaming.as_batch import (
    NOTHING_LEFT,
    analyse_as_batch,
    assert_same,
    contents,
    left_for_batch,
)
from tickstock_pipeline_tests.integration.streaming.conftest import MakeWorker, live, minutes, table, until_idle

StartWorker = Callable[[str], "subprocess.Popen[bytes]"]


@pytest.fixture
def start_worker(clean_environment: None, database_url: str, redis_url: str, tmp_path: Path) -> Iterator[StartWorker]:
    """``tickstock worker`` as a process of its own; killed at the end of the test."""
    processes: list[subprocess.Popen[bytes]] = []
    environment = {
        **os.environ,
        "TICKSTOCK_DATABASE_URL": database_url,
        "TICKSTOCK_REDIS_URL": redis_url,
        "TICKSTOCK_HOME": str(tmp_path),
        "PYTHONPATH": str(Path(__file__).parents[3]),
    }

    def start(name: str) -> "subprocess.Popen[bytes]":
        log = (tmp_path / f"{name}.log").open("wb")
        command = [sys.executable, "-m", "tickstock_pipeline", "worker", "--name", name]
        processes.append(subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT))
        log.close()
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


def until(condition: Callable[[], Any], *, within_s: float = 30.0) -> Any:
    """The first answer of ``condition`` that is true."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return found


def held_shards(engine: sa.Engine, worker: str) -> int:
    return len(table(engine, f"SELECT 1 FROM shard_leases WHERE worker = '{worker}' AND expires_at > now()"))


def is_waiting_for_a_lock(engine: sa.Engine) -> bool:
    return bool(
        table(
            engine,
            "SELECT 1 FROM pg_stat_activity WHERE application_name = 'tickstock-worker:first'"
            " AND wait_event_type = 'Lock' AND datname = current_database()",
        )
    )


def stuck_in_a_batch(engine: sa.Engine, stream: BarStream, bars: list[Any], hold: sa.Connection) -> None:
    """Send bars, and return when the first worker has written them and waits to fill the outbox."""
    hold.execute(sa.text("LOCK TABLE outbox IN ACCESS EXCLUSIVE MODE"))
    stream.append(bars)
    until(lambda: is_waiting_for_a_lock(engine))


def test_a_killed_workers_batch_is_finished_by_its_successor(
    engine: sa.Engine,
    second_engine: sa.Engine,
    stream: BarStream,
    start_worker: StartWorker,
    make_worker: MakeWorker,
) -> None:
    series = [minutes(symbol, "2026-03-02", "2026-03-02")[:130] for symbol in ("AAPL", "MSFT", "IBM")]
    sent = sorted((bar for bars in series for bar in live(bars)), key=lambda bar: bar.time)
    first = start_worker("first")
    until(lambda: held_shards(engine, "first") == 16)
    stream.append(sent[:240])
    until(lambda: table(engine, "SELECT count(*) FROM bar_indicators WHERE timeframe = '1min'")[0][0] == 240)
    with engine.connect() as hold:
        stuck_in_a_batch(engine, stream, sent[240:300], hold)
        first.send_signal(signal.SIGKILL)
        first.wait()
    stream.append(sent[300:])
    with engine.begin() as connection:
        # as if the lease had run out
        connection.execute(sa.text("UPDATE shard_leases SET expires_at = now() - interval '1 second'"))
        connection.execute(sa.text("UPDATE live_workers SET expires_at = now() - interval '1 second'"))
    second = make_worker("second")
    second.turn()
    until_idle(second)
    second.desk.open_periods.grace_s = 0.0
    until_idle(second)
    analyse_as_batch(second_engine, series)
    assert_same(contents(engine), contents(second_engine))
    assert left_for_batch(engine) == NOTHING_LEFT


def test_a_stalled_worker_is_replaced_within_ten_seconds_and_cannot_commit_afterwards(
    engine: sa.Engine,
    client: "redis.Redis",
    stream: BarStream,
    start_worker: StartWorker,
    make_worker: MakeWorker,
) -> None:
    bars = live(minutes("AAPL", "2026-03-02", "2026-03-02")[:60])
    first = start_worker("first")
    until(lambda: held_shards(engine, "first") == 16)
    stream.append(bars[:30])
    until(lambda: table(engine, "SELECT count(*) FROM bar_indicators WHERE timeframe = '1min'")[0][0] == 30)
    with engine.connect() as hold:
        stuck_in_a_batch(engine, stream, bars[30:45], hold)
        first.send_signal(signal.SIGSTOP)
        left = table(engine, "SELECT max(expires_at) - now() FROM shard_leases WHERE worker = 'first'")[0][0]
    second = make_worker("second")
    until(lambda: second.turn() or len(second.desk.leases) == 16)
    # from then on each turn takes them
    assert left < timedelta(seconds=10)
    stream.append(bars[45:])
    until_idle(second)
    second.desk.open_periods.grace_s = 0.0
    until_idle(second)
    before = contents(engine)
    published = client.xlen("pattern_events")
    log = table(
        engine,
        "SELECT count(*), count(DISTINCT flow_id) FROM integration_events WHERE checkpoint = 'PATTERN_PUBLISHED'",
    )
    first.send_signal(signal.SIGCONT)
    until(lambda: second.turn() or 0 < len(second.desk.leases) < 16)  # it is back, and has its share
    until_idle(second)
    assert len(before["ohlcv_1min"]) == 60
    assert_same(contents(engine), before)
    assert client.xlen("pattern_events") == published
    assert log[0][0] == log[0][1] > 0
