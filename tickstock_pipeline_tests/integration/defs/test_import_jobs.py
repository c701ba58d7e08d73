"""Jobs from their message to the last symbol, by the real sensor and real runs in this process."""

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import redis
import sqlalchemy as sa

from tickstock_pipeline.definitions import defs
from tickstock_pipeline.defs.import_jobs import STAGE_TAG
from tickstock_pipeline.defs.resources import Database
from tickstock_pipeline.imports.acceptance import WayIn, accept_job, cancel_job
from tickstock_pipeline.imports.message import CancelRequest
from tickstock_pipeline.settings import Settings

THIS_YEAR = date.today().year
JOB = "job_20241030_145623_abc123"
SYMBOLS = ("AAA", "BBB", "CCC")


class Daemon:
    """What Dagster's daemon and its run workers do, one tick at a time."""

    def __init__(self, instance: dg.DagsterInstance, database_url: str, redis_url: str) -> None:
        self.instance = instance
        self._engine = sa.create_engine(database_url.replace("postgresql://", "postgresql+psycopg2://"))
        self._redis = redis.Redis.from_url(redis_url, decode_responses=True)
        self._repository = defs.get_repository_def()
        self._job = defs.resolve_implicit_global_asset_job_def()

    def tick(self) -> list[dg.RunRequest]:
        """Evaluate the sensor; the partitions that it asks for are added."""
        with dg.build_sensor_context(instance=self.instance, resources={"database": Database()}) as context:
            result = self._repository.get_sensor_def("import_jobs").evaluate_tick(context)
        for request in result.dynamic_partitions_requests or []:
            self.instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
        return list(result.run_requests or [])

    def run(self, request: dg.RunRequest) -> None:
        self._job.execute_in_process(
            instance=self.instance,
            asset_selection=list(request.asset_selection),
            tags={**request.tags, "dagster/run_key": request.run_key},
            raise_on_error=False,
        )

    def end_without_work(self, request: dg.RunRequest, status: dg.DagsterRunStatus) -> None:
        """A run that was killed before it did anything."""
        self.instance.create_run_for_job(
            self._job, tags={**request.tags, "dagster/run_key": request.run_key}, status=status
        )

    def work_off(self) -> list[dg.RunRequest]:
        """Ticks and runs until nothing is asked for any more."""
        done: list[dg.RunRequest] = []
        while requests := self.tick():
            for request in requests:
                self.run(request)
            done += requests
            assert len(done) < 50
        return done

    def submit(self, **message: Any) -> None:
        accept_job(self._engine, json.dumps({"job_id": JOB, "years": 1, **message}).encode(), WayIn.HTTP)

    def cancel(self) -> None:
        cancel_job(self._engine, CancelRequest(job_id=JOB))

    def status(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self._redis.get(f"tickstock.jobs.status:{JOB}"))
        return document

    def count(self, table: str) -> int:
        with self._engine.connect() as connection:
            return int(connection.scalar(sa.text(f"SELECT count(*) FROM {table}")))

    def execute(self, statement: str) -> None:
        with self._engine.begin() as connection:
            connection.exec_driver_sql(statement)

    def close(self) -> None:
        self._engine.dispose()
        self._redis.close()


@pytest.fixture
def daemon(
    settings: Settings,
    database_url: str,
    redis_url: str,
    write_universe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Daemon]:
    universe = write_universe(
        [f"S{number:03}" for number in range(60)] + list(SYMBOLS), range(THIS_YEAR - 1, THIS_YEAR)
    )
    for name, value in settings.model_copy(update={"sample_file": universe}).child_environment().items():
        monkeypatch.setenv(name, value)
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance:
        daemon = Daemon(instance, database_url, redis_url)
        yield daemon
        daemon.close()


def test_a_job_is_imported_analysed_and_completed(daemon: Daemon) -> None:
    daemon.submit(
        job_type="multi_timeframe_load",
        symbols=list(SYMBOLS),
        timeframes=["day", "weekly"],
        run_analysis_after_import=True,
    )

    done = daemon.work_off()

    assert [request.tags[STAGE_TAG] for request in done] == ["bars", "roll_ups", "analysis"]
    assert daemon.status() == {
        "job_id": JOB,
        "status": "completed",
        "progress": 100,
        "total_symbols": 3,
        "processed_symbols": 3,
        "successful_symbols": list(SYMBOLS),
        "failed_symbols": [],
        "error_message": None,
        "started_at": daemon.status()["started_at"],
        "completed_at": daemon.status()["completed_at"],
        "phase": "complete",
        "message": "Done: 3 symbols",
        "errors": {},
        "run_ids": [run.run_id for run in reversed(daemon.instance.get_runs())],
    }
    assert daemon.count("ohlcv_daily") > 700
    assert daemon.count("ohlcv_weekly") > 150
    assert daemon.count("bar_indicators") > 0
