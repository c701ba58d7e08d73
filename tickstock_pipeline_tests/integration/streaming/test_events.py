"""What is told of detections: once, again with the same flow, taken back, and come back."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import redis
import sqlalchemy as sa

from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.messaging.bar_stream import VIA_CONSUMER, VIA_DATABASE, BarStream
from tickstock_pipeline.messaging.connection import connect
from tickstock_pipeline.runtime.redis import EmbeddedRedis
from tickstock_pipeline.storage.outbox import Message, prune, put
from tickstock_pipeline.streaming.desk import Told
from tickstock_pipeline.streaming.publisher import Publisher
from tickstock_pipeline_tests.integration.streaming.conftest import MakeWorker, live, minutes, table, until_idle


class Ear:
    """Everything that is published on some channels."""

    def __init__(self, client: "redis.Redis", *channels: str) -> None:
        self._pubsub = client.pubsub()
        self._pubsub.subscribe(*channels)

    def heard(self) -> list[tuple[str, dict[str, Any]]]:
        found = []
        while (message := self._pubsub.get_message(timeout=0.2)) is not None:
            if message["type"] == "message":
                found.append((message["channel"].decode(), json.loads(message["data"])))
        return found

    def close(self) -> None:
        self._pubsub.close()


def doji_at(bars: Bars, at: int, *, is_doji: bool) -> Bars:
    """The bars with a doji at one of them, or with a marubozu in its place."""
    open_, close, high, low = (getattr(bars, name).copy() for name in ("open", "close", "high", "low"))
    open_[at] = 100.0
    close[at] = 100.0 if is_doji else 101.0
    high[at], low[at] = (101.0, 99.0) if is_doji else (101.0, 100.0)
    return replace(bars, open=open_, close=close, high=high, low=low)


def test_a_detection_is_told_retracted_after_a_correction_and_comes_back_with_the_next_revision(
    engine: sa.Engine, client: "redis.Redis", stream: BarStream, make_worker: MakeWorker
) -> None:
    ear = Ear(client, "tickstock.events.patterns", "tickstock.events.patterns.retracted")
    bars = minutes("AAPL", "2026-03-02", "2026-03-02")[:50]
    worker = make_worker()
    stream.append(live(doji_at(bars, 45, is_doji=True)))
    worker.turn()
    until_idle(worker)
    ear.heard()
    found = []
    for is_doji in (False, True):
        stream.append(live(doji_at(bars, 45, is_doji=is_doji))[45:46])
        worker.turn()
        found += [
            (channel.rpartition(".")[2], event["event_type"], event["data"])
            for channel, event in ear.heard()
            if event["data"]["pattern"] == "doji" and event["data"]["timestamp"] == bars.time[45].astype(int) / 1e6
        ]
    ear.close()
    assert [one[:2] for one in found] == [("retracted", "pattern_retracted"), ("patterns", "pattern_detected")]
    assert found[0][2]["reason"] == "bar corrected"
    rows = table(
        engine,
        "SELECT DISTINCT checkpoint, flow_id::text FROM integration_events WHERE pattern_name = 'doji'"
        f" AND flow_id IN ('{found[0][2]['flow_id']}', '{found[1][2]['flow_id']}') ORDER BY 1, 2",
    )
    first, second = found[0][2]["flow_id"], found[1][2]["flow_id"]
    assert first != second
    assert sorted(map(tuple, rows)) == sorted(
        [("PATTERN_PUBLISHED", first), ("PATTERN_PUBLISHED", second), ("PATTERN_RETRACTED", first)]
    )
    assert found[1][2]["revision"] == 2


def test_a_repeated_bar_is_told_of_once(client: "redis.Redis", stream: BarStream, make_worker: MakeWorker) -> None:
    ear = Ear(client, "tickstock.events.patterns", "tickstock:events:analysis_complete", "tickstock_data")
    bars = live(minutes("AAPL", "2026-03-02", "2026-03-02")[:40])
    worker = make_worker()
    stream.append(bars)
    worker.turn()
    until_idle(worker)
    assert len(ear.heard()) > 80
    stream.append(bars)
    worker.turn()
    until_idle(worker)
    assert ear.heard() == []
    ear.close()


def test_bars_that_the_consumer_published_are_not_published_again(
    client: "redis.Redis", stream: BarStream, make_worker: MakeWorker
) -> None:
    ear = Ear(client, "tickstock_data")
    bars = live(minutes("AAPL", "2026-03-02", "2026-03-02")[:4])
    worker = make_worker()
    stream.append(bars[:2], via=VIA_CONSUMER)
    stream.append(bars[2:])
    worker.turn()
    until_idle(worker)
    assert [event["timestamp"] for _, event in ear.heard()] == ["2026-03-02T14:32:00.000Z", "2026-03-02T14:33:00.000Z"]
    ear.close()


def test_a_minute_that_another_program_has_stored_is_analysed_and_left_as_it_is(
    engine: sa.Engine, client: "redis.Redis", stream: BarStream, make_worker: MakeWorker
) -> None:
    ear = Ear(client, "tickstock:events:analysis_complete", "tickstock.events.patterns")
    bars = doji_at(minutes("AAPL", "2026-03-02", "2026-03-02")[:61], 60, is_doji=True)
    worker = make_worker()
    stream.append(live(bars[:60]))
    worker.turn()
    until_idle(worker)
    ear.heard()
    theirs = live(bars)[60]
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO ohlcv_1min VALUES ('AAPL', to_timestamp(:time / 1e6), 100, 101, 99, 100, 9000, 'theirs')"
            ),
            {"time": theirs.time},
        )
    # what the notice told of has changed since
    stream.append([theirs._replace(volume=5.0)], via=VIA_DATABASE)
    worker.turn()
    until_idle(worker)
    heard = ear.heard()
    ear.close()
    assert [event["timestamp"] for _, event in heard if "event_type" not in event] == ["2026-03-02T15:30:00.000Z"]
    assert "doji" in {event["data"]["pattern"] for _, event in heard if "event_type" in event}
    last = table(engine, 'SELECT volume, source FROM ohlcv_1min ORDER BY "timestamp" DESC LIMIT 1')
    assert last == [(9000, "theirs")]
    assert table(engine, "SELECT count(*) FROM ohlcv_hourly WHERE symbol = 'AAPL'") == [(1,)]


def test_what_a_worker_committed_and_did_not_publish_is_published_by_another(
    engine: sa.Engine, client: "redis.Redis", make_worker: MakeWorker
) -> None:
    ear = Ear(client, "tickstock.events.patterns")
    with engine.begin() as connection:
        put(
            connection, [Message("tickstock.events.patterns", '{"left": 1}'), Message("tickstock.events.patterns", "2")]
        )
        connection.execute(sa.text("UPDATE outbox SET created_at = now() - interval '3 seconds'"))
    worker = make_worker()
    worker.turn()
    assert [event for _, event in ear.heard()] == [{"left": 1}, 2]
    assert client.xlen("pattern_events") == 2
    assert table(engine, "SELECT 1 FROM outbox WHERE published_at IS NULL") == []
    ear.close()


def test_a_worker_that_is_never_quiet_forgets_old_rows_of_the_outbox_in_portions(
    engine: sa.Engine, stream: BarStream, make_worker: MakeWorker
) -> None:
    with engine.begin() as connection:
        connection.execute(
            sa.text("""
                INSERT INTO outbox (channels, payloads, published_at)
                SELECT '{somewhere}', '{1}', CASE WHEN n <> 3 THEN now() - make_interval(mins => 400 - n) END
                FROM generate_series(1, 360) n
            """)
        )
        assert prune(connection, at_most=100) == 99
    stream.append(live(minutes("AAPL", "2026-03-02", "2026-03-02"))[:1])
    make_worker().turn()
    assert table(engine, "SELECT count(*) FROM ohlcv_1min") == [(1,)]
    # what nobody had published is kept, as is the last hour
    assert table(engine, "SELECT count(*) FROM outbox WHERE channels = '{somewhere}'") == [(21,)]


def test_the_last_events_before_a_restart_of_redis_are_published_again(engine: sa.Engine, tmp_path: Path) -> None:
    first, second = EmbeddedRedis(tmp_path), EmbeddedRedis(tmp_path)
    with engine.begin() as connection:
        for age_s in (3600, 30, 10, 8):
            put(connection, [Message("tickstock.events.patterns", str(age_s))])
            connection.execute(
                sa.text(
                    "UPDATE outbox SET created_at = now() - make_interval(secs => :age),"
                    " published_at = now() - make_interval(secs => :age) WHERE published_at IS NULL"
                ),
                {"age": age_s},
            )
    try:
        with connect(first.start()) as client:
            publisher = Publisher(client, kept_events=1_000)
            # whoever begins after a restart does not know what it was before
            assert publisher.sweep(engine) == 2
            assert publisher.sweep(engine) == 0
            with engine.begin() as connection:
                told = put(connection, [Message("tickstock.events.patterns", "new")])
                connection.execute(
                    sa.text("UPDATE outbox SET created_at = now() - interval '3 seconds' WHERE id = :id"), {"id": told}
                )
            publisher.publish([Told(told, (Message("tickstock.events.patterns", "new"),))])
            os.kill(client.info("server")["process_id"], signal.SIGKILL)
            first.process.wait(10)
            with connect(second.start()):
                client.delete("pattern_events")  # as if it had lost all of them
                publisher.sweep(engine)
                publisher.sweep(engine)
                entries = client.xrange("pattern_events")
                assert [fields[b"event"] for _, fields in entries] == [b"10", b"8", b"new"]
    finally:
        first.stop()
        second.stop()
    assert table(engine, "SELECT 1 FROM outbox WHERE published_at IS NULL") == []


def test_a_definition_that_is_enabled_shows_in_the_next_live_bar(
    engine: sa.Engine, stream: BarStream, make_worker: MakeWorker
) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE indicator_definitions SET enabled = false WHERE name = 'sma_5'"))
    bars = live(minutes("AAPL", "2026-03-02", "2026-03-02")[:21])
    worker = make_worker()
    stream.append(bars[:20])
    worker.turn()
    until_idle(worker)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE indicator_definitions SET enabled = true WHERE name = 'sma_5'"))
    stream.append(bars[20:])
    worker.turn()
    until_idle(worker)
    newest = table(
        engine,
        "SELECT values[array_position(outputs, 'sma_5')] FROM bar_indicators JOIN indicator_layouts ON id = layout_id"
        " WHERE timeframe = '1min' ORDER BY time",
    )
    assert [row[0] for row in newest[:20]] == [None] * 20
    np.testing.assert_allclose(newest[20][0], np.mean([bar.close for bar in bars[16:21]]), rtol=1e-12)
    assert table(engine, "SELECT 1 FROM daily_indicators WHERE indicator_type = 'sma_5' AND timeframe = '1min'")


def test_a_redis_that_has_lost_its_streams_is_used_again(
    engine: sa.Engine, client: "redis.Redis", stream: BarStream, make_worker: MakeWorker
) -> None:
    bars = live(minutes("AAPL", "2026-03-02", "2026-03-02")[:20])
    worker = make_worker()
    stream.append(bars[:10])
    worker.turn()
    until_idle(worker)
    client.flushall()
    stream.append(bars[10:])
    worker.turn()
    worker.turn()
    until_idle(worker)
    assert len(table(engine, "SELECT 1 FROM bar_indicators WHERE timeframe = '1min'")) == 20
