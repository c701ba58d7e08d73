"""``tickstock import`` and ``tickstock jobs``: submitted, watched, listed, cancelled at the terminal."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa

from tickstock_pipeline.runtime.ports import any_free_port
from tickstock_pipeline.storage.job_progress import record_step
from tickstock_pipeline.storage.jobs import JobState, StoredJob, end_job, latest_jobs, mark_started

Run = Callable[..., Any]


def only_job(engine: sa.Engine) -> StoredJob:
    with engine.connect() as connection:
        (job,) = latest_jobs(connection, 10)
    return job


def test_a_detached_import_prints_its_id_and_is_stored_planned_and_published(
    configured: Run, engine: sa.Engine, redis_url: str
) -> None:
    outcome = configured("import", "aapl", "MSFT", "--years", "2", "--timeframe", "daily", "--analyze", "--detach")

    job = only_job(engine)
    assert (outcome.exit_code, outcome.stdout) == (0, f"{job.job_id}\n")
    assert (job.status, job.run_analysis, job.source) == (JobState.QUEUED, True, "command")
    with redis.Redis.from_url(redis_url) as client:
        status = json.loads(client.get(f"tickstock.jobs.status:{job.job_id}"))
    assert (status["status"], status["total_symbols"]) == ("queued", 2)


def test_a_universe_and_a_file_can_be_imported(configured: Run, tmp_path: Path) -> None:
    (tmp_path / "my.csv").write_text("symbol,name\nAAPL,Apple\nnot a symbol,?\n")

    by_key = configured("import", "--universe", "dow_30", "-t", "daily", "-d")
    by_file = configured("import", "--file", "my.csv", "--from", "2012-01-01", "--to", "2013-12-31", "-d")

    assert (by_key.exit_code, by_file.exit_code) == (0, 0)
    assert "Left out: my.csv, line 3" in by_file.stderr
    jobs = configured("jobs", "--json").json()["jobs"]
    assert [job["total_symbols"] for job in jobs] == [1, 30]


def test_symbols_can_be_registered_without_bars(configured: Run) -> None:
    outcome = configured("import", "AAPL", "--no-bars")

    assert outcome.exit_code == 0
    assert "Registered 1 symbols" in outcome.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "give symbols, or one of --universe and --file"),
        (["AAPL", "--universe", "dow_30"], 2, "give symbols, or one of"),
        (["A;B"], 1, "cannot be a symbol"),
        (["AAPL", "--years", "-1"], 1, "years is -1.0"),
        (["--universe", "nothing"], 1, "There is no universe 'nothing'"),
        (["--file", "nothing.csv"], 1, "nothing.csv"),
    ],
)
def test_what_cannot_be_imported_is_said_at_once(configured: Run, arguments: list[str], code: int, words: str) -> None:
    outcome = configured("import", *arguments)

    assert outcome.exit_code == code
    assert words in outcome.stderr


@pytest.mark.parametrize(("error", "code"), [(None, 0), ("unknown symbol", 2)])
def test_an_import_is_watched_to_its_end(configured: Run, engine: sa.Engine, error: str | None, code: int) -> None:
    def work() -> None:
        while not (jobs := _jobs(engine)):
            pass
        with engine.begin() as connection:
            mark_started(connection, jobs[0].job_id)
            record_step(connection, jobs[0].job_id, ["AAPL"], "ohlcv_daily")
            record_step(connection, jobs[0].job_id, ["XYZ"], "ohlcv_daily", error)
            end_job(connection, jobs[0].job_id, JobState.COMPLETED)

    worker = threading.Thread(target=work)
    worker.start()
    outcome = configured("import", "AAPL", "XYZ", "-t", "daily")
    worker.join()

    assert outcome.exit_code == code
    assert "completed: Done: 2 symbols" in outcome.stderr
    assert ("XYZ: unknown symbol" in outcome.stderr) is (error is not None)


def _jobs(engine: sa.Engine) -> list[StoredJob]:
    with engine.connect() as connection:
        return [job for job in latest_jobs(connection, 1) if job.status is JobState.QUEUED]


def test_ctrl_c_leaves_the_job_running_and_says_how_to_go_on(
    configured: Run, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tickstock_pipeline.cli.job_progress.time.sleep", interrupt)

    outcome = configured("import", "AAPL")

    job = only_job(engine)
    assert (outcome.exit_code, job.status, job.cancel_requested_at) == (0, JobState.QUEUED, None)
    assert f"tickstock jobs {job.job_id} --watch" in outcome.stderr
    assert f"tickstock jobs cancel {job.job_id}" in outcome.stderr
    assert "Nothing takes the job up." in outcome.stderr


def test_a_job_is_shown_and_cancelled(configured: Run, engine: sa.Engine) -> None:
    configured("import", "AAPL", "-d")
    job_id = only_job(engine).job_id

    cancelled = configured("jobs", "cancel", job_id)
    shown = configured("jobs", job_id)
    again = configured("jobs", "cancel", job_id)

    assert (cancelled.exit_code, again.exit_code) == (0, 0)
    assert "Cancelled." in cancelled.stderr
    assert shown.exit_code == 1
    assert "cancelled, 0 %" in shown.stdout


def test_jobs_are_listed_with_what_was_refused(configured: Run, engine: sa.Engine) -> None:
    assert "No job was submitted yet" in configured("jobs").stderr
    configured("import", "AAPL", "-d")
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO refused_messages (reason, latest_excerpt) VALUES ('not JSON', 'hello')")

    outcome = configured("jobs")

    assert outcome.exit_code == 0
    assert only_job(engine).job_id in outcome.stdout
    assert "not JSON" in outcome.stdout


@pytest.mark.parametrize("arguments", [["jobs", "nothing"], ["jobs", "cancel", "nothing"], ["jobs", "a\x00b"]])
def test_a_job_that_does_not_exist_is_named(configured: Run, arguments: list[str]) -> None:
    outcome = configured(*arguments)

    assert outcome.exit_code == 1
    assert "There is no job" in outcome.stderr


def test_a_gateway_whose_port_is_taken_says_so(
    configured: Run, taken_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TICKSTOCK_GATEWAY_PORT", str(taken_port))

    outcome = configured("gateway")

    assert outcome.exit_code == 1
    assert "wanted for the gateway" in outcome.stderr
    assert "TICKSTOCK_GATEWAY_PORT" in outcome.stderr


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port on which somebody listens."""
    port = any_free_port()
    with socket.create_server(("127.0.0.1", port)):
        yield port
