"""Live bars that other programs bring: over the consumer's channel, and into the table of minutes."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import psycopg2
import pytest
import sqlalchemy as sa

from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.messaging.bar_event import LiveBar, encode
from tickstock_pipeline.messaging.bar_stream import VIA_CONSUMER, VIA_DATABASE, VIA_FIELD, shard_count
from tickstock_pipeline.messaging.channels import MARKET_DATA, bar_stream
from tickstock_pipeline.storage.bars import write_bars
from tickstock_pipeline.streaming.feed.consumer_channel import ConsumerChannel
from tickstock_pipeline.streaming.feed.inserted_rows import InsertedRows, since_last_session

MakeFeed = Callable[..., Any]

START = 1_361_802_600_000_000  # 2013-02-25 09:30 in New York, microseconds
INSERT = """
    INSERT INTO ohlcv_1min (symbol, "timestamp", open, high, low, close, volume)
    SELECT %s, to_timestamp(%s / 1e6) + n * interval '1 minute', 10.25, 11, 10, 10.1, 5 FROM generate_series(0, %s) n
"""


def event(start: int = START, **changes: Any) -> dict[str, Any]:
    """A market data event as the consumer publishes it."""
    return {
        "symbol": "AAPL",
        "timestamp": datetime.fromtimestamp(start / 1e6, UTC).isoformat().replace("+00:00", "Z"),
        "timeframe": "1min",
        "ohlcv": {"open": 150.25, "high": 150.75, "low": 150.10, "close": 150.50, "volume": 125000},
        "source": "polygon.io",
        "metadata": {"market_session": "regular", "data_quality": "confirmed", "ingestion_latency_ms": 45},
        **changes,
    }


def vias(client: Any) -> set[bytes]:
    """How the entries of the streams came."""
    found = set()
    for shard in range(shard_count(client)):
        found |= {fields.get(VIA_FIELD, b"") for _, fields in client.xrange(bar_stream(shard))}
    return found


def test_bars_that_the_consumer_forwards_go_to_the_stream_and_say_so(make_feed: MakeFeed, redis_url: str) -> None:
    ours = LiveBar("AAPL", Timeframe.MINUTE, START, 1.0, 1.0, 1.0, 1.0, 1.0, "polygon.io")
    with make_feed(lambda: ConsumerChannel(redis_url)) as running:
        running.until_connected()
        running.client.publish(MARKET_DATA, encode(ours))
        running.client.publish(MARKET_DATA, json.dumps(event(timeframe="1sec")))
        running.client.publish(MARKET_DATA, json.dumps(event(symbol="NVDA")))
        running.client.publish(MARKET_DATA, "{")
        running.client.publish(MARKET_DATA, json.dumps(event()))
        running.until_keys({("AAPL", START)})

        (bar,) = running.bars()
        assert (bar.open, bar.high, bar.low, bar.close, bar.volume) == (150.25, 150.75, 150.10, 150.50, 125000.0)
        assert vias(running.client) == {VIA_CONSUMER}
        assert running.feed.writer.written.refused == 1


def test_a_subscription_that_breaks_is_made_again(make_feed: MakeFeed, redis_url: str) -> None:
    with make_feed(lambda: ConsumerChannel(redis_url)) as running:
        running.until_connected()
        running.client.client_kill_filter(_type="pubsub")
        running.until_connected(2)
        running.client.publish(MARKET_DATA, json.dumps(event()))
        running.until_keys({("AAPL", START)})


@pytest.fixture
def program(database_url: str) -> Iterator[Any]:
    """Another program's connection."""
    connection = psycopg2.connect(database_url, application_name="TickStockAppV2")
    connection.autocommit = True
    with connection.cursor() as cursor:
        yield cursor
    connection.close()


@pytest.fixture
def rows(engine: sa.Engine) -> Callable[[], InsertedRows]:
    """The table as a source, of which every row is news."""
    return lambda: InsertedRows(engine, lambda _: True)


def test_rows_that_another_program_inserts_are_on_the_stream_at_once(
    make_feed: MakeFeed, program: Any, rows: Callable[[], InsertedRows]
) -> None:
    with make_feed(rows) as running:
        running.until_connected()
        waits = []
        for minute in range(20):
            begun = time.perf_counter()
            program.execute(INSERT, ("AAPL", START + minute * 60_000_000, 0))
            while len(running.keys_on_streams()) <= minute:
                assert time.perf_counter() - begun < 5
            waits.append(time.perf_counter() - begun)

        # who looks now and then does so every few seconds
        assert sorted(waits)[10] < 1.0
        assert {bar.open for bar in running.bars()} == {10.25}
        assert {bar.source for bar in running.bars()} == {"external"}
        assert vias(running.client) == {VIA_DATABASE}


def test_a_large_statement_comes_in_many_notices_and_an_update_only_with_what_it_changed(
    make_feed: MakeFeed, program: Any, rows: Callable[[], InsertedRows]
) -> None:
    with make_feed(rows) as running:
        running.until_connected()
        program.execute(INSERT, ("AAPL", START, 389))
        running.until_keys({("AAPL", START + minute * 60_000_000) for minute in range(390)})
        program.execute("""UPDATE ohlcv_1min SET volume = 6 WHERE extract(minute FROM "timestamp") = 30""")
        running.until(lambda: len(running.bars()) == 397, "seven changed bars")

        assert {bar.volume for bar in running.bars()[-7:]} == {6.0}


def test_what_we_write_ourselves_and_imports_of_others_are_no_news(
    make_feed: MakeFeed, program: Any, rows: Callable[[], InsertedRows], engine: sa.Engine
) -> None:
    one = np.full(1, 10.0)
    ours = Bars("IBM", Timeframe.MINUTE, np.array([START], "datetime64[us]"), one, one, one, one, np.ones(1, np.int64))
    with make_feed(rows) as running:
        running.until_connected()
        with engine.begin() as connection:
            write_bars(connection, [ours], "polygon")
        program.execute(INSERT, ("IBM", START + 60_000_000, 6_000))
        program.execute(INSERT, ("AAPL", START, 0))
        running.until_keys({("AAPL", START)})


def test_rows_with_strange_texts_are_stored_and_do_not_fail_their_writer(program: Any) -> None:
    program.execute(INSERT, ("x" * 9_000, START, 100))
    program.execute(
        "INSERT INTO ohlcv_1min SELECT 'B' || n, now(), 1, 1, 1, 1, 1, repeat('\"é', 5000)"
        " FROM generate_series(1, 100) n"
    )
    program.execute("SELECT count(*) FROM ohlcv_1min")

    assert program.fetchone() == (201,)


def test_only_the_last_session_is_news() -> None:
    calendar = trading_calendar()
    is_live = since_last_session(calendar)
    opening = calendar.opening(calendar.last_closed(np.datetime64("now", "us")))

    assert is_live(opening[()])
    assert not is_live(opening - np.timedelta64(1, "m"))
