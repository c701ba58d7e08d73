"""The asset graph, so that a change of lineage is seen in review."""

import dagster as dg
import pytest
from dagster._daemon.sensor import MIN_INTERVAL_LOOP_TIME

from tickstock_pipeline.definitions import defs
from tickstock_pipeline.settings import AUTOMATIONS

LINEAGE = {
    "ohlcv_1min": [],
    "ohlcv_hourly": ["ohlcv_1min"],
    "ohlcv_daily": ["ohlcv_1min"],
    "ohlcv_weekly": ["ohlcv_daily"],
    "ohlcv_monthly": ["ohlcv_daily"],
    **{
        f"{kind}_{timeframe}": [f"ohlcv_{timeframe}"]
        for kind in ("indicators", "patterns")
        for timeframe in ("1min", "hourly", "daily", "weekly", "monthly")
    },
}
GRAPH = defs.resolve_asset_graph()


def node(name: str):
    return GRAPH.get(dg.AssetKey(name))


def test_every_asset_has_the_lineage_that_is_documented():
    found = {
        key.to_user_string(): sorted(parent.to_user_string() for parent in GRAPH.get(key).parent_keys)
        for key in GRAPH.get_all_asset_keys()
    }
    assert found == LINEAGE


@pytest.mark.parametrize("name", LINEAGE)
def test_every_asset_is_on_the_same_grid_and_says_what_it_is(name):
    asset = node(name)

    assert asset.partitions_def == node("ohlcv_daily").partitions_def
    assert len(asset.description) > 80
    assert asset.owners
    assert asset.kinds
    assert asset.metadata["dagster/table_name"].startswith("public.")


@pytest.mark.parametrize(("name", "parents"), LINEAGE.items())
def test_no_asset_shares_a_run_with_one_that_it_depends_on(name, parents):
    # Dagster groups an asset with its parent only if their policies are equal; a failed symbol would then end the step
    # of the parent and with it the child's, for every symbol of the run.
    policies = {node(parent).backfill_policy for parent in parents}

    assert node(name).backfill_policy not in policies
    assert node(name).backfill_policy.max_partitions_per_run >= 50


def test_every_asset_that_people_look_at_has_its_checks():
    checks = {(key.asset_key.to_user_string(), key.name) for key in GRAPH.asset_check_keys}

    assert checks == {
        (name, check)
        for name in LINEAGE
        if name.startswith("ohlcv")
        for check in ("ohlc_sanity", "completeness", "freshness")
    } | {(name, "up_to_date") for name in LINEAGE if name.startswith("patterns")}


def test_a_wrong_bar_does_not_spread():
    keys = [key for key in GRAPH.asset_check_keys if key.name == "ohlc_sanity"]

    assert len(keys) == 5
    assert all(GRAPH.get(key).blocking for key in keys)


def test_every_automation_runs_by_default_and_says_what_it_does():
    repository = defs.get_repository_def()
    found = {one.name: one for one in [*repository.sensor_defs, *repository.schedule_defs]}

    assert sorted(found) == sorted(AUTOMATIONS)
    for one in found.values():
        assert one.default_status.value == "RUNNING"
        assert len(one.description) > 80


def test_sensors_ask_for_less_than_the_daemons_own_interval():
    # one that asks for just that is found to come too early at every other look, and ticks half as often
    for sensor in defs.get_repository_def().sensor_defs:
        assert sensor.minimum_interval_seconds < MIN_INTERVAL_LOOP_TIME
