"""Pattern events as an independent consumer reads them, from the channel and from the WebSocket."""

import ast
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa

from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.messaging.bar_stream import BarStream
from tickstock_pipeline.messaging.connection import connect
from tickstock_pipeline.messaging.pattern_event import LiveDetection, RealtimeContext, pattern_detected
from tickstock_pipeline.settings import Settings
from tickstock_pipeline.streaming.worker import LiveWorker, worker_engine
from tickstock_pipeline_tests.contracts import independent_consumer
from tickstock_pipeline_tests.contracts.independent_consumer import (
    ContractError,
    IndependentConsumer,
    from_web_socket,
    parsed,
)
from tickstock_pipeline_tests.integration.gateway.serving import event, publish, serving
from tickstock_pipeline_tests.integration.streaming.conftest import UNLIMITED, live, minutes, until_idle


def test_the_consumer_uses_nothing_of_the_product() -> None:
    tree = ast.parse(Path(independent_consumer.__file__).read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}

    assert not [name for name in imported if name.startswith("tickstock")]


@pytest.mark.parametrize("timeframe", Timeframe)
@pytest.mark.parametrize(
    ("changes", "is_late"),
    [({}, False), ({"price_change": None}, False), ({"context": {"gap": math.nan}, "levels": {}}, True)],
)
def test_events_of_every_timeframe_keep_the_contract(
    timeframe: Timeframe, changes: dict[str, Any], is_late: bool
) -> None:
    fields: dict[str, Any] = {
        **{"symbol": "BRK.B", "timeframe": timeframe, "pattern": "doji", "revision": 2, "direction": "neutral"},
        **{"bar_time": 1_772_461_800_000_000, "instant": 1_772_461_800_000_000, "confidence": 1.0},
        **{"signal_strength": "weak", "volume_confirmed": False, "formation_bars": 1, "price_change": -0.5},
        **{"current_price": 100.0, "volume": 0, "context": {}, "levels": {"support": 99.5}},
    }
    detection = LiveDetection(**(fields | changes))

    found = parsed(pattern_detected(detection, RealtimeContext("one", time.time(), 0.0, 1e9, is_late)))

    assert found["data"]["flow_id"] == str(detection.flow_id)
    assert found["data"]["realtime_context"].get("late", False) is is_late


def _renamed(found: dict[str, Any]) -> None:
    found["data"]["pattern_name"] = found["data"].pop("pattern")


def _moved(found: dict[str, Any]) -> None:
    found["symbol"] = found["data"]["symbol"]


def _typed(found: dict[str, Any]) -> None:
    found["data"]["confidence"] = "0.85"


def _in_milliseconds(found: dict[str, Any]) -> None:
    found["data"]["timestamp"] *= 1000


def _of_another_tier(found: dict[str, Any]) -> None:
    found["data"]["tier"] = "1min"


@pytest.mark.parametrize("change", [_renamed, _moved, _typed, _in_milliseconds, _of_another_tier])
def test_the_consumer_notices_what_is_not_agreed(change: Callable[[dict[str, Any]], None]) -> None:
    found = json.loads(event())
    parsed(json.dumps(found))
    change(found)

    with pytest.raises(ContractError):
        parsed(json.dumps(found))


def test_flows_of_a_real_worker_are_complete(
    engine: sa.Engine, database_url: str, redis_url: str, settings: Settings
) -> None:
    bars = minutes("AAPL", "2026-03-02", "2026-03-02")
    writing = worker_engine(database_url, "contract")
    with connect(redis_url) as client, IndependentConsumer(redis_url, database_url) as consumer:
        stream = BarStream(client)
        worker = LiveWorker("contract", writing, client, trading_calendar(), kept_events=100_000, limits=UNLIMITED)
        worker.prepare()
        try:
            stream.append(live(bars[:60]))
            until_idle(worker)
            for bar in live(bars[60:75]):
                stream.append([bar])
                worker.turn()
            until_idle(worker)
        finally:
            writing.dispose()
        with engine.connect() as connection:
            published = set(
                connection.scalars(
                    sa.text("SELECT flow_id::text FROM integration_events WHERE checkpoint = 'PATTERN_PUBLISHED'")
                )
            )
        consumer.wait_for(len(published))
        beats = [client.ttl(key) for key in ("tickstock:producer:heartbeat", "tickstockpl:heartbeat")]

    assert consumer.failures == []
    assert len(published) > 3
    assert {found["data"]["flow_id"] for found in consumer.events} == published
    assert all(beat > 60 for beat in beats)
    with engine.connect() as connection:
        flows = connection.execute(sa.text("SELECT * FROM pattern_flow_analysis")).all()
    assert len(flows) == len(published)
    assert all(flow.is_complete and flow.total_ms >= 0 and flow.user_count == 1 for flow in flows)


def test_events_over_the_web_socket_keep_the_contract(settings: Settings, redis_url: str) -> None:
    with serving(settings) as gateway, redis.Redis.from_url(redis_url) as client:
        payloads = [event("AAPL", 0), event("MSFT", 1), event("AAPL", 2)]
        found = from_web_socket(gateway.socket_url, ["AAPL"], lambda: publish(client, payloads), 2)

    assert [one["data"]["symbol"] for one in found] == ["AAPL", "AAPL"]
    for one, payload in zip(found, (payloads[0], payloads[2]), strict=True):
        del one["data"]["event_id"]
        assert one == json.loads(payload)
