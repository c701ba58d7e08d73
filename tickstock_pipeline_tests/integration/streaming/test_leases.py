"""Who works on which shard: shared evenly, handed over, and checked in the transaction."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from tickstock_pipeline.errors import LeaseLostError, StorageError
from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.messaging.bar_stream import BarStream
from tickstock_pipeline.messaging.connection import connect
from tickstock_pipeline.runtime.redis import EmbeddedRedis
from tickstock_pipeline.storage import leases
from tickstock_pipeline.streaming.held_up import LOCK_WAIT_MS
from tickstock_pipeline.streaming.worker import LiveWorker, worker_engine
from tickstock_pipeline_tests.integration.streaming.conftest import MakeWorker, live, minutes, table, until_idle


def run_out(engine: sa.Engine, worker: str) -> None:
    """As if a worker had not renewed its leases for a while."""
    with engine.begin() as connection:
        for name in ("shard_leases", "live_workers"):
            statement = f"UPDATE {name} SET expires_at = now() - interval '1 second' WHERE worker = :worker"
            connection.execute(sa.text(statement), {"worker": worker})


def test_workers_share_all_shards_evenly_and_a_leaving_one_hands_over_at_once(
    engine: sa.Engine, make_worker: MakeWorker
) -> None:
    workers = [make_worker(name) for name in ("a", "b", "c")]
    for _ in range(3):
        for worker in workers:
            worker.renew_now()
    assert [len(worker.desk.leases) for worker in workers] == [6, 5, 5]
    held = [shard for worker in workers for shard in worker.desk.leases]
    assert sorted(held) == list(range(16))
    workers[0].close()
    for worker in workers[1:]:
        worker.renew_now()
    assert [len(worker.desk.leases) for worker in workers] == [0, 8, 8]


def test_a_worker_that_ends_while_redis_is_away_hands_over_all_the_same(
    engine: sa.Engine, database_url: str, tmp_path: Path
) -> None:
    server, own = EmbeddedRedis(tmp_path), worker_engine(database_url, "one")
    try:
        with connect(server.start()) as client:
            worker = LiveWorker("one", own, client, trading_calendar(), kept_events=1_000)
            worker.prepare()
            worker.renew_now()
            assert len(worker.desk.leases) == 16
            server.stop()
            worker.close()
    finally:
        server.stop()
        own.dispose()
    assert table(engine, "SELECT count(*) FROM shard_leases WHERE worker IS NULL") == [(16,)]


def test_a_worker_takes_no_more_shards_than_it_is_told(make_worker: MakeWorker) -> None:
    worker = make_worker("small", most_shards=3)
    worker.renew_now()
    assert len(worker.desk.leases) == 3


def test_every_change_of_hands_has_a_new_token(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        leases.add_shards(connection, 1)
        first = leases.acquire(connection, "a", [0])
    run_out(engine, "a")
    with engine.begin() as connection:
        second = leases.acquire(connection, "b", [0])
        assert leases.acquire(connection, "c", [0]) == {}
    assert second[0] > first[0]
    with engine.begin() as connection, pytest.raises(LeaseLostError, match="taken over"):
        leases.require_leases(connection, "a", first, lock_wait_ms=LOCK_WAIT_MS)
    with engine.begin() as connection:
        leases.require_leases(connection, "b", second, lock_wait_ms=LOCK_WAIT_MS)


def test_a_shard_cannot_change_hands_under_a_transaction_that_has_checked_it(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        leases.add_shards(connection, 1)
        held = leases.acquire(connection, "a", [0])
    run_out(engine, "a")
    with engine.begin() as batch:
        leases.require_leases(batch, "a", held, lock_wait_ms=LOCK_WAIT_MS)
        with engine.begin() as other:
            assert leases.acquire(other, "b", [0]) == {}
    with engine.begin() as other:
        assert leases.acquire(other, "b", [0]) == {0: held[0] + 1}


def test_what_a_worker_without_its_lease_has_read_is_done_by_the_other(
    engine: sa.Engine, stream: BarStream, make_worker: MakeWorker
) -> None:
    bars = live(minutes("AAPL", "2026-03-02", "2026-03-02")[:20])
    first, second = make_worker("first"), make_worker("second")
    first.turn()
    run_out(engine, "first")
    second.renew_now()
    assert len(second.desk.leases) == 16
    stream.append(bars)
    with pytest.raises(StorageError):  # its successor has ended its connections; its token is worth nothing either
        first.take_bars()
    assert table(engine, "SELECT 1 FROM ohlcv_1min") == []
    until_idle(second)
    assert len(table(engine, "SELECT 1 FROM bar_indicators WHERE timeframe = '1min'")) == 20


def test_a_stalled_worker_gets_nothing_back_from_its_successor_of_the_same_name(
    engine: sa.Engine, stream: BarStream, make_worker: MakeWorker
) -> None:
    stalled, successor = make_worker("same"), make_worker("same")
    stalled.renew_now()
    assert len(stalled.desk.leases) == 16
    successor.renew_now()
    assert not successor.desk.leases  # the first one may be alive
    tokens = dict(stalled.desk.leases)
    run_out(engine, "same")
    successor.renew_now()
    stalled.renew_now()
    assert len(successor.desk.leases) == 16
    assert not stalled.desk.leases
    with engine.begin() as connection, pytest.raises(LeaseLostError):
        leases.require_leases(connection, "same", tokens, lock_wait_ms=LOCK_WAIT_MS)
