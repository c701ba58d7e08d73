"""What ``dagster.yaml`` asks for is in effect: retries, monitoring, the queue, pools, and the log of a run."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.op_concurrency_limits_counter import GlobalOpConcurrencyLimitsCounter
from dagster._core.storage.dagster_run import RunOpConcurrency

from tickstock_pipeline.definitions import defs
from tickstock_pipeline.defs.bars import bar_assets
from tickstock_pipeline.defs.partitions import Grid
from tickstock_pipeline.settings import Settings

CONFIGURATION = Path(__file__).parents[3] / "dagster.yaml"


@pytest.fixture
def instance(settings: Settings, write_universe, tmp_path: Path, monkeypatch) -> Iterator[dg.DagsterInstance]:
    """The instance of our configuration, on PostgreSQL."""
    universe = write_universe(["AAA", "BBB"], range(2012, 2013))
    for name, value in settings.model_copy(update={"sample_file": universe}).child_environment().items():
        monkeypatch.setenv(name, value)
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text(CONFIGURATION.read_text("utf-8"), "utf-8")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.add_dynamic_partitions("symbols", ["AAA", "BBB"])
        yield instance


def failed(instance: dg.DagsterInstance, reason: str | None, **tags: str) -> dg.DagsterRun:
    """A run that has failed; without a reason: its process was killed."""
    run = instance.create_run_for_job(
        defs.resolve_implicit_global_asset_job_def(),
        tags={**tags, **({} if reason is None else {"dagster/failure_reason": reason})},
        status=dg.DagsterRunStatus.STARTED,
    )
    instance.report_run_failed(run)
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found


def test_a_killed_run_is_retried_twice_and_one_that_named_its_bad_symbols_is_not(instance: dg.DagsterInstance) -> None:
    assert instance.run_retries_enabled
    assert instance.run_retries_max_retries == 2
    assert failed(instance, None).tags["dagster/will_retry"] == "true"
    assert failed(instance, "STEP_FAILURE").tags["dagster/will_retry"] == "false"
    # an import job repeats its runs itself
    assert failed(instance, None, **{"dagster/max_retries": "0"}).tags["dagster/will_retry"] == "false"


def test_runs_are_monitored_and_queued_at_short_intervals(instance: dg.DagsterInstance) -> None:
    assert instance.run_monitoring_enabled
    assert instance.run_monitoring_poll_interval_seconds == 10
    assert instance.run_monitoring_start_timeout_seconds == 120
    assert instance.run_monitoring_cancel_timeout_seconds == 60
    assert instance.run_coordinator.dequeue_interval_seconds == 1
    queue = instance.get_concurrency_config().run_queue_config
    assert queue is not None
    assert queue.max_concurrent_runs == 2


def test_two_runs_at_once_ask_a_provider_and_a_third_waits_while_others_go(instance: dg.DagsterInstance) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.BetaWarning)
        assets = bar_assets(Grid.starting(2012), pool="provider_test")
    resources = {name: dg.ResourceDefinition.none_resource() for name in ("database", "market")}
    job = dg.Definitions(assets=assets, resources=resources).resolve_implicit_global_asset_job_def()

    def run(asset: str, status: dg.DagsterRunStatus = dg.DagsterRunStatus.NOT_STARTED) -> dg.DagsterRun:
        keys = {dg.AssetKey(asset)}
        return instance.create_run_for_job(
            job.get_subset(asset_selection=keys), asset_selection=frozenset(keys), status=status
        )

    first = run("ohlcv_daily", dg.DagsterRunStatus.STARTED)
    assert first.run_op_concurrency == RunOpConcurrency(
        root_key_counts={"provider_test": 1}, has_unconstrained_root_nodes=False, all_pools={"provider_test"}
    )
    run("ohlcv_1min", dg.DagsterRunStatus.STARTED)
    third, free = run("ohlcv_daily"), run("ohlcv_weekly")

    def look() -> GlobalOpConcurrencyLimitsCounter:
        """How the queue's daemon judges."""
        storage = instance.event_log_storage
        return GlobalOpConcurrencyLimitsCounter(
            instance,
            [third, free],
            instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])),
            concurrency_keys=storage.get_concurrency_keys(),
            pool_limits=storage.get_pool_limits(),
            pool_granularity=instance.get_concurrency_config().pool_config.pool_granularity,
        )

    look()  # a pool that is seen for the first time gets its limit
    queue = look()
    assert queue.is_blocked(third)
    assert not queue.is_blocked(free)


def test_the_log_of_a_run_says_why_a_symbol_failed_with_the_traceback(
    instance: dg.DagsterInstance, engine: sa.Engine
) -> None:
    job = defs.resolve_implicit_global_asset_job_def()
    of_both = {"dagster/asset_partition_range_start": "AAA|2012", "dagster/asset_partition_range_end": "BBB|2012"}
    assert job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey("ohlcv_daily")], tags=of_both).success
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE splits DROP CONSTRAINT splits_ratio")
        connection.exec_driver_sql("INSERT INTO splits (symbol, ex_date, ratio) VALUES ('BBB', '2012-03-01', 0)")

    result = job.execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey("indicators_daily"), dg.AssetKey("patterns_daily")],
        tags=of_both,
        raise_on_error=False,
    )

    assert not result.success
    (told,) = (
        log.user_message
        for log in instance.all_logs(result.run_id)
        if log.dagster_event is None and "BBB" in log.user_message
    )
    assert told.startswith("analysis of BBB, daily bars of 2012, failed: ValueError: ratio of a split")
    assert "Traceback" in told
    assert "market/adjustment.py" in told
