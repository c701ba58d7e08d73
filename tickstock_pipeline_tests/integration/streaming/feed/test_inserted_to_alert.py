"""From another program's INSERT to what is published, by a feed and a worker at work."""

import json
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import psycopg2
import sqlalchemy as sa

from tickstock_pipeline.messaging.bar_event import LiveBar
from tickstock_pipeline.streaming.feed.inserted_rows import InsertedRows
from tickstock_pipeline.streaming.worker import LiveWorker
from tickstock_pipeline_tests.integration.streaming.conftest import live, minutes, table, until_idle

START = 1_361_802_600_000_000  # 2013-02-25 09:30 in New York, microseconds
INSERT = """
    INSERT INTO ohlcv_1min (symbol, "timestamp", open, high, low, close, volume)
    VALUES ('AAPL', to_timestamp(%s / 1e6), 10.25, 11, 10, 10.25, 5)
"""


def is_told(message: Any) -> bool:
    """Whether this tells of an analysed minute."""
    return message is not None and json.loads(message["data"])["timeframe"] == "1min"


def test_minutes_that_came_while_the_feed_was_down_are_published_as_late(
    make_feed: Callable[..., Any], make_worker: Callable[..., Any], engine: sa.Engine, database_url: str
) -> None:
    # with a shooting star at 22 and at 37
    bars = live(minutes("AAPL", "2026-03-02", "2026-03-02")[:41])

    def source() -> InsertedRows:
        return InsertedRows(engine, lambda _: True, lambda: np.datetime64(bars[0].time, "us"))

    def store(symbol: str, stored: Sequence[LiveBar]) -> None:
        for one in stored:
            values = (symbol, one.time, one.open, one.high, one.low, one.close, int(one.volume))
            cursor.execute("INSERT INTO ohlcv_1min VALUES (%s, to_timestamp(%s / 1e6), %s, %s, %s, %s, %s)", values)

    def analysed(worker: LiveWorker) -> list[Any]:
        worker.turn()
        return table(engine, "SELECT 1 FROM bar_indicators WHERE timeframe = '1min'")

    worker = make_worker()
    program = psycopg2.connect(database_url, application_name="TickStockAppV2")
    program.autocommit = True
    with program.cursor() as cursor:
        store("AAPL", bars[:30])
        # a session that an import has asked for is history
        store("IBM", bars[:1])
        cursor.execute(
            "INSERT INTO bar_provenance (symbol, timeframe, year, source, outcome, n_bars, requested_through)"
            " VALUES ('IBM', '1min', 2026, 'polygon', 'complete', 1, '2026-03-02')"
        )
        with make_feed(source) as running:
            running.until(lambda: running.feed.writer.written.bars == 30, "the minutes that were missed")
            running.until(lambda: len(analysed(worker)) == 30, "their analysis")
            store("AAPL", bars[30:40])
            running.until(lambda: len(analysed(worker)) == 40, "the analysis of the new ones")
            until_idle(worker)
            told = [json.loads(fields[b"event"])["data"] for _, fields in running.client.xrange("pattern_events")]
        late = {one["timestamp"]: one["realtime_context"].get("late", False) for one in told}
        assert late == {bars[22].time / 1e6: True, bars[37].time / 1e6: False}

        # what is analysed is not taken up again
        with make_feed(source) as running:
            running.until_connected()
            store("AAPL", bars[40:])
            running.until(lambda: running.feed.writer.written.bars == 1, "the next minute")
            # which may be heard of, and be found at the beginning, too
            assert running.feed.state.events <= 2
    program.close()


def test_an_inserted_minute_is_published_when_it_is_committed_and_not_when_somebody_looks(
    make_feed: Callable[..., Any], make_worker: Callable[..., Any], engine: sa.Engine, database_url: str
) -> None:
    worker = make_worker()
    thread = threading.Thread(target=worker.run, daemon=True)
    program = psycopg2.connect(database_url, application_name="TickStockAppV2")
    program.autocommit = True
    with make_feed(lambda: InsertedRows(engine, lambda _: True)) as running, program.cursor() as cursor:
        running.until_connected()
        listener = running.client.pubsub(ignore_subscribe_messages=True)
        listener.subscribe("tickstock:events:analysis_complete")
        thread.start()
        waits = []
        try:
            for minute in range(41):
                begun = time.perf_counter()
                cursor.execute(INSERT, [START + minute * 60_000_000])
                while not is_told(listener.get_message(timeout=0.5)):
                    assert time.perf_counter() - begun < 10, f"minute {minute} is not published"
                waits.append(time.perf_counter() - begun)
        finally:
            worker.request_stop()
            thread.join(10)
            listener.close()
    program.close()

    # who looks now and then does so every few seconds
    assert statistics.median(waits[1:]) < 1.0
