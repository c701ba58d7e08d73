"""One worker, real Redis and PostgreSQL: what comes out of the stream, and in which order."""

import json
from typing import Any

import redis
import sqlalchemy as sa

from tickstock_pipeline.messaging.bar_stream import BarStream
from tickstock_pipeline_tests.integration.streaming.conftest import MakeWorker, feed, live, minutes, table, until_idle


def test_a_live_minute_is_stored_with_its_analysis_and_published(
    engine: sa.Engine, client: "redis.Redis", stream: BarStream, make_worker: MakeWorker
) -> None:
    worker = make_worker()
    listener = client.pubsub()
    listener.subscribe("tickstock.events.patterns", "tickstock:events:analysis_complete", "tickstock_data")
    bars = minutes("AAPL", "2026-03-02", "2026-03-02")
    feed(stream, live(bars[:50]))
    until_idle(worker)
    for bar in live(bars[50:80]):
        stream.append([bar])
        worker.turn()
    until_idle(worker)
    assert len(table(engine, "SELECT 1 FROM ohlcv_1min")) == 80
    assert len(table(engine, "SELECT 1 FROM bar_indicators WHERE timeframe = '1min'")) == 80
    coverage = table(engine, "SELECT n_bars, stale_from FROM analysis_coverage WHERE timeframe = '1min'")
    assert coverage == [(80, None)]
    told: dict[str, list[dict[str, Any]]] = {}
    while (message := listener.get_message(timeout=0.5)) is not None:
        if message["type"] == "message":
            told.setdefault(message["channel"].decode(), []).append(json.loads(message["data"]))
    assert [one["timeframe"] for one in told["tickstock:events:analysis_complete"]].count("1min") == 80
    assert len(told["tickstock_data"]) == 80
    listener.close()
