"""From another program's INSERT to what is published, by a feed and a worker at work."""

import json
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg2
import sqlalchemy as sa

from tickstock_pipeline.streaming.feed.inserted_rows import InsertedRows

START = 1_361_802_600_000_000  # 2013-02-25 09:30 in New York, microseconds
INSERT = """
    INSERT INTO ohlcv_1min (symbol, "timestamp", open, high, low, close, volume)
    VALUES ('AAPL', to_timestamp(%s / 1e6), 10.25, 11, 10, 10.25, 5)
"""


def is_told(message: Any) -> bool:
    """Whether this tells of an analysed minute."""
    return message is not None and json.loads(message["data"])["timeframe"] == "1min"


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
