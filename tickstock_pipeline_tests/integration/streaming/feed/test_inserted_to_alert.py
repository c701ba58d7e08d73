"""From another program's INSERT to what is published, by a feed and a worker at work."""

import json
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import psycopg2
import sqlalchemy as sa

from tickstock_pipeline.streaming.feed.inserted_rows import InsertedRows
from tickstock_pipeline_tests.integration.streaming.conftest import until_idle

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
    def source() -> InsertedRows:
        return InsertedRows(engine, lambda _: True, lambda: np.datetime64(START, "us"))

    def events() -> list[dict[str, Any]]:
        stored = running.client.xrange("pattern_events")
        return [json.loads(fields[b"event"])["data"] for _, fields in stored]

    worker = make_worker()
    program = psycopg2.connect(database_url, application_name="TickStockAppV2")
    program.autocommit = True
    with program.cursor() as cursor:
        # a session that an import has asked for is none of ours
        cursor.execute("INSERT INTO ohlcv_1min VALUES ('IBM', to_timestamp(%s / 1e6), 1, 1, 1, 1, 1)", [START])
        cursor.execute(
            "INSERT INTO bar_provenance (symbol, timeframe, year, source, outcome, n_bars, requested_through)"
            " VALUES ('IBM', '1min', 2013, 'polygon', 'complete', 1, '2013-02-25')"
        )
        for minute in range(30):
            cursor.execute(INSERT, [START + minute * 60_000_000])
        with make_feed(source) as running:
            running.until_connected()
            running.until_keys({("AAPL", START + minute * 60_000_000) for minute in range(30)})
            until_idle(worker)
            cursor.execute(INSERT, [START + 30 * 60_000_000])
            running.until(lambda: len(running.keys_on_streams()) == 31, "the new minute")
            until_idle(worker)
            found = {one["timestamp"]: one["realtime_context"].get("late", False) for one in events()}
        assert len(found) > 3
        new = (START + 30 * 60_000_000) / 1e6
        assert not found.pop(new)
        assert set(found.values()) == {True}

        # what is analysed is not taken up again
        n_events, n_entries = len(events()), len(running.keys_on_streams())
        with make_feed(source) as running:
            running.until_connected()
            cursor.execute(INSERT, [START + 31 * 60_000_000])
            running.until(lambda: len(running.keys_on_streams()) == n_entries + 1, "the next minute")
            until_idle(worker)
            assert len(events()) >= n_events
            assert len(running.bars()) <= n_entries + 5
    program.close()


def test_an_inserted_minute_is_published_within_a_tenth_of_a_second(
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

    # the first bar of a series that nobody follows takes longer
    assert statistics.median(waits[1:]) < 0.1
