"""The consumer application's way with import jobs, in redis-py alone, with the names and types that it knows."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
import redis

from tickstock_pipeline.settings import Settings
from tickstock_pipeline_tests.gateways import running_gateway
from tickstock_pipeline_tests.orchestra import Orchestra

TYPES: dict[str, Any] = {
    "job_id": str,
    "status": str,
    "progress": int,
    "total_symbols": int,
    "processed_symbols": int,
    "successful_symbols": list,
    "failed_symbols": list,
    "error_message": (str, type(None)),
    "started_at": (str, type(None)),
    "completed_at": (str, type(None)),
    "phase": str,
    "message": str,
    "errors": dict,
    "run_ids": list,
}


class Consumer:
    """What the consumer does: publish, leave a hash, poll."""

    def __init__(self, redis_url: str) -> None:
        self._redis = redis.Redis.from_url(redis_url, decode_responses=True)
        self.history: list[dict[str, Any]] = []

    def submit(self, job_id: str, **message: Any) -> None:
        document = {"job_id": job_id, "requested_by": "admin", "timestamp": datetime.now().isoformat(), **message}
        while not self._redis.publish("tickstock.jobs.data_load", json.dumps(document)):
            time.sleep(0.01)  # the pipeline is still starting
        # fails with WRONGTYPE if the pipeline has written its string before
        self._redis.hset(f"tickstock.jobs.status:{job_id}", mapping={"status": "submitted", "progress": 0})

    def cancel(self, job_id: str) -> None:
        document = {"job_id": job_id, "action": "cancel", "requested_by": "admin", "timestamp": "2024-10-30T14:56:23"}
        self._redis.publish("tickstock.jobs.control", json.dumps(document))

    def poll(self, job_id: str, until: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        key = f"tickstock.jobs.status:{job_id}"
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            if self._redis.type(key) == "string":
                found: dict[str, Any] = json.loads(self._redis.get(key))
                self.history.append(found)
                if until(found):
                    return found
            time.sleep(0.02)
        raise AssertionError(f"never seen: {self.history[-1:]}")

    def close(self) -> None:
        self._redis.close()


@pytest.fixture
def consumer(redis_url: str) -> Iterator[Consumer]:
    consumer = Consumer(redis_url)
    yield consumer
    consumer.close()


@pytest.fixture(autouse=True)
def _gateway(settings: Settings, orchestra: Orchestra) -> Iterator[None]:
    with running_gateway(settings):
        yield


def is_over(status: dict[str, Any]) -> bool:
    return status["status"] in ("completed", "failed", "cancelled")


def test_a_job_is_followed_from_its_submission_to_its_end(consumer: Consumer, orchestra: Orchestra) -> None:
    consumer.submit(
        "job_20241030_145623_abc123",
        job_type="multi_timeframe_load",
        symbols=["AAA", "NOPE", "BBB"],
        timeframes=["day", "month"],
        years=1.0,
        run_analysis_after_import=True,
    )
    queued = consumer.poll("job_20241030_145623_abc123", lambda status: status["status"] == "queued")
    assert (queued["total_symbols"], queued["processed_symbols"], queued["phase"]) == (3, 0, "importing")
    for _ in range(4):
        for request in orchestra.tick():
            orchestra.run(request)
            consumer.poll("job_20241030_145623_abc123", lambda status: status["status"] != "queued")

    ended = consumer.poll("job_20241030_145623_abc123", is_over)

    assert (ended["status"], ended["phase"], ended["progress"]) == ("completed", "complete", 100)
    assert (ended["successful_symbols"], ended["failed_symbols"]) == (["AAA", "BBB"], ["NOPE"])
    assert ended["errors"].keys() == {"NOPE"}
    assert len(ended["run_ids"]) == 3
    for status in consumer.history:
        assert status.keys() == TYPES.keys()
        assert all(isinstance(status[key], kind) for key, kind in TYPES.items())
        assert len(status["successful_symbols"]) + len(status["failed_symbols"]) <= status["total_symbols"]
    progress = [status["progress"] for status in consumer.history]
    assert progress == sorted(progress)
    assert {status["phase"] for status in consumer.history} >= {"importing", "analyzing", "complete"}
    started = datetime.fromisoformat(ended["started_at"])
    assert started.tzinfo is None
    assert started <= datetime.fromisoformat(ended["completed_at"])


def test_a_job_is_cancelled(consumer: Consumer, orchestra: Orchestra) -> None:
    consumer.submit("j", job_type="historical_load", symbols=["AAA"], years=1, timespan="day")
    consumer.poll("j", lambda status: status["status"] == "queued")

    consumer.cancel("j")

    cancelled = consumer.poll("j", is_over)
    assert (cancelled["status"], cancelled["phase"]) == ("cancelled", "importing")
    assert cancelled["completed_at"] is not None
    assert orchestra.tick() == []


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({"job_type": "csv_universe_load", "csv_file": "../../etc/passwd", "universe_type": "sp_500"}, "universe file"),
        ({"job_type": "historical_load", "years": 1}, "symbols"),
        ({"symbols": ["AAPL"], "years": 1}, "job_type"),
        ({"job_type": "multi_timeframe_load", "symbols": ["AAPL"], "timeframes": ["tick"]}, "timeframe"),
    ],
)
def test_a_job_that_cannot_be_done_fails_with_the_reason(
    consumer: Consumer, message: dict[str, Any], words: str
) -> None:
    consumer.submit("bad", **message)

    failed = consumer.poll("bad", is_over)

    assert failed["status"] == "failed"
    assert words in failed["error_message"]
    assert failed["total_symbols"] == 0
