"""An import job as the consumer application sends and follows it, and kill -9 of one process after the other.

The consumer here is redis-py and what the contract says; the provider is the local replay server, spoken to by the real
client. What the tables must be is what the server's source holds, told by the source itself.
"""

import json
import os
import signal
import threading
from collections.abc import Iterator
from datetime import date, timedelta

import pytest
import redis

from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.replay.server import ReplayServer
from tickstock_pipeline.replay.synthetic import SyntheticSource
from tickstock_pipeline.storage.engine import create_engine
from tickstock_pipeline_tests.gated_source import GatedSource

TODAY = date.today()
SYMBOLS = [f"SYN{number:04d}" for number in range(1, 51)]
STATUS_KEYS = {
    "job_id",
    "status",
    "progress",
    "total_symbols",
    "processed_symbols",
    "successful_symbols",
    "failed_symbols",
    "error_message",
    "started_at",
    "completed_at",
}


class Consumer:
    """The consumer application's side of the contract."""

    def __init__(self, url: str) -> None:
        self._redis = redis.Redis.from_url(url, decode_responses=True)

    def submit(self, job_id: str, **wishes: object) -> None:
        message = {"job_id": job_id, "job_type": "csv_universe_load", "years": 1, **wishes}
        assert self._redis.publish("tickstock.jobs.data_load", json.dumps(message)) == 1, "nobody listens"
        self._redis.hset(f"tickstock.jobs.status:{job_id}", mapping={"status": "submitted", "progress": 0})

    def status(self, job_id: str) -> dict[str, object] | None:
        key = f"tickstock.jobs.status:{job_id}"
        if self._redis.type(key) != "string":
            return None
        status = json.loads(self._redis.get(key))
        assert status.keys() >= STATUS_KEYS
        assert 0 < self._redis.ttl(key) <= 86_400
        return status

    def follow(self, job_id: str, seconds: float = 300) -> Iterator[dict[str, object]]:
        """Each different status until the job has ended; a key is polled, as the contract says."""
        seen = None
        waiting = threading.Event()
        for _ in range(int(seconds * 10)):
            status = self.status(job_id)
            if status is not None and status != seen:
                seen = status
                yield status
                if status["status"] in {"completed", "failed", "cancelled"}:
                    return
            waiting.wait(0.1)
        raise AssertionError(f"not over after {seconds} s: {seen}")


@pytest.fixture
def source() -> GatedSource:
    return GatedSource(SyntheticSource(len(SYMBOLS), date(TODAY.year - 1, 1, 1), TODAY - timedelta(days=1)))


@pytest.fixture
def provider(source: GatedSource, workplace) -> Iterator[ReplayServer]:
    with ReplayServer(source) as server:
        workplace.environment |= {
            "TICKSTOCK_PROVIDER": "polygon",
            "TICKSTOCK_POLYGON_URL": server.url,
            "TICKSTOCK_POLYGON_API_KEY": "replay",
            "TICKSTOCK_POLYGON_CALLS_PER_MINUTE": "0",
            # no live bars: a worker and a feed less to be started six times
            "TICKSTOCK_LIVE_SOURCE": "none",
            "TICKSTOCK_REQUEST_TIMEOUT": "600",
            "TICKSTOCK_FIRST_YEAR": str(TODAY.year - 1),
        }
        yield server
        source.let_go(SYMBOLS)


def stored_days(url: str) -> dict[str, list[tuple[object, ...]]]:
    engine = create_engine(url)
    found: dict[str, list[tuple[object, ...]]] = {}
    with engine.connect() as connection:
        for symbol, *bar in connection.exec_driver_sql(
            "SELECT symbol, date, open, high, low, close, volume, source FROM ohlcv_daily ORDER BY symbol, date"
        ):
            found.setdefault(symbol, []).append(tuple(bar))
    engine.dispose()
    return found


