"""What goes wrong with one symbol, one message or one analysis stays there."""

import json

import redis
import sqlalchemy as sa

from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.messaging.bar_event import encode
from tickstock_pipeline.messaging.bar_stream import BAR_FIELD, BarStream, shard_of, trim
from tickstock_pipeline.messaging.channels import bar_stream
from tickstock_pipeline.storage.ledger import lock_inputs
from tickstock_pipeline.streaming.breaker import Limits
from tickstock_pipeline_tests.integration.streaming.as_batch import analyse_as_batch, contents
from tickstock_pipeline_tests.integration.streaming.conftest import (
    UNLIMITED,
    MakeWorker,
    live,
    minutes,
    table,
    until_idle,
)


def test_what_cannot_be_a_bar_is_quarantined_with_the_reason_and_acknowledged(
    engine: sa.Engine, client: "redis.Redis", stream: BarStream, make_worker: MakeWorker
) -> None:
    (good,) = live(minutes("AAPL", "2026-03-02", "2026-03-02")[:1])
    stream.append(
        [
            good._replace(high=1.0),
            good._replace(time=good.time + 1_000_000),
            good._replace(symbol="LATE", time=good.time - 2 * 86_400_000_000),
            good._replace(symbol="EARLY", time=good.time - 3_600_000_000),
            good,
        ]
    )
    client.xadd(bar_stream(3), {BAR_FIELD: b"{not json"})
    worker = make_worker()
    worker.turn()
    until_idle(worker)
    reasons = table(engine, "SELECT symbol, reason FROM quarantined_bars ORDER BY 1, 2")
    assert [tuple(row) for row in reasons] == [
        ("", "the message is not JSON"),
        ("AAPL", "high is below low"),
        ("AAPL", "the time is not the start of a minute"),
        ("LATE", "the exchange does not trade on this date"),
    ]
    assert [row.symbol for row in table(engine, "SELECT symbol FROM ohlcv_1min")] == ["AAPL"]
    assert worker.signs.tally.outside_session == 1


def test_no_message_however_strange_keeps_a_worker_from_the_others(
    engine: sa.Engine, client: "redis.Redis", stream: BarStream, make_worker: MakeWorker
) -> None:
    bars = live(minutes("AAPL", "2026-03-02", "2026-03-02")[:4])
    stream.append(
        [bars[0]._replace(source="a\0b"), bars[1]._replace(source="\ud800"), bars[2]._replace(source="é" * 999)]
    )
    stream.append([bars[3]._replace(source="\ud800", high=0.0)])
    stream.append_raw([("AAPL", b"[" * 100_000), ("AAPL", b"\0")])
    worker = make_worker()
    worker.turn()
    until_idle(worker)
    assert [row.source for row in table(engine, 'SELECT source FROM ohlcv_1min ORDER BY "timestamp"')] == [
        "a?b",
        "?",
        "é" * 40,
    ]
    assert table(engine, "SELECT count(*) FROM quarantined_bars") == [(3,)]


def test_a_bar_in_another_shards_stream_is_quarantined_by_who_reads_it(
    engine: sa.Engine, client: "redis.Redis", stream: BarStream, make_worker: MakeWorker
) -> None:
    worker = make_worker(most_shards=1)
    worker.turn()
    (held,) = worker.desk.leases
    symbols = [f"S{number}" for number in range(100)]
    theirs = next(symbol for symbol in symbols if shard_of(symbol, stream.n_shards) != held)
    ours = next(symbol for symbol in symbols if shard_of(symbol, stream.n_shards) == held)
    for symbol in (theirs, ours):
        client.xadd(bar_stream(held), {BAR_FIELD: encode(live(minutes(symbol, "2026-03-02", "2026-03-02")[:1])[0])})
    worker.turn()
    until_idle(worker)
    assert table(engine, "SELECT symbol FROM ohlcv_1min") == [(ours,)]
    assert table(engine, "SELECT symbol, reason FROM quarantined_bars") == [
        (theirs, "it is in the stream of other symbols")
    ]


