"""What a job means in symbols, timeframes and dates; and what a run tells of it."""

import json
from datetime import UTC, date, datetime
from typing import Any

import pytest
import redis
import sqlalchemy as sa

from tickstock_pipeline.batch.fetching import CANCELLED
from tickstock_pipeline.batch.outcome import Outcome, Status
from tickstock_pipeline.errors import JobError
from tickstock_pipeline.imports.acceptance import WayIn, accept_job, cancel_job, plan_accepted
from tickstock_pipeline.imports.message import CancelRequest, JobRequest, parse_job
from tickstock_pipeline.imports.planning import Surroundings, plan_job
from tickstock_pipeline.imports.status import StatusPublisher
from tickstock_pipeline.imports.tracker import JobTracker
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.job_progress import read_job_symbols, record_step
from tickstock_pipeline.storage.jobs import JobState, StoredJob, end_job, read_job
from tickstock_pipeline.storage.symbols import read_symbols
from tickstock_pipeline.storage.universes import resolve_universe

TODAY = datetime(2024, 2, 29, 15, tzinfo=UTC)


class Desk:
    """Where jobs are accepted and planned, on 29 February 2024."""

    def __init__(self, engine: sa.Engine, surroundings: Surroundings) -> None:
        self.engine = engine
        self.surroundings = surroundings

    def plan(self, **message: Any) -> StoredJob:
        data = json.dumps({"job_id": "j", "job_type": "historical_load", "symbols": ["AAPL"], **message}).encode()
        accept_job(self.engine, data, WayIn.HTTP, now=TODAY)
        request = parse_job(data)
        assert isinstance(request, JobRequest)
        plan_job(self.engine, request, self.surroundings, now=TODAY)
        return self.job()

    def job(self) -> StoredJob:
        with self.engine.connect() as connection:
            job = read_job(connection, "j")
        assert job is not None
        return job

    def symbols(self) -> list[str]:
        with self.engine.connect() as connection:
            return [symbol.symbol for symbol in read_job_symbols(connection, "j")]

    def file(self, name: str, *symbols: str) -> None:
        self.surroundings.universe_folder.mkdir(exist_ok=True)
        (self.surroundings.universe_folder / name).write_text("symbol\n" + "\n".join(symbols))


@pytest.fixture
def desk(engine: sa.Engine, surroundings: Surroundings) -> Desk:
    return Desk(engine, surroundings)


@pytest.mark.parametrize(
    ("message", "first", "last"),
    [
        ({"years": 1}, date(2023, 2, 28), date(2024, 2, 29)),
        ({"years": 0.5}, date(2023, 8, 30), date(2024, 2, 29)),
        ({"years": 100}, date(2000, 1, 1), date(2024, 2, 29)),
        ({"start_date": "2012-05-01", "end_date": "2013-05-01"}, date(2012, 5, 1), date(2013, 5, 1)),
        ({"years": 2, "end_date": "2013-05-01"}, date(2011, 5, 1), date(2013, 5, 1)),
        ({"start_date": "2023-01-01", "end_date": "2030-01-01"}, date(2023, 1, 1), date(2024, 2, 29)),
    ],
)
def test_years_go_back_from_today_and_not_before_the_grid(
    desk: Desk, message: dict[str, Any], first: date, last: date
) -> None:
    job = desk.plan(**message)

    assert (job.status, job.first_date, job.last_date) == (JobState.QUEUED, first, last)


@pytest.mark.parametrize(
    "message",
    [
        {"end_date": "1999-12-31"},
        {"end_date": "0001-06-01", "years": 1},
        {"end_date": "0001-01-01", "years": 0.5},
        {"end_date": "0050-06-01", "years": 100},
        {"start_date": "0001-01-01", "end_date": "0001-01-02"},
        {"start_date": "9999-12-31"},
    ],
)
def test_dates_that_no_grid_has_fail_the_job_and_nothing_else(desk: Desk, message: dict[str, Any]) -> None:
    job = desk.plan(**message)

    assert job.status is JobState.FAILED
    assert "the first year of the grid, or in the future" in (job.error_message or "")


def test_a_file_is_imported_and_remembered_under_the_key_of_the_message(desk: Desk) -> None:
    desk.file("my list.csv", "MSFT", "aapl", "MSFT")

    desk.plan(job_type="csv_universe_load", symbols=None, csv_file="my list.csv", universe_type="favourites")

    assert desk.symbols() == ["MSFT", "AAPL"]
    with desk.engine.connect() as connection:
        folder = desk.surroundings.universe_folder
        assert resolve_universe(connection, folder, "favourites").symbols == ("MSFT", "AAPL")