def expected_days(source: GatedSource, symbol: str) -> list[tuple[object, ...]]:
    bars = source.bars(symbol, Timeframe.DAILY, date(TODAY.year - 1, 1, 1), TODAY)
    columns = (bars.open, bars.high, bars.low, bars.close, bars.volume)
    return [
        (day.astype("datetime64[D]").item(), *numbers, "polygon")
        for day, *numbers in zip(bars.time, *(column.tolist() for column in columns), strict=True)
    ]


@pytest.mark.timeout(600)
def test_a_job_is_followed_from_the_message_to_the_last_symbol(workplace, source, provider):
    provider.faults.add("bad-ohlc", provider="polygon", path="/v2/aggs", symbol=SYMBOLS[1], times=None)
    up = workplace.up()
    up.wait_for("Ctrl-C stops everything")
    consumer = Consumer(up.services().redis_url)

    wanted = [*SYMBOLS[:8], "NOPE"]
    consumer.submit("job_1", symbols=wanted, timeframes=["daily"], run_analysis_after_import=True)
    followed = list(consumer.follow("job_1"))
    stored = stored_days(up.services().database_url)
    quarantined = workplace.run("status", "--json").stdout
    up.signal(signal.SIGINT)
    assert up.wait(60) == 0

    last = followed[-1]
    assert last["status"] == "completed", last
    assert (last["progress"], last["total_symbols"], last["processed_symbols"]) == (100, 9, 9)
    assert set(last["successful_symbols"]) == set(SYMBOLS[:8])
    assert last["failed_symbols"] == ["NOPE"]
    assert "NOPE" in last["errors"]
    assert last["started_at"] <= last["completed_at"]
    assert len(last["run_ids"]) == 2
    progress = [status["progress"] for status in followed]
    assert progress == sorted(progress)
    phases = list(dict.fromkeys(status["phase"] for status in followed if status["status"] != "submitted"))
    assert phases[-3:] == ["importing", "analyzing", "complete"]
    # One bar of one symbol is in quarantine, everything else is stored.
    assert json.loads(quarantined)["rows"]["quarantined_bars"] >= 1
    for symbol in SYMBOLS[:8]:
        expected = expected_days(source, symbol)
        if symbol == SYMBOLS[1]:
            assert len(stored[symbol]) < len(expected)
            assert set(stored[symbol]) < set(expected)
        else:
            assert stored[symbol] == expected


@pytest.mark.timeout(900)
def test_whatever_is_killed_in_the_middle_of_a_job_every_bar_is_stored_once(workplace, source, provider):
    up = workplace.up()
    up.wait_for("Ctrl-C stops everything")
    consumer = Consumer(up.services().redis_url)
    victims = ("run", "daemon", "postgres", "redis", "gateway")
    parts = [SYMBOLS[place * 10 : place * 10 + 10] for place in range(len(victims))]
    source.hold(SYMBOLS)
    consumer.submit("job_2", symbols=SYMBOLS, timeframes=["daily"])

    for name, part in zip(victims, parts, strict=True):
        source.wait_until_asked_for(part)
        if name == "run":
            up.run_process().kill()
        else:
            os.kill(up.services().processes[name].pid, signal.SIGKILL)
            assert up.wait(90) == 1, up.output
            assert f"{name} ended by itself" in up.output, up.output
            assert not workplace.leftovers()
            up = workplace.up()
            up.wait_for("Ctrl-C stops everything")
        source.let_go(part)

    consumer = Consumer(up.services().redis_url)
    last = list(consumer.follow("job_2"))[-1]
    stored = stored_days(up.services().database_url)
    up.signal(signal.SIGINT)
    assert up.wait(60) == 0

    assert last["status"] == "completed", last
    assert last["failed_symbols"] == []
    assert set(last["successful_symbols"]) == set(SYMBOLS)
    assert stored == {symbol: expected_days(source, symbol) for symbol in SYMBOLS}
