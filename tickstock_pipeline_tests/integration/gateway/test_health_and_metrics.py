"""``/health`` and ``/metrics`` over real servers, with processes that show their states."""

import time
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from tickstock_pipeline.messaging.bar_stream import BarStream, create_groups
from tickstock_pipeline.messaging.connection import connect
from tickstock_pipeline.messaging.health import beat
from tickstock_pipeline.settings import Settings
from tickstock_pipeline.storage.outbox import Message, put
from tickstock_pipeline_tests.integration.gateway.serving import (
    Gateway,
    event,
    publish,
    received_events,
    serving,
    subscribed,
)
from tickstock_pipeline_tests.live_states import log_flow, show_feed, show_worker


def samples(gateway: Gateway) -> dict[str, float]:
    """Every number of /metrics, by its name and labels."""
    answer = gateway.http.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    return {
        sample.name + "".join(f",{name}={value}" for name, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def healthy(gateway: Gateway) -> dict[str, Any]:
    """The state, once the gateway has begun everything."""
    deadline = time.monotonic() + 20
    while (answer := gateway.http.get("/health")).status_code != 200:
        assert time.monotonic() < deadline, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.fixture
def client(redis_url: str) -> Any:
    with connect(redis_url) as found:
        yield found


def test_a_gateway_alone_is_healthy(settings: Settings) -> None:
    with serving(settings) as gateway:
        found = healthy(gateway)

    assert (found["status"], found["degraded"]) == ("healthy", [])
    assert found["workers"] == {}
    assert found["feed"] is None


def test_health_names_what_is_degraded_and_stays_alive(settings: Settings, client: "redis.Redis") -> None:
    show_worker(client, status="degraded", breaker="open", breaker_reason="20 s behind")
    show_feed(client, status="unhealthy", reasons="connection refused")
    with serving(settings) as gateway:
        found = healthy(gateway)

    assert found["status"] == "degraded"
    assert {(one["part"], one["what"]) for one in found["degraded"]} == {
        ("worker", "one is degraded: 20 s behind"),
        ("feed", "unhealthy: connection refused"),
        ("heartbeat", "the producer's heartbeat is overdue"),
    }
    assert found["workers"] == {"one": {"status": "degraded", "lag_ms": 3.5}}


def test_a_table_that_cannot_be_read_is_named_and_the_rest_still_shown(settings: Settings, engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE refused_messages RENAME TO moved"))
    with serving(settings) as gateway:
        found = healthy(gateway)

    assert found["database"] == "PostgreSQL refuses a query (UndefinedTable)"
    assert found["workers"] == {}


@pytest.mark.parametrize(
    ("away", "part"),
    [
        ({"redis_url": SecretStr("redis://:geheim@127.0.0.1:1/0")}, "redis"),
        ({"database_url": SecretStr("postgresql://someone:geheim@127.0.0.1:1/bars")}, "database"),
    ],
)
def test_a_server_that_is_away_is_named_and_the_other_still_shown(
    settings: Settings, away: dict[str, Any], part: str
) -> None:
    with serving(settings.model_copy(update=away)) as gateway:
        answer = gateway.http.get("/health")
        found = samples(gateway)

    assert answer.status_code == 503
    assert part in {one["part"] for one in answer.json()["degraded"]}
    assert "geheim" not in answer.text
    assert (found["tickstock_up,part=database"], found["tickstock_up,part=redis"]) == (
        (0, 1) if part == "database" else (1, 0)
    )


def test_metrics_show_feed_workers_lag_and_what_waits(
    settings: Settings, client: "redis.Redis", engine: sa.Engine
) -> None:
    show_worker(client, breaker="open")
    show_feed(client)
    beat(client)
    stream = BarStream(client)
    create_groups(client, range(stream.n_shards))
    stream.append_raw([("AAPL", b"{}"), ("AAPL", b"{}")])
    with engine.begin() as connection:
        put(connection, [Message("channel", "payload")])
        log_flow(connection, "00000000-0000-0000-0000-000000000001", 30, 10, 20, 30)
        connection.execute(
            sa.text("""
                INSERT INTO import_jobs (job_id, job_type, message, source, status, completed_at)
                VALUES ('j', 'historical_load', '{}', 'http', 'completed', now())
            """)
        )
    with serving(settings) as gateway:
        found = samples(gateway)

    assert found["tickstock_bars_total,worker=one"] == 1234
    assert found["tickstock_quarantined_bars_total,worker=one"] == 2
    assert found["tickstock_worker_lag_seconds,worker=one"] == pytest.approx(0.0035)
    assert found["tickstock_breaker_open,worker=one"] == 1
    assert found["tickstock_status,part=worker:one,status=healthy"] == 1
    assert found["tickstock_feed_connections_total,source=polygon"] == 3
    assert found["tickstock_feed_queue_depth,source=polygon"] == 4
    assert found["tickstock_feed_connected"] == 1
    assert sum(value for name, value in found.items() if name.startswith("tickstock_shard_lag_entries")) == 2
    assert found["tickstock_heartbeat_age_seconds"] < 60
    assert found["tickstock_outbox_rows"] == 1
    assert found["tickstock_jobs,status=completed"] == 1
    assert found["tickstock_flow_latency_seconds,quantile=0.95,stage=total"] == pytest.approx(0.060, abs=1e-5)
    assert found["tickstock_flows_complete"] == 1
    assert found["process_resident_memory_bytes"] > 0


def test_metrics_count_patterns_and_time_each_stage(settings: Settings, client: "redis.Redis") -> None:
    with serving(settings) as gateway, subscribed(gateway) as subscriber:
        publish(client, [event(number=0), event(number=1, pattern="doji", direction="neutral")])
        received_events(subscriber, 2)
        found = samples(gateway)

    assert found["tickstock_patterns_total,direction=bullish,pattern=engulfing,timeframe=1min"] == 1
    assert found["tickstock_patterns_total,direction=neutral,pattern=doji,timeframe=1min"] == 1
    assert found["tickstock_gateway_clients"] == 1
    assert {
        stage: found[f"tickstock_latency_seconds_count,stage={stage}"]
        for stage in ("detection", "publication", "stream", "socket")
    } == {"detection": 2, "publication": 2, "stream": 2, "socket": 2}
    assert found["tickstock_latency_seconds_sum,stage=detection"] == pytest.approx(2 * 0.00112)


def test_metrics_ask_for_the_token(settings: Settings) -> None:
    with serving(settings.model_copy(update={"gateway_token": SecretStr("geheim")})) as gateway:
        assert gateway.http.get("/metrics").status_code == 401
        assert gateway.http.get("/metrics", headers={"Authorization": "Bearer geheim"}).status_code == 200