def test_a_union_of_universes_has_each_symbol_once(desk: Desk) -> None:
    desk.file("one.csv", "AAPL", "IBM")
    desk.file("two.csv", "IBM", "MSFT")

    desk.plan(job_type="csv_universe_load", symbols=None, universe_key="one:two")

    assert desk.symbols() == ["AAPL", "IBM", "MSFT"]


def test_a_key_that_is_spelled_in_another_way_finds_the_packaged_universe(desk: Desk) -> None:
    desk.plan(job_type="universe_seed", symbols=None, universe_type="DOW30", years=2)

    assert len(desk.symbols()) == 30


def test_a_seed_without_years_registers_and_is_done(desk: Desk) -> None:
    desk.file("one.csv", "AAPL", "IBM")

    job = desk.plan(job_type="universe_seed", symbols=None, universe_type="one")

    assert (job.status, job.timeframes) == (JobState.COMPLETED, ())
    with desk.engine.connect() as connection:
        assert read_symbols(connection) == ["AAPL", "IBM"]


def test_an_import_registers_no_symbol_that_the_provider_may_not_know(desk: Desk) -> None:
    desk.plan(symbols=["NOPE"])

    with desk.engine.connect() as connection:
        assert read_symbols(connection) == []


def test_a_job_is_planned_once(desk: Desk) -> None:
    desk.file("one.csv", "AAPL")
    seed = {"job_type": "csv_universe_load", "symbols": None, "universe_key": "one"}
    desk.plan(**seed)
    desk.file("one.csv", "AAPL", "IBM")

    desk.plan(**seed)

    assert desk.symbols() == ["AAPL"]


def test_a_universe_that_is_not_there_fails_the_job_and_stores_nothing(desk: Desk) -> None:
    job = desk.plan(job_type="csv_universe_load", symbols=None, universe_key="nothing")

    assert job.status is JobState.FAILED
    assert "There is no universe 'nothing'" in str(job.error_message)
    assert desk.symbols() == []


def test_a_job_that_has_ended_stays_ended(desk: Desk) -> None:
    desk.plan()
    with desk.engine.begin() as connection:
        assert end_job(connection, "j", JobState.CANCELLED)
        assert not end_job(connection, "j", JobState.COMPLETED)

    cancelled = cancel_job(desk.engine, CancelRequest(job_id="j"))

    assert cancelled is not None
    assert (cancelled.status, cancelled.cancel_requested_at) == (JobState.CANCELLED, None)
    assert cancel_job(desk.engine, CancelRequest(job_id="other")) is None


def test_hostile_texts_are_stored_as_texts(desk: Desk) -> None:
    data = json.dumps({"job_id": "'; DROP TABLE import_jobs; --", "requested_by": "a\x00b\ud800", "job_type": 7})

    accepted = accept_job(desk.engine, data.encode(), WayIn.STREAM)

    with desk.engine.connect() as connection:
        job = read_job(connection, accepted.job_id)
    assert job is not None
    assert (job.status, job.job_type, job.requested_by) == (JobState.FAILED, "unknown", "a\ufffdb?")


def test_a_message_that_grows_when_it_is_written_out_keeps_no_other_job_waiting(desk: Desk) -> None:
    # three bytes for each two that were sent, once every character is escaped
    message = {"job_id": "j", "job_type": "historical_load", "symbols": ["AAPL"], "timestamp": ["\u00e9" * 500] * 1000}
    accept_job(desk.engine, json.dumps(message, ensure_ascii=False).encode(), WayIn.STREAM)

    plan_accepted(desk.engine, desk.job(), desk.surroundings)

    assert desk.job().status is JobState.QUEUED


def test_a_stored_message_that_is_no_job_any_more_fails_its_job(desk: Desk) -> None:
    accept_job(desk.engine, b'{"job_id": "j", "job_type": "historical_load", "symbols": ["AAPL"]}', WayIn.STREAM)
    with desk.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE import_jobs SET message = '{}'")

    plan_accepted(desk.engine, desk.job(), desk.surroundings)

    assert (desk.job().status, desk.job().error_message) == (JobState.FAILED, "job_id is missing")


