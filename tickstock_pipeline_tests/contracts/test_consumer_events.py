"""An independent consumer: it knows the channels and payloads by their contract alone, redis-py and psycopg2.

Only the fixture that makes live events happen is ours; whatever reads and judges them is not.
"""

import json
import re
import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg2
import pytest
import redis

from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.messaging.bar_event import LiveBar
from tickstock_pipeline.messaging.bar_stream import BarStream
from tickstock_pipeline.messaging.connection import connect
from tickstock_pipeline.streaming.breaker import Limits
from tickstock_pipeline.streaming.worker import LiveWorker, worker_engine

PATTERN_DATA = {
    "symbol": str,
    "pattern": str,
    "confidence": float,
    "flow_id": str,
    "pattern_id": str,
    "timeframe": str,
    "direction": str,
    "tier": str,
    "price_change": float,
    "current_price": float,
    "volume": int,
    "timestamp": float,
    "metadata": dict,
    "realtime_context": dict,
}
TIERS = {"1min": "intraday", "hourly": "hourly", "daily": "daily", "weekly": "weekly", "monthly": "monthly"}
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

Heard = dict[str, list[dict[str, Any]]]


@pytest.fixture
def heard(database_url: str, redis_url: str) -> Iterator[Heard]:
    """All messages of 100 live minutes, by channel, heard by a plain client."""
    consumer = redis.Redis.from_url(redis_url)
    pubsub = consumer.pubsub()
    pubsub.psubscribe("*")
    opening = int(trading_calendar().opening(np.array(["2026-03-02"], "datetime64[D]"))[0].astype("int64"))
    random = np.random.default_rng(1)
    prices = np.round(100 + np.cumsum(random.normal(0, 0.2, (100, 4)), axis=0), 2)
    bars = [
        LiveBar(
            "AAPL",
            Timeframe.MINUTE,
            opening + 60_000_000 * at,
            *(float(row[0]), float(row.max()), float(row.min()), float(row[3])),
            volume=1000.0 + at,
            source="polygon.io",
        )
        for at, row in enumerate(prices)
    ]
    engine = worker_engine(database_url, "node")
    with connect(redis_url) as client:
        unlimited = Limits(cpu_percent=1e9, lag_s=1e9, busy_lag_s=1e9)
        worker = LiveWorker("node", engine, client, trading_calendar(), kept_events=100_000, limits=unlimited)
        worker.prepare()
        BarStream(client).append(bars)
        worker.turn()
        while not worker.is_idle:
            worker.turn()
        found: Heard = {}
        while (message := pubsub.get_message(timeout=0.3)) is not None:
            if message["type"] == "pmessage":
                found.setdefault(message["channel"].decode(), []).append(json.loads(message["data"]))
        found["pattern_events"] = [json.loads(fields[b"event"]) for _, fields in consumer.xrange("pattern_events")]
        found["heartbeats"] = [
            {"at": float(consumer.get(key)), "expires_in": consumer.ttl(key)}
            for key in ("tickstock:producer:heartbeat", "tickstockpl:heartbeat")
        ]
        yield found
        worker.close()
    pubsub.close()
    consumer.close()
    engine.dispose()


