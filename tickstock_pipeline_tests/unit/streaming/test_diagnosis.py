"""What is called wrong with live work, and what is not."""

from dataclasses import replace
from typing import Any

import pytest

from tickstock_pipeline.messaging.bar_reader import ShardLag
from tickstock_pipeline.storage.monitoring import Lease, Waiting
from tickstock_pipeline.streaming.diagnosis import troubles
from tickstock_pipeline.streaming.observation import LiveView, ShownView, StoredView

NOW = 1_800_000_000.0
IDLE = StoredView(Waiting(0, 0.0, 0, 0), (), (), {})
SILENT = ShownView({}, None, {"tickstock:producer:heartbeat": None, "tickstockpl:heartbeat": None}, {}, 0, 0)
WORKING = replace(
    SILENT,
    workers={"one": {"status": "healthy", "lag_ms": "3.0"}},
    feed={"status": "healthy"},
    heartbeats={"tickstock:producer:heartbeat": NOW - 30, "tickstockpl:heartbeat": NOW - 30},
    lag={0: ShardLag(0, 0)},
)
HELD = replace(IDLE, leases=(Lease(0, "one"),))


def test_nothing_is_wrong_where_nothing_was_begun() -> None:
    assert troubles(LiveView(NOW, IDLE, SILENT)) == []


def test_nothing_is_wrong_with_work_that_goes_well() -> None:
    assert troubles(LiveView(NOW, HELD, WORKING)) == []


@pytest.mark.parametrize(
    ("shown", "stored", "part", "words"),
    [
        ({"feed": {"status": "degraded", "reasons": "closed"}}, {}, "feed", "degraded: closed"),
        ({"feed": {}}, {}, "feed", "unknown"),
        (
            {"workers": {"one": {"status": "degraded", "breaker_reason": "20 s behind"}}},
            {},
            "worker",
            "one is degraded: 20 s behind",
        ),
        (
            {"workers": {"one": {"status": "unhealthy", "problem": "PostgreSQL does not answer"}}},
            {},
            "worker",
            "one is unhealthy: PostgreSQL does not answer",
        ),
        (
            {"workers": {"one": {"status": "healthy", "lag_ms": "12000"}}, "lag": {0: ShardLag(7, 0)}},
            {},
            "lag",
            "one is 12 s behind",
        ),
        (
            {"heartbeats": {"tickstock:producer:heartbeat": NOW - 121}},
            {},
            "heartbeat",
            "the producer's heartbeat is overdue",
        ),
        ({}, {"vanished_workers": ("two",)}, "worker", "two has ended without a word"),
        (
            {},
            {"waiting": Waiting(3, 11.0, 0, 0)},
            "outbox",
            "3 committed batches are not published, the oldest for 11 s",
        ),
        (
            {"lag": {0: ShardLag(5, 2)}},
            {"leases": (Lease(0, None),)},
            "worker",
            "7 bars wait on 1 shards that no worker has",
        ),
    ],
)
def test_each_trouble_is_named(shown: dict[str, Any], stored: dict[str, Any], part: str, words: str) -> None:
    view = LiveView(NOW, replace(HELD, **stored), replace(WORKING, **shown))

    assert [tuple(trouble) for trouble in troubles(view)] == [(part, words)]


def test_the_lag_of_an_idle_worker_is_old_news() -> None:
    shown = replace(WORKING, workers={"one": {"status": "healthy", "lag_ms": "12000"}})

    assert troubles(LiveView(NOW, HELD, shown)) == []


def test_servers_that_do_not_answer_are_troubles() -> None:
    view = LiveView(NOW, problems={"database": "away", "redis": "away too"})

    assert [tuple(trouble) for trouble in troubles(view)] == [("database", "away"), ("redis", "away too")]
