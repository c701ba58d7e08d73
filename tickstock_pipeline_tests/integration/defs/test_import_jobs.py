"""Jobs from their message to the last symbol, by the real sensor and real runs in this process."""

import dagster as dg
import pytest

from tickstock_pipeline.defs.import_jobs import ATTEMPT_TAG, CHUNK_TAG, STAGE_TAG
from tickstock_pipeline_tests.orchestra import JOB, Orchestra

SYMBOLS = ("AAA", "BBB", "CCC")


def stages(done: list[dg.RunRequest]) -> list[str]:
    return [request.tags[STAGE_TAG] for request in done]


def test_a_job_is_imported_analysed_and_completed(orchestra: Orchestra) -> None:
    orchestra.submit(
        job_type="multi_timeframe_load",
        symbols=list(SYMBOLS),
        timeframes=["day", "weekly"],
        run_analysis_after_import=True,
    )

    assert stages(orchestra.work_off()) == ["bars", "roll_ups", "analysis"]

    status = orchestra.status()
    assert status == {
        "job_id": JOB,
        "status": "completed",
        "progress": 100,
        "total_symbols": 3,
        "processed_symbols": 3,
        "successful_symbols": list(SYMBOLS),
        "failed_symbols": [],
        "error_message": None,
        "started_at": status["started_at"],
        "completed_at": status["completed_at"],
        "phase": "complete",
        "message": "Done: 3 symbols",
        "errors": {},
        "run_ids": [run.run_id for run in reversed(orchestra.instance.get_runs())],
    }
    assert status["started_at"] <= status["completed_at"]
    assert 0 < orchestra.redis.ttl(f"tickstock.jobs.status:{JOB}") <= 86_400
    assert orchestra.count("ohlcv_daily") > 700
    assert orchestra.count("ohlcv_weekly") > 150
    assert orchestra.count("bar_indicators") > 0
    assert orchestra.tick() == []


def test_symbols_apart_from_each_other_are_runs_of_their_own_and_the_status_follows(orchestra: Orchestra) -> None:
    orchestra.instance.add_dynamic_partitions("symbols", ["AAA", "BBB", "CCC"])
    orchestra.submit(job_type="historical_load", symbols=["AAA", "CCC"], timespan="day")

    first, second = orchestra.tick()

    assert (first.tags[CHUNK_TAG], second.tags[CHUNK_TAG]) == ("0", "1")
    assert (first.asset_check_keys, second.asset_check_keys == []) == ([], False)
    assert orchestra.status()["status"] == "queued"
    assert orchestra.status()["started_at"] is None
    orchestra.run(first)
    status = orchestra.status()
    assert (status["status"], status["phase"], status["completed_at"]) == ("running", "importing", None)
    assert (status["processed_symbols"], status["total_symbols"], status["progress"]) == (1, 2, 50)
    assert (status["message"], status["successful_symbols"]) == ("Importing 1/2", ["AAA"])
    orchestra.run(second)
    orchestra.work_off()
    assert orchestra.status()["status"] == "completed"
    assert orchestra.scalar("SELECT count(*) FROM ohlcv_daily WHERE symbol = 'BBB'") == 0


def test_one_unknown_symbol_fails_alone_and_the_job_completes(orchestra: Orchestra) -> None:
    orchestra.submit(job_type="multi_timeframe_load", symbols=["AAA", "NOPE"], timeframes=["day", "month"])

    orchestra.work_off()

    status = orchestra.status()
    assert (status["status"], status["progress"], status["processed_symbols"]) == ("completed", 100, 2)
    assert status["successful_symbols"] == ["AAA"]
    assert status["failed_symbols"] == ["NOPE"]
    assert "NOPE" in status["errors"]["NOPE"]
    assert status["message"] == "Done: 2 symbols, 1 of them failed"
    assert orchestra.count("ohlcv_monthly") > 0


def test_a_job_all_of_whose_symbols_fail_has_failed(orchestra: Orchestra) -> None:
    orchestra.submit(job_type="historical_load", symbols=["NOPE", "NONE"], timespan="day")

    orchestra.work_off()

    status = orchestra.status()
    assert status["status"] == "failed"
    assert status["error_message"].startswith("All 2 symbols failed")
    assert status["completed_at"] is not None
    assert set(status["errors"]) == {"NOPE", "NONE"}