def test_a_symbol_whose_bars_the_database_refuses_stands_alone(
    engine: sa.Engine, stream: BarStream, make_worker: MakeWorker
) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE ohlcv_1min ADD CONSTRAINT not_bad CHECK (symbol <> 'BAD')"))
    series = {name: live(minutes(name, "2026-03-02", "2026-03-02")[:40]) for name in ("AAPL", "BAD", "MSFT")}
    worker = make_worker()
    stream.append([bar for bars in series.values() for bar in bars])
    worker.turn()
    until_idle(worker)
    assert table(
        engine, "SELECT symbol, count(*) FROM bar_indicators WHERE timeframe = '1min' GROUP BY 1 ORDER BY 1"
    ) == [
        ("AAPL", 40),
        ("MSFT", 40),
    ]
    refused = table(engine, "SELECT DISTINCT symbol, reason FROM quarantined_bars")
    assert [row.symbol for row in refused] == ["BAD"]
    assert "not_bad" in refused[0].reason


def test_bars_whose_analysis_the_database_refuses_are_stored_without_it(
    engine: sa.Engine, stream: BarStream, make_worker: MakeWorker
) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE bar_indicators ADD CONSTRAINT not_bad CHECK (symbol <> 'BAD')"))
    worker = make_worker()
    series = {name: live(minutes(name, "2026-03-02", "2026-03-02")[:20]) for name in ("AAPL", "BAD")}
    for at in (0, 10):
        stream.append([bar for bars in series.values() for bar in bars[at : at + 10]])
        for _ in range(4):
            worker.turn()
    assert table(engine, "SELECT symbol, count(*) FROM ohlcv_1min GROUP BY 1 ORDER BY 1") == [("AAPL", 20), ("BAD", 20)]
    assert table(engine, "SELECT symbol, count(*) FROM live_backlog WHERE timeframe = '1min' GROUP BY 1") == [
        ("BAD", 20)
    ]
    assert table(engine, "SELECT symbol, n_bars FROM analysis_coverage WHERE timeframe = '1min'") == [("AAPL", 20)]


def test_a_slice_of_series_whose_results_are_refused_is_one_failure(
    engine: sa.Engine, stream: BarStream, make_worker: MakeWorker
) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE bar_indicators ADD CONSTRAINT not_bad CHECK (symbol NOT LIKE 'BAD%')"))
    worker = make_worker()
    stream.append([live(minutes(f"BAD{number}", "2026-03-02", "2026-03-02")[:1])[0] for number in range(5)])
    worker.turn()
    worker.turn()
    assert len(table(engine, "SELECT 1 FROM live_backlog")) == 5
    assert worker.breaker.errors_last_minute == 1
    assert worker.breaker.state == "closed"


def test_a_series_that_somebody_else_is_analysing_waits_and_holds_up_nobody(
    engine: sa.Engine, stream: BarStream, make_worker: MakeWorker
) -> None:
    worker = make_worker()
    worker.turn()
    series = {name: live(minutes(name, "2026-03-02", "2026-03-02")[:20]) for name in ("AAPL", "MSFT")}
    stream.append([bars[0] for bars in series.values()])
    until_idle(worker)
    with engine.begin() as bulk:
        lock_inputs(bulk, Timeframe.MINUTE, ["MSFT"], None, 2026)
        stream.append([bar for bars in series.values() for bar in bars])
        worker.turn()
        stored = table(engine, "SELECT symbol, count(*) FROM ohlcv_1min GROUP BY 1 ORDER BY 1")
        assert stored == [("AAPL", 20), ("MSFT", 1)]
    until_idle(worker)
    assert table(
        engine, "SELECT symbol, count(*) FROM bar_indicators WHERE timeframe = '1min' GROUP BY 1 ORDER BY 1"
    ) == [
        ("AAPL", 20),
        ("MSFT", 20),
    ]


