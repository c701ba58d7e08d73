"""Dagster's daemon and run workers in this process, one step at a time, on real stores."""

import json
import uuid
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import redis
import sqlalchemy as sa

from tickstock_pipeline.definitions import defs
from tickstock_pipeline.defs.resources import Database
from tickstock_pipeline.imports.acceptance import WayIn, accept_job, cancel_job
from tickstock_pipeline.imports.message import CancelRequest
from tickstock_pipeline.settings import Settings

JOB = "job_20241030_145623_abc123"


class Orchestra:
    """A sensor that ticks when it is told to, and runs that run when they are told to."""

    def __init__(self, instance: dg.DagsterInstance, engine: sa.Engine, redis_url: str) -> None:
        self.instance = instance
        self.redis = redis.Redis.from_url(redis_url, decode_responses=True)
        self._engine = engine
        self._sensor = defs.get_repository_def().get_sensor_def("import_jobs")
        self._job = defs.resolve_implicit_global_asset_job_def()

    def tick(self) -> list[dg.RunRequest]:
        """Evaluate the sensor; the partitions that it asks for are added."""
        with dg.build_sensor_context(instance=self.instance, resources={"database": Database()}) as context:
            result = self._sensor.evaluate_tick(context)
        for request in result.dynamic_partitions_requests or []:
            self.instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))
        return list(result.run_requests or [])

    def run(self, request: dg.RunRequest) -> None:
        """Do what a request asks for."""
        checks = None if request.asset_check_keys is None else set(request.asset_check_keys)
        selected = self._job.get_subset(asset_selection=set(request.asset_selection), asset_check_selection=checks)
        selected.execute_in_process(instance=self.instance, tags=self._tags(request), raise_on_error=False)

    def end_without_work(self, request: dg.RunRequest, status: dg.DagsterRunStatus) -> None:
        """Have the run of a request that never did anything."""
        run = dg.DagsterRun(self._job.name, str(uuid.uuid4()), tags=self._tags(request), status=status)
        self.instance.add_run(run)

    def work_off(self) -> list[dg.RunRequest]:
        """Tick and run until nothing is asked for any more; what was."""
        done: list[dg.RunRequest] = []
        while requests := self.tick():
            for request in requests:
                self.run(request)
            done += requests
            assert len(done) < 20
        return done

    def submit(self, **message: Any) -> None:
        """Submit the one job."""
        accept_job(self._engine, json.dumps({"job_id": JOB, "years": 1, **message}).encode(), WayIn.HTTP)

    def cancel(self) -> None:
        """Cancel it."""
        cancel_job(self._engine, CancelRequest(job_id=JOB))

    def status(self) -> dict[str, Any]:
        """What a consumer reads."""
        document: dict[str, Any] = json.loads(self.redis.get(f"tickstock.jobs.status:{JOB}"))
        return document

    def count(self, table: str) -> int:
        """Rows of a table."""
        return int(self.scalar(f"SELECT count(*) FROM {table}"))

    def scalar(self, query: str) -> Any:
        """The one value of a query."""
        with self._engine.connect() as connection:
            return connection.scalar(sa.text(query))

    @staticmethod
    def _tags(request: dg.RunRequest) -> dict[str, str]:
        return {**request.tags, "dagster/run_key": str(request.run_key)}


@pytest.fixture
def orchestra(
    settings: Settings,
    engine: sa.Engine,
    redis_url: str,
    write_universe: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Orchestra]:
    """On the test's database and Redis, with a provider that has last year's bars of AAA, BBB and CCC."""
    last_year = date.today().year - 1
    sample = write_universe(["AAA", "BBB", "CCC"], range(last_year, last_year + 1))
    for name, value in settings.model_copy(update={"sample_file": sample}).child_environment().items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "dagster"
    folder.mkdir()
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        orchestra = Orchestra(instance, engine, redis_url)
        yield orchestra
        orchestra.redis.close()
