"""Jobs over Redis: stored, answered, not lost, and never in the way of each other."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa

from tickstock_pipeline.imports import orphans
from tickstock_pipeline.imports.acceptance import WayIn, accept_job
from tickstock_pipeline.imports.intake import Intake, listening_client
from tickstock_pipeline.imports.message import parse_job
from tickstock_pipeline.imports.orphans import Orphans
from tickstock_pipeline.imports.planning import Surroundings
from tickstock_pipeline.imports.status import StatusPublisher, redis_client
from tickstock_pipeline.runtime.redis import EmbeddedRedis
from tickstock_pipeline.settings import Settings
from tickstock_pipeline.storage.job_tables import JOB_TYPES, UNKNOWN_TYPE
from tickstock_pipeline.storage.jobs import JobState, latest_jobs, read_job
from tickstock_pipeline.storage.refused_messages import read_refused

JOBS = "tickstock.jobs.data_load"
CONTROL = "tickstock.jobs.control"
STREAM = "tickstock:jobs:data_load"
MESSAGE = {"job_id": "j", "job_type": "historical_load", "symbols": ["AAPL"], "years": 1, "timespan": "day"}

Eventually = Callable[[Callable[[], object]], None]


def status(client: redis.Redis, job_id: str = "j") -> dict[str, Any] | None:
    key = f"tickstock.jobs.status:{job_id}"
    return json.loads(client.get(key)) if client.type(key) == "string" else None


def state(engine: sa.Engine, job_id: str = "j") -> str | None:
    with engine.connect() as connection:
        job = read_job(connection, job_id)
    return None if job is None else job.status.value


@pytest.mark.usefixtures("intake")
def test_the_status_replaces_the_hash_of_whoever_sent_the_job(
    client: redis.Redis, engine: sa.Engine, eventually: Eventually
) -> None:
    client.publish(JOBS, json.dumps(MESSAGE))
    # not yet written to: a hash can be set where the pipeline was faster
    client.hset("tickstock.jobs.status:j", mapping={"status": "submitted"})
    eventually(lambda: (status(client) or {}).get("status") == "queued")

    found = status(client)
    assert found is not None
    assert (found["status"], found["total_symbols"], found["message"]) == ("queued", 1, "Waiting to import 1 symbols")
    assert 0 < client.ttl("tickstock.jobs.status:j") <= 86_400
    assert state(engine) == "queued"


@pytest.mark.usefixtures("intake")
def test_a_sender_that_writes_no_hash_gets_its_status_after_a_second(
    client: redis.Redis, engine: sa.Engine, eventually: Eventually
) -> None:
    client.publish(JOBS, json.dumps(MESSAGE))
    eventually(lambda: state(engine) == "queued")
    # stored and planned, and the key is still the sender's
    assert client.type("tickstock.jobs.status:j") == "none"

    eventually(lambda: status(client))


@pytest.mark.usefixtures("intake")
def test_the_same_job_sent_twice_on_two_ways_is_one_job(
    client: redis.Redis, engine: sa.Engine, eventually: Eventually
) -> None:
    client.publish(JOBS, json.dumps(MESSAGE))
    client.publish(JOBS, json.dumps({**MESSAGE, "symbols": ["MSFT"]}))
    client.xadd(STREAM, {"message": json.dumps({**MESSAGE, "symbols": ["IBM"]})})
    eventually(lambda: client.xlen(STREAM) == 0 and state(engine) == "queued")

    with engine.connect() as connection:
        assert len(latest_jobs(connection, 10)) == 1
        assert len({row.symbol for row in connection.execute(sa.text("SELECT symbol FROM import_job_symbols"))}) == 1


def test_a_job_on_the_stream_waits_until_somebody_reads_it(
    client: redis.Redis, engine: sa.Engine, eventually: Eventually, request: pytest.FixtureRequest
) -> None:
    client.xadd(STREAM, {"data": json.dumps(MESSAGE)})

    request.getfixturevalue("intake")

    eventually(lambda: state(engine) == "queued" and client.xlen(STREAM) == 0)


@pytest.mark.usefixtures("intake")
def test_nonsense_is_counted_and_the_next_job_is_taken(
    client: redis.Redis, engine: sa.Engine, eventually: Eventually
) -> None:
    for data in (b"\xff\x00", "[" * 100_000, "{}", "x" * (10 * 1024 * 1024), json.dumps({"job_id": "a" * 10_000})):
        client.publish(JOBS, data)
    client.publish(CONTROL, "{}")
    client.publish(CONTROL, json.dumps({"job_id": "nobody's", "action": "cancel"}))
    client.xadd(STREAM, {"unknown": "field"})
    client.publish(JOBS, json.dumps(MESSAGE))
    eventually(lambda: state(engine) == "queued" and client.xlen(STREAM) == 0)

    with engine.connect() as connection:
        refused = {row.reason: row.count for row in read_refused(connection)}
    assert refused == {
        "not UTF-8": 1,
        "nested too deeply": 1,
        "job_id is missing": 1,
        "larger than 1024 KiB": 1,
        "job_id is not a text of 1 to 200 printable characters": 1,
        "the action is not 'cancel'": 1,
        "the job to cancel is not known": 1,
        "not JSON": 1,
    }


@pytest.mark.usefixtures("intake")
def test_a_job_that_cannot_be_done_says_why_at_its_key(
    client: redis.Redis, eventually: Eventually, tmp_path: Path
) -> None:
    (tmp_path / "secret.csv").write_text("symbol\nAAPL\n")
    (tmp_path / "universes").mkdir()
    os.symlink(tmp_path / "secret.csv", tmp_path / "universes" / "link.csv")
    bad = {
        "path": {"job_type": "csv_universe_load", "csv_file": "../secret.csv"},
        "absolute": {"job_type": "csv_universe_load", "csv_file": str(tmp_path / "secret.csv")},
        "link": {"job_type": "csv_universe_load", "csv_file": "link.csv"},
        "missing": {"job_type": "csv_universe_load", "universe_key": "no_such_universe"},
        "sql": {**MESSAGE, "symbols": ["'; DROP TABLE import_jobs; --"]},
        "nan": {**MESSAGE, "years": float("nan")},
        "negative": {**MESSAGE, "years": -1},
        "unknown": {**MESSAGE, "job_type": "erase"},
        "future": {**MESSAGE, "start_date": "2990-01-01"},
    }
    for job_id, message in bad.items():
        client.publish(JOBS, json.dumps({**message, "job_id": job_id}))
        client.hset(f"tickstock.jobs.status:{job_id}", mapping={"status": "submitted"})
    eventually(lambda: all(status(client, job_id) for job_id in bad))

    found = {job_id: status(client, job_id) or {} for job_id in bad}
    assert {document["status"] for document in found.values()} == {"failed"}
    assert all(document["completed_at"] for document in found.values())
    words = {job_id: document["error_message"] for job_id, document in found.items()}
    assert "not the name of a universe file" in words["path"]
    assert "not the name of a universe file" in words["absolute"]
    assert "link.csv" in words["link"]
    assert "no_such_universe" in words["missing"]
    assert "cannot be a symbol" in words["sql"]
    assert "years is nan" in words["nan"]
    assert "years is -1" in words["negative"]
    assert "job_type 'erase' is none of" in words["unknown"]
    assert "in the future" in words["future"]


@pytest.mark.usefixtures("intake")
def test_a_job_is_cancelled_over_the_control_channel_and_over_the_stream(
    client: redis.Redis, eventually: Eventually
) -> None:
    for job_id in ("a", "b"):
        client.publish(JOBS, json.dumps({**MESSAGE, "job_id": job_id}))
        client.hset(f"tickstock.jobs.status:{job_id}", mapping={"status": "submitted"})
    eventually(lambda: status(client, "a") and status(client, "b"))

    client.publish(CONTROL, json.dumps({"job_id": "a", "action": "cancel", "requested_by": "admin"}))
    client.xadd(STREAM, {"message": json.dumps({"job_id": "b", "action": "cancel"})})

    for job_id in ("a", "b"):
        eventually(lambda job_id=job_id: (status(client, job_id) or {})["status"] == "cancelled")


def test_a_job_that_was_published_to_nobody_is_told_to_come_again(
    engine: sa.Engine, settings: Settings, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.hset("tickstock.jobs.status:lost", mapping={"status": "submitted"})
    client.set("tickstock.jobs.status:ours", "{}")
    client.hset("tickstock.jobs.status:" + "x" * 201, mapping={"status": "no job can be called so"})
    client.hset(b"tickstock.jobs.status:\xff", mapping={"status": "nor so"})  # type: ignore[arg-type]
    lookout = Orphans(engine, listening_client(settings))

    lookout.look_again()
    assert lookout.answer() == 0  # it may just be on its way
    assert client.type("tickstock.jobs.status:lost") == "hash"
    monkeypatch.setattr(orphans, "GRACE_SECONDS", 0.0)
    assert lookout.answer() == 1

    found = status(client, "lost")
    assert found is not None
    assert (found["status"], found["job_id"]) == ("failed", "lost")
    assert "Submit it again" in found["error_message"]
    assert 0 < client.ttl("tickstock.jobs.status:lost") <= 86_400
    assert client.get("tickstock.jobs.status:ours") == "{}"


@pytest.mark.usefixtures("intake")
def test_a_hash_of_a_job_that_is_known_is_not_taken_for_lost(
    engine: sa.Engine, settings: Settings, client: redis.Redis, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.publish(JOBS, json.dumps(MESSAGE))
    eventually(lambda: state(engine))
    client.hset("tickstock.jobs.status:j", mapping={"status": "submitted"})
    monkeypatch.setattr(orphans, "GRACE_SECONDS", 0.0)

    assert Orphans(engine, listening_client(settings)).answer() == 0


def test_a_restart_of_redis_loses_nothing_that_was_accepted(
    engine: sa.Engine,
    settings: Settings,
    surroundings: Surroundings,
    tmp_path: Path,
    eventually: Eventually,
) -> None:
    server = EmbeddedRedis(tmp_path)
    url = server.start()
    try:
        at = settings.with_services(database_url=settings.database_dsn(), redis_url=url)
        publisher = StatusPublisher(engine, redis_client(at))
        intake = Intake(engine, listening_client(at), publisher, surroundings)
        intake.start()
        try:
            with redis.Redis.from_url(url, decode_responses=True) as client:
                client.xadd(STREAM, {"message": json.dumps({**MESSAGE, "job_id": "before"})})
                eventually(lambda: status(client, "before"))
            server.stop()
            eventually(lambda: not intake.health.is_listening("channels"))
            assert server.start() == url
            with redis.Redis.from_url(url, decode_responses=True) as client:
                client.xadd(STREAM, {"message": json.dumps({**MESSAGE, "job_id": "after"})})
                eventually(lambda: state(engine, "after") == "queued")
                eventually(lambda: intake.health.is_listening("channels"))
                client.publish(JOBS, json.dumps({**MESSAGE, "job_id": "published"}))
                eventually(lambda: state(engine, "published"))
                client.delete("tickstock.jobs.status:before")
                assert publisher.publish("before")
                assert (status(client, "before") or {})["status"] == "queued"
        finally:
            intake.stop()
    finally:
        server.stop()


def test_a_message_in_hand_waits_for_the_database(
    engine: sa.Engine,
    settings: Settings,
    surroundings: Surroundings,
    publisher: StatusPublisher,
    client: redis.Redis,
    eventually: Eventually,
) -> None:
    intake = Intake(engine, listening_client(settings), publisher, surroundings)
    intake.start()
    eventually(lambda: client.pubsub_numsub(JOBS)[0][1] == 1)
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE import_jobs RENAME TO away")
            client.publish(JOBS, json.dumps(MESSAGE))
            client.xadd(STREAM, {"message": json.dumps({**MESSAGE, "job_id": "s"})})
            # every connection of the intake's ends while it waits for the table
            eventually(
                lambda: connection.scalar(
                    sa.text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
                )
            )
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            )
            connection.exec_driver_sql("ALTER TABLE away RENAME TO import_jobs")
        eventually(lambda: state(engine) == "queued" and state(engine, "s") == "queued")
    finally:
        intake.stop()


@pytest.mark.usefixtures("intake")
def test_a_message_in_hand_waits_for_a_database_that_answers_and_takes_nothing(
    engine: sa.Engine, client: redis.Redis, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE import_jobs RENAME TO away")
    client.publish(JOBS, json.dumps(MESSAGE))
    client.publish(JOBS, json.dumps({**MESSAGE, "job_id": "next"}))
    eventually(lambda: "The intake's channels wait" in caplog.text or "cannot be stored yet" in caplog.text)
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO import_jobs")

    eventually(lambda: state(engine) == "queued" and state(engine, "next") == "queued")


def test_a_job_that_was_stored_by_a_process_that_died_is_planned_by_the_next(
    engine: sa.Engine, client: redis.Redis, eventually: Eventually, request: pytest.FixtureRequest
) -> None:
    accept_job(engine, json.dumps(MESSAGE).encode(), WayIn.HTTP)
    assert state(engine) == JobState.SUBMITTED

    request.getfixturevalue("intake")

    eventually(lambda: state(engine) == "queued" and status(client))


NONSENSE = {
    "type": ("make_coffee", '{"job_id": "type"}', "{}"),
    "timeframe": ("historical_load", '{"job_id": "timeframe"}', "{5min}"),
    "message": ("historical_load", '["message"]', "{}"),
    "other": ("historical_load", '{"job_id": "j", "job_type": "historical_load", "symbols": ["AAPL"]}', "{}"),
}
INSERT = sa.text(
    "INSERT INTO import_jobs (job_id, job_type, message, timeframes, source)"
    " VALUES (:id, :type, :message, :frames, 'http')"
)


@pytest.mark.parametrize("job_id", ["type", "timeframe", "message"])
def test_the_table_refuses_a_job_that_means_nothing(engine: sa.Engine, job_id: str) -> None:
    job_type, message, frames = NONSENSE[job_id]
    with pytest.raises(sa.exc.IntegrityError, match=f"import_jobs_{job_id}"), engine.begin() as connection:
        connection.execute(INSERT, {"id": job_id, "type": job_type, "message": message, "frames": frames})


def test_a_job_of_another_program_that_means_nothing_fails_and_harms_no_other(
    engine: sa.Engine, client: redis.Redis, eventually: Eventually, request: pytest.FixtureRequest
) -> None:
    with engine.begin() as connection:
        for name in ("type", "message", "timeframes"):
            connection.exec_driver_sql(f"ALTER TABLE import_jobs DROP CONSTRAINT import_jobs_{name}")
        for job_id, (job_type, message, frames) in NONSENSE.items():
            connection.execute(INSERT, {"id": job_id, "type": job_type, "message": message, "frames": frames})
    accept_job(engine, json.dumps(MESSAGE).encode(), WayIn.HTTP)

    intake = request.getfixturevalue("intake")

    eventually(lambda: state(engine) == "queued")
    for job_id in NONSENSE:
        eventually(lambda job_id=job_id: (status(client, job_id) or {}).get("status") == "failed")  # type: ignore[misc]
    assert "another program" in (status(client, "type") or {})["error_message"]
    assert "another job" in (status(client, "other") or {})["error_message"]
    eventually(lambda: intake.health.is_listening("upkeep"))


def test_the_types_of_jobs_are_those_of_the_table() -> None:
    for job_type in JOB_TYPES:
        found = parse_job(json.dumps({"job_id": "j", "job_type": job_type}).encode())
        assert found.job_type == job_type
        assert "needs" in getattr(found, "reason", "")
    assert parse_job(b'{"job_id": "j", "job_type": "x"}').job_type == UNKNOWN_TYPE