def test_pattern_events_have_the_names_and_types_of_the_contract(heard: Heard, database_url: str) -> None:
    events = heard["tickstock.events.patterns"]
    assert len(events) > 5
    for event in events:
        assert event["event_type"] == "pattern_detected"
        assert event["source"] == "TickStockPL"
        assert isinstance(event["timestamp"], float)
        data = event["data"]
        assert {name: type(data[name]) for name in PATTERN_DATA} == PATTERN_DATA
        assert 0.0 <= data["confidence"] <= 1.0
        assert data["direction"] in {"bullish", "bearish", "neutral"}
        assert data["tier"] == TIERS[data["timeframe"]]
        assert str(uuid.UUID(data["flow_id"])) == data["flow_id"]
        assert str(uuid.UUID(data["pattern_id"])) == data["pattern_id"]
        assert data["metadata"]["signal_strength"] in {"strong", "moderate", "weak"}
        assert type(data["metadata"]["volume_confirmed"]) is bool
        assert type(data["metadata"]["formation_bars"]) is int
        assert type(data["metadata"]["technical_context"]) is dict
        assert {"detection_latency_ms", "data_freshness_ms", "processing_node"} <= data["realtime_context"].keys()
    assert len({event["data"]["flow_id"] for event in events}) == len(events)
    assert heard["pattern_events"] == events

    connection = psycopg2.connect(database_url)
    with connection, connection.cursor() as cursor:
        for event in events:
            data = event["data"]
            cursor.execute(
                "SELECT count(*) FROM daily_patterns WHERE symbol = %s AND pattern_type = %s AND timeframe = %s"
                " AND detection_timestamp = to_timestamp(%s) AND confidence = %s",
                [data[name] for name in ("symbol", "pattern", "timeframe", "timestamp", "confidence")],
            )
            assert cursor.fetchone() == (1,)
            for checkpoint in ("EVENT_RECEIVED", "EVENT_PARSED", "WEBSOCKET_DELIVERED"):
                cursor.execute(
                    "SELECT log_integration_event(%s, 'pattern_detected', 'TickStockAppV2', %s,"
                    " 'tickstock.events.patterns', %s, %s, %s, 1, '{}')",
                    [data["flow_id"], checkpoint, data["symbol"], data["pattern"], data["confidence"]],
                )
        cursor.execute("SELECT count(*), bool_and(is_complete), bool_and(total_ms >= 0) FROM pattern_flow_analysis")
        assert cursor.fetchone() == (len(events), True, True)
    connection.close()


def test_one_completion_for_each_analysed_bar(heard: Heard) -> None:
    events = heard["tickstock:events:analysis_complete"]
    for event in events:
        assert {name: type(value) for name, value in event.items()} == {
            "symbol": str,
            "timestamp": str,
            "timeframe": str,
            "patterns_detected": int,
            "indicators_calculated": int,
        }
        assert ISO.fullmatch(event["timestamp"])
    minutes = [event for event in events if event["timeframe"] == "1min"]
    assert len(minutes) == len({event["timestamp"] for event in minutes}) == 100
    assert minutes[-1]["indicators_calculated"] == 16  # all but the two averages over 200 bars
    assert sum(event["patterns_detected"] for event in events) == len(heard["tickstock.events.patterns"])


def test_bars_that_we_ingest_are_market_data_events(heard: Heard) -> None:
    events = heard["tickstock_data"]
    assert len(events) == 100
    for event in events:
        assert ISO.fullmatch(event["timestamp"])
        assert (event["symbol"], event["timeframe"], event["source"]) == ("AAPL", "1min", "polygon.io")
        assert {name: type(value) for name, value in event["ohlcv"].items()} == {
            "open": float,
            "high": float,
            "low": float,
            "close": float,
            "volume": int,
        }
        assert {"market_session", "data_quality", "ingestion_latency_ms"} <= event["metadata"].keys()


def test_the_worker_shows_that_it_lives(heard: Heard, database_url: str) -> None:
    health = heard["tickstock.health.status"]
    assert {event["event_type"] for event in health} == {"system_health"}
    assert health[-1]["data"]["status"] == "healthy"
    assert {event["data"]["market"] for event in health} <= {"pre", "regular", "post", "closed"}
    assert {type(event["data"]["is_early_close"]) for event in health} == {bool}
    for heartbeat in heard["heartbeats"]:
        assert heartbeat["at"] > 1e9
        assert 60 < heartbeat["expires_in"] <= 180
    connection = psycopg2.connect(database_url)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT checkpoint, details FROM integration_events WHERE flow_id IS NULL ORDER BY id")
        rows = cursor.fetchall()
    connection.close()
    assert [row[0] for row in rows] == ["PRODUCER_STARTED", "PRODUCER_ALIVE"]
    assert {"patterns_detected", "uptime_seconds", "last_pattern_time"} <= rows[1][1].keys()