def test_what_is_no_job_is_counted_with_its_beginning(desk: Desk) -> None:
    for _ in range(2):
        with pytest.raises(JobError, match="job_id is missing"):
            accept_job(desk.engine, b'{"password\x7f": "' + b"x" * 1000 + b'"}', WayIn.HTTP)

    with desk.engine.connect() as connection:
        ((reason, count, excerpt),) = connection.execute(
            sa.text("SELECT reason, count, latest_excerpt FROM refused_messages")
        )
    assert (reason, count) == ("job_id is missing", 2)
    assert excerpt.startswith('{"password\\x7f": "xxx')
    assert len(excerpt) < 220


def test_a_run_publishes_every_ten_symbols(desk: Desk, publisher: StatusPublisher, client: redis.Redis) -> None:
    symbols = [f"S{number}" for number in range(23)]
    job = desk.plan(symbols=symbols, timespan="day")
    tracker = JobTracker(desk.engine, publisher, job, "ohlcv_daily")
    seen = []

    tracker.start()
    for symbol in symbols:
        tracker.on_symbol(symbol, [Outcome(Partition(symbol, 2024), Status.WRITTEN)])
        seen.append(json.loads(str(client.get("tickstock.jobs.status:j")))["processed_symbols"])

    assert seen == [0] * 9 + [10] * 10 + [20] * 4
    assert json.loads(str(client.get("tickstock.jobs.status:j")))["status"] == "running"


def test_the_end_of_a_job_is_told_when_redis_is_back(
    desk: Desk, publisher: StatusPublisher, client: redis.Redis
) -> None:
    desk.plan()
    publisher.publish("j")
    with desk.engine.begin() as connection:
        end_job(connection, "j", JobState.COMPLETED)
    nowhere = StatusPublisher(desk.engine, redis.Redis(port=1, decode_responses=True))
    assert not nowhere.publish("j")
    assert status_at_its_key(client)["status"] == "queued"

    publisher.publish_due()

    assert status_at_its_key(client)["status"] == "completed"
    client.delete("tickstock.jobs.status:j")
    publisher.publish_due()
    assert client.get("tickstock.jobs.status:j") is None, "it was told once"


def status_at_its_key(client: redis.Redis) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(str(client.get("tickstock.jobs.status:j")))
    return document


def test_a_symbol_fails_with_each_of_its_reasons_once_and_may_be_mended_by_another_attempt(
    desk: Desk, publisher: StatusPublisher
) -> None:
    job = desk.plan(timespan="day")
    tracker = JobTracker(desk.engine, publisher, job, "ohlcv_daily")
    years = [Outcome(Partition("AAPL", year), Status.FAILED, error="no answer") for year in (2023, 2024)]

    tracker.on_symbol("AAPL", years)
    with desk.engine.connect() as connection:
        (failed,) = read_job_symbols(connection, "j")
    tracker.on_all([Outcome(Partition("AAPL", year), Status.WRITTEN) for year in (2023, 2024)])
    with desk.engine.connect() as connection:
        (mended,) = read_job_symbols(connection, "j")

    assert (failed.steps_done, failed.errors) == ({"ohlcv_daily"}, {"ohlcv_daily": "no answer"})
    assert (mended.steps_done, mended.errors) == ({"ohlcv_daily"}, {})


def test_what_was_cancelled_is_no_failure(desk: Desk, publisher: StatusPublisher) -> None:
    job = desk.plan(timespan="day")
    tracker = JobTracker(desk.engine, publisher, job, "ohlcv_daily")
    assert not tracker.should_stop()

    tracker.on_symbol("AAPL", [Outcome(Partition("AAPL", 2024), Status.FAILED, error=CANCELLED)])

    with desk.engine.connect() as connection:
        (symbol,) = read_job_symbols(connection, "j")
    assert (symbol.steps_done, symbol.errors) == (frozenset(), {})


def test_all_five_timeframes_are_the_default(desk: Desk) -> None:
    assert desk.plan().timeframes == tuple(Timeframe)


def test_a_symbols_error_can_be_noted_whatever_is_in_it(desk: Desk) -> None:
    desk.plan(symbols=["AAPL", "IBM"])

    with desk.engine.begin() as connection:
        record_step(connection, "j", ["AAPL", "IBM"], "ohlcv_daily", "\ud800 \0 ä")
        found = read_job_symbols(connection, "j")

    assert [symbol.errors for symbol in found] == [{"ohlcv_daily": "? \ufffd ä"}] * 2
