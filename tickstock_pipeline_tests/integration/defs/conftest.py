"""What Dagster's daemon does with sensors, schedules and runs, one tick at a time and in this process."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from tickstock_pipeline.definitions import defs
from tickstock_pipeline.defs.resources import Database, Market
from tickstock_pipeline.settings import Settings
from tickstock_pipeline_tests.orchestra import orchestra

__all__ = ["daemon", "orchestra"]


class Daemon:
    """One sensor's ticks and the runs that they ask for."""

    def __init__(self, instance: dg.DagsterInstance, engine: sa.Engine) -> None:
        self.instance = instance
        self.engine = engine
        self.cursor: str | None = None
        self._asked: set[str] = set()
        self._job = defs.resolve_implicit_global_asset_job_def()

    def tick(self, sensor: str) -> list[dg.RunRequest]:
        """Evaluate a sensor; as the daemon, return each run key once only."""
        resources = {"database": Database(), "market": Market()}
        with dg.build_sensor_context(instance=self.instance, cursor=self.cursor, resources=resources) as context:
            result = defs.get_repository_def().get_sensor_def(sensor).evaluate_tick(context)
        self.cursor = result.cursor
        return self._new(result.run_requests or [])

    def tick_schedule(self, schedule: str, at: str) -> list[dg.RunRequest]:
        """Evaluate a schedule at an instant, ISO 8601 in UTC."""
        resources = {"database": Database(), "market": Market()}
        with dg.build_schedule_context(
            instance=self.instance, scheduled_execution_time=datetime.fromisoformat(at), resources=resources
        ) as context:
            result = defs.get_repository_def().get_schedule_def(schedule).evaluate_tick(context)
        return self._new(result.run_requests or [])

    def run(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        return self._job.execute_in_process(
            instance=self.instance,
            asset_selection=list(request.asset_selection or ()),
            tags={**request.tags, "dagster/run_key": request.run_key or ""},
            raise_on_error=False,
        )

    def materialise(self, *assets: str, first: str, last: str) -> dg.ExecuteInProcessResult:
        """A run that somebody started in the UI."""
        return self._job.execute_in_process(
            instance=self.instance,
            asset_selection=[dg.AssetKey(asset) for asset in assets],
            tags={"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last},
            raise_on_error=False,
        )

    def run_under_way(self, *assets: str, first: str, last: str) -> dg.DagsterRun:
        """A run that has begun and does not end."""
        keys = {dg.AssetKey(asset) for asset in assets}
        return self.instance.create_run_for_job(
            self._job.get_subset(asset_selection=keys),
            tags={"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last},
            status=dg.DagsterRunStatus.STARTED,
            asset_selection=frozenset(keys),
        )

    def work_off(self, sensor: str) -> list[dg.RunRequest]:
        """Ticks and runs until nothing is asked for any more."""
        done: list[dg.RunRequest] = []
        while requests := self.tick(sensor):
            for request in requests:
                self.run(request)
            done += requests
            assert len(done) < 60
        return done

    def reported(self, asset: str) -> list[str]:
        """The partitions of materialisations that no run made, the oldest first."""
        records = self.instance.fetch_materializations(dg.AssetKey(asset), limit=5000, ascending=True).records
        return [
            str(record.partition_key)
            for record in records
            if record.asset_materialization is not None
            and record.asset_materialization.metadata["result"].value == "written elsewhere"
        ]

    def execute(self, statement: str, **parameters: object) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.text(statement), parameters)

    def write(self, table: str, symbol: str, *keys: str, close: float = 11.0) -> None:
        """Bars from another program."""
        column, of_type = {"ohlcv_1min": ("timestamp", "timestamptz"), "ohlcv_daily": ("date", "date")}[table]
        self.execute(
            f"INSERT INTO {table} (symbol, {column}, open, high, low, close, volume)"
            f" SELECT :symbol, cast(key AS {of_type}), 10, 12, 9, :close, 100 FROM unnest(cast(:keys AS text[])) key"
            f" ON CONFLICT (symbol, {column}) DO UPDATE SET close = excluded.close",
            symbol=symbol,
            keys=list(keys),
            close=close,
        )

    def _new(self, requests: list[dg.RunRequest]) -> list[dg.RunRequest]:
        new = [request for request in requests if request.run_key not in self._asked]
        self._asked.update(request.run_key for request in new if request.run_key is not None)
        return new


@pytest.fixture
def daemon(
    settings: Settings, engine: sa.Engine, write_universe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Daemon]:
    """A daemon whose provider has three symbols' years 2012 and 2013."""
    universe = write_universe(["AAA", "BBB", "CCC"], range(2012, 2014))
    for name, value in settings.model_copy(update={"sample_file": universe}).child_environment().items():
        monkeypatch.setenv(name, value)
    (tmp_path / "dagster").mkdir()
    # a schedule finds its instance by reference, which one in memory has not
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance:
        yield Daemon(instance, engine)
