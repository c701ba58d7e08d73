"""Another program's transaction that is not committed: its symbol waits, the others do not."""

import json
import time
from collections.abc import Iterator

import psycopg2
import pytest
import redis
import sqlalchemy as sa

from tickstock_pipeline.messaging.bar_stream import BarStream
from tickstock_pipeline.streaming.worker import LiveWorker
from tickstock_pipeline_tests.integration.streaming.conftest import MakeWorker, live, minutes, table, until_idle

SYMBOLS = ("AAPL", "IBM", "MSFT", "ORCL", "SPY")
N_BARS = 30


@pytest.fixture
def other(database_url: str) -> Iterator["psycopg2.extensions.connection"]:
    """A connection of another program's."""
    connection = psycopg2.connect(database_url, application_name="TickStockAppV2")
    yield connection
    connection.close()


def stored(engine: sa.Engine) -> dict[str, int]:
    return dict(map(tuple, table(engine, "SELECT symbol, count(*) FROM ohlcv_1min GROUP BY 1")))


def turn_until_tried_again(worker: LiveWorker) -> None:
    """Turns until the symbols that are held up have been tried a second time."""
    deadline = time.monotonic() + 10
    while not worker.desk.held_up.symbols:
        assert time.monotonic() < deadline
        worker.turn()


@pytest.mark.parametrize("does_commit", [True, False])
def test_the_neighbours_of_a_held_up_symbol_are_published_and_it_follows_in_its_order(
    engine: sa.Engine,
    client: "redis.Redis",
    stream: BarStream,
    make_worker: MakeWorker,
    other: "psycopg2.extensions.connection",
    does_commit: bool,
) -> None:
    listener = client.pubsub()
    listener.subscribe("tickstock_data", "tickstock.health.status")
    series = {symbol: live(minutes(symbol, "2026-03-02", "2026-03-02")[:N_BARS]) for symbol in SYMBOLS}
    worker = make_worker()
    worker.turn()
    first = series["AAPL"][0]
    with other.cursor() as cursor:
        cursor.execute("INSERT INTO ohlcv_1min VALUES ('AAPL', to_timestamp(%s / 1e6), 1, 1, 1, 1, 1)", [first.time])
    stream.append([bar for bars in series.values() for bar in bars[:20]])
    begun = time.monotonic()
    worker.turn()
    assert time.monotonic() - begun < 10
    assert stored(engine) == {symbol: 20 for symbol in SYMBOLS if symbol != "AAPL"}

    stream.append([bar for bars in series.values() for bar in bars[20:]])
    turn_until_tried_again(worker)
    assert stored(engine) == {symbol: N_BARS for symbol in SYMBOLS if symbol != "AAPL"}
    worker.turn()
    assert not worker.is_idle
    assert worker.signs.status == "degraded"

    other.commit() if does_commit else other.rollback()
    until_idle(worker)
    assert stored(engine) == dict.fromkeys(SYMBOLS, N_BARS)
    query = "SELECT symbol, count(*) FROM bar_indicators WHERE timeframe = '1min' GROUP BY 1"
    assert dict(map(tuple, table(engine, query))) == dict.fromkeys(SYMBOLS, N_BARS)
    assert table(engine, "SELECT close FROM ohlcv_1min WHERE symbol = 'AAPL' ORDER BY timestamp LIMIT 1") == [
        (first.close,)
    ]
    worker.turn()
    assert worker.signs.status == "healthy"
    heard = [one for one in iter(lambda: listener.get_message(timeout=0.2), None) if one["type"] == "message"]
    bars = [json.loads(one["data"]) for one in heard if one["channel"] == b"tickstock_data"]
    for symbol in SYMBOLS:
        times = [bar["timestamp"] for bar in bars if bar["symbol"] == symbol]
        assert len(times) == N_BARS
        assert times == sorted(times)
    health = [json.loads(one["data"])["data"] for one in heard if one["channel"] == b"tickstock.health.status"]
    assert [(one["status"], one["held_up"]) for one in health] == [
        ("healthy", ""),
        ("degraded", "AAPL"),
        ("healthy", ""),
    ]
    listener.close()


def test_a_lock_on_the_whole_table_ends_with_every_bar_stored_once(
    engine: sa.Engine, stream: BarStream, make_worker: MakeWorker, other: "psycopg2.extensions.connection"
) -> None:
    series = {symbol: live(minutes(symbol, "2026-03-02", "2026-03-02")[:N_BARS]) for symbol in SYMBOLS}
    worker = make_worker()
    worker.turn()
    with other.cursor() as cursor:
        cursor.execute("LOCK TABLE ohlcv_1min IN EXCLUSIVE MODE")
    stream.append([bar for bars in series.values() for bar in bars])
    turn_until_tried_again(worker)
    assert stored(engine) == {}
    assert worker.desk.held_up.symbols == sorted(SYMBOLS)
    other.rollback()
    until_idle(worker)
    assert stored(engine) == dict.fromkeys(SYMBOLS, N_BARS)
    assert worker.desk.held_up.symbols == []


def test_a_successor_takes_over_what_is_held_up(
    engine: sa.Engine, stream: BarStream, make_worker: MakeWorker, other: "psycopg2.extensions.connection"
) -> None:
    bars = live(minutes("AAPL", "2026-03-02", "2026-03-02")[:N_BARS])
    worker = make_worker()
    worker.turn()
    with other.cursor() as cursor:
        cursor.execute("INSERT INTO ohlcv_1min VALUES ('AAPL', to_timestamp(%s / 1e6), 1, 1, 1, 1, 1)", [bars[0].time])
    stream.append(bars)
    worker.turn()
    worker.close()
    other.rollback()
    successor = make_worker("two")
    successor.turn()
    until_idle(successor)
    assert stored(engine) == {"AAPL": N_BARS}