def test_an_overloaded_worker_stores_and_publishes_bars_and_makes_up_for_their_analysis_later(
    engine: sa.Engine, client: "redis.Redis", stream: BarStream, make_worker: MakeWorker
) -> None:
    listener = client.pubsub()
    listener.subscribe("tickstock_data", "tickstock.health.status")
    worker = make_worker(limits=Limits(lag_s=-1.0, pause_s=3600.0))
    bars = minutes("AAPL", "2026-03-02", "2026-03-02")[:60]
    stream.append(live(bars))
    worker.turn()
    assert len(table(engine, "SELECT 1 FROM ohlcv_1min")) == 60
    assert table(engine, "SELECT 1 FROM bar_indicators") == []
    assert len(table(engine, "SELECT 1 FROM live_backlog WHERE timeframe = '1min'")) == 60
    heard = [one for one in iter(lambda: listener.get_message(timeout=0.2), None) if one["type"] == "message"]
    assert sum(one["channel"] == b"tickstock_data" for one in heard) == 60
    health = [json.loads(one["data"])["data"] for one in heard if one["channel"] == b"tickstock.health.status"]
    assert [one["status"] for one in health][-1] == "degraded"
    listener.close()
    worker.close()
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE live_backlog SET stored_at = now() - interval '1 minute'"))
    calm = make_worker("calm", limits=UNLIMITED)
    calm.turn()
    until_idle(calm)
    events = [json.loads(fields[b"event"])["data"] for _, fields in client.xrange("pattern_events")]
    minute_events = [one for one in events if one["timeframe"] == "1min"]
    assert minute_events
    assert all(one["realtime_context"]["late"] is True for one in minute_events)
    assert table(engine, "SELECT n_bars, stale_from FROM analysis_coverage WHERE timeframe = '1min'") == [(60, None)]


def test_a_stream_is_trimmed_below_the_lowest_pending_and_the_first_undelivered_entry(
    client: "redis.Redis", stream: BarStream
) -> None:
    bars = live(minutes("AAPL", "2026-03-02", "2026-03-02")[:6])
    stream.append(bars)
    shard = shard_of("AAPL", stream.n_shards)
    name = bar_stream(shard)
    assert trim(client, [shard]) == 0  # nobody reads it yet
    client.xgroup_create(name, "workers", id="0")
    ids = [entry_id for entry_id, _ in client.xrange(name)]
    client.xreadgroup("workers", "one", {name: ">"}, count=4)
    client.xack(name, "workers", ids[0], ids[1], ids[3])
    assert trim(client, [shard]) == 2  # the third is pending
    client.xack(name, "workers", ids[2])
    assert trim(client, [shard]) == 2  # the fifth has not been delivered
    assert [entry_id for entry_id, _ in client.xrange(name)] == ids[4:]


def test_a_split_in_the_middle_of_a_session_ends_as_in_batch(
    engine: sa.Engine, second_engine: sa.Engine, stream: BarStream, make_worker: MakeWorker
) -> None:
    bars = minutes("AAPL", "2026-02-27", "2026-03-02")
    insert = sa.text("INSERT INTO splits (symbol, ex_date, ratio) VALUES ('AAPL', '2026-03-02', 4)")
    worker = make_worker()
    for start in range(0, 600, 60):
        stream.append(live(bars[start : start + 60]))
        worker.turn()
        if start == 480:
            with engine.begin() as connection:
                connection.execute(insert)
    until_idle(worker)
    worker.desk.open_periods.grace_s = 0.0
    until_idle(worker)
    with second_engine.begin() as connection:
        connection.execute(insert)
    analyse_as_batch(second_engine, [bars[:600]])
    live_tables, batch_tables = contents(engine), contents(second_engine)
    for name in ("ohlcv_1min", "ohlcv_hourly", "ohlcv_daily"):
        assert live_tables[name] == batch_tables[name]
    monday = [row for row in live_tables["bar_indicators"] if row[2].day == 2 and row[1] == "1min"]
    expected = [row for row in batch_tables["bar_indicators"] if row[2].day == 2 and row[1] == "1min"]
    assert monday[150:] == expected[150:]  # from the first minute after the split was known