def test_a_run_that_was_killed_before_it_began_is_asked_for_again(orchestra: Orchestra) -> None:
    orchestra.submit(job_type="historical_load", symbols=["AAA"], timespan="day")
    (request,) = orchestra.tick()
    orchestra.end_without_work(request, dg.DagsterRunStatus.CANCELED)

    (again,) = orchestra.tick()

    assert (request.tags[ATTEMPT_TAG], again.tags[ATTEMPT_TAG]) == ("1", "2")
    assert again.run_key != request.run_key
    orchestra.run(again)
    orchestra.work_off()
    assert orchestra.status()["status"] == "completed"
    assert len(orchestra.status()["run_ids"]) == 2


def test_three_killed_runs_end_the_job_with_the_reason(orchestra: Orchestra) -> None:
    orchestra.submit(job_type="historical_load", symbols=["AAA"], timespan="day")

    for _ in range(3):
        (request,) = orchestra.tick()
        orchestra.end_without_work(request, dg.DagsterRunStatus.FAILURE)
    assert orchestra.tick() == []

    status = orchestra.status()
    assert status["status"] == "failed"
    assert status["errors"]["AAA"].startswith("its run ended 3 times before it had done any of it")


def test_a_request_that_the_daemon_lost_is_made_again_under_the_same_key(orchestra: Orchestra) -> None:
    orchestra.submit(job_type="historical_load", symbols=["AAA"], timespan="day")

    (lost,) = orchestra.tick()
    (repeated,) = orchestra.tick()

    assert repeated.run_key == lost.run_key
    orchestra.run(repeated)
    assert orchestra.work_off() == []
    assert orchestra.status()["status"] == "completed"


def test_a_waiting_run_of_a_cancelled_job_is_ended_and_the_job_is_over(orchestra: Orchestra) -> None:
    orchestra.submit(job_type="historical_load", symbols=["AAA"], timespan="day")
    (request,) = orchestra.tick()
    orchestra.end_without_work(request, dg.DagsterRunStatus.NOT_STARTED)
    orchestra.tick()

    orchestra.cancel()
    assert orchestra.tick() == []

    assert orchestra.status()["status"] == "cancelled"
    assert orchestra.instance.get_runs()[0].status is dg.DagsterRunStatus.CANCELED


def test_a_run_of_a_cancelled_job_does_nothing_more(orchestra: Orchestra) -> None:
    orchestra.submit(job_type="historical_load", symbols=["AAA", "BBB"], timespan="day")
    (request,) = orchestra.tick()
    orchestra.cancel()

    orchestra.run(request)
    orchestra.tick()

    status = orchestra.status()
    assert (status["status"], status["message"]) == ("cancelled", "Cancelled at 0/2")
    assert (status["failed_symbols"], status["completed_at"] is None) == ([], False)
    assert orchestra.count("ohlcv_daily") == 0


def test_analysis_may_follow_each_chunk(orchestra: Orchestra) -> None:
    orchestra.instance.add_dynamic_partitions("symbols", ["AAA", "BBB", "CCC"])
    orchestra.submit(
        job_type="historical_load",
        symbols=["AAA", "CCC"],
        timespan="day",
        run_analysis_after_import=True,
        analysis_mode="per_symbol",
    )
    orchestra.run(orchestra.tick()[0])

    assert stages(orchestra.tick()) == ["analysis", "bars"]


def test_symbols_that_were_only_registered_become_partitions(orchestra: Orchestra) -> None:
    orchestra.submit(job_type="historical_load", symbols=["ZZZ", "AAA"], include_ohlcv=False)

    assert orchestra.tick() == []

    assert orchestra.instance.get_dynamic_partitions("symbols") == ["ZZZ", "AAA"]
    assert orchestra.status()["message"] == "Registered 2 symbols"
    assert orchestra.status()["status"] == "completed"


def test_redis_being_away_does_not_keep_a_job_from_its_end(
    orchestra: Orchestra, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TICKSTOCK_REDIS_URL", "redis://127.0.0.1:1/0")
    orchestra.submit(job_type="historical_load", symbols=["AAA"], timespan="day")

    orchestra.work_off()

    assert orchestra.scalar("SELECT status FROM import_jobs") == "completed"
