"""Assets and checks run by Dagster in this process, on a real database."""

import dagster as dg
import pandas as pd
import pytest
import sqlalchemy as sa

from tickstock_pipeline.definitions import defs
from tickstock_pipeline.settings import Settings

SYMBOLS = ("AAA", "BBB", "CCC")


@pytest.fixture
def universe(tmp_path):
    """Three symbols' January and February 2012, one of whose rows is corrupt."""
    days = pd.bdate_range("2012-01-03", "2012-02-29").difference(pd.to_datetime(["2012-01-16", "2012-02-20"]))
    rows = [
        {"ticker": symbol, "date": day.date(), "open": 10, "high": 12, "low": 9, "close": 11, "volume": 100}
        for symbol in SYMBOLS
        for day in days
    ]
    rows[5]["high"] = 8
    path = tmp_path / "universe.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


@pytest.fixture
def instance(settings: Settings, universe, monkeypatch):
    """Dagster's instance in memory; the assets see the test's database and universe through the environment."""
    for name, value in settings.model_copy(update={"sample_file": universe}).child_environment().items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("symbols", list(SYMBOLS))
        yield instance


def run(instance, *assets, first="AAA|2012", last="CCC|2012", raise_on_error=True):
    job = defs.resolve_implicit_global_asset_job_def()
    return job.execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(asset) for asset in assets],
        tags={"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last},
        raise_on_error=raise_on_error,
    )


def metadata(instance, asset, key):
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[key]), limit=1
    ).records
    return {name: value.value for name, value in records[0].asset_materialization.metadata.items()}


def materialized(instance, asset):
    return instance.get_materialized_partitions(dg.AssetKey(asset))


def test_a_range_run_materialises_each_partition_with_its_own_metadata(instance):
    run(instance, "ohlcv_daily")

    assert materialized(instance, "ohlcv_daily") == {f"{symbol}|2012" for symbol in SYMBOLS}
    assert metadata(instance, "ohlcv_daily", "AAA|2012") == {
        "result": "written",
        "bars": 39,
        "first_bar": "2012-01-03",
        "last_bar": "2012-02-29",
        "source": "sample",
        "bars_fetched": 39,
        "bars_refused": 1,
        "requests": 3,
    }
    assert metadata(instance, "ohlcv_daily", "BBB|2012")["bars_refused"] == 0


def test_a_repeated_run_says_that_nothing_was_written(instance):
    for _ in range(2):
        run(instance, "ohlcv_daily")
        run(instance, "ohlcv_weekly", "ohlcv_monthly")
        run(instance, "indicators_daily", "patterns_daily")

    for asset in ("ohlcv_daily", "ohlcv_weekly", "ohlcv_monthly", "indicators_daily", "patterns_daily"):
        assert metadata(instance, asset, "BBB|2012")["result"] == "unchanged"


def test_patterns_show_a_picture_with_the_detections(instance):
    run(instance, "ohlcv_daily")
    run(instance, "indicators_daily", "patterns_daily")

    shown = metadata(instance, "patterns_daily", "CCC|2012")
    assert shown["picture"].startswith("![CCC|2012")
    assert "data:image/svg+xml;base64," in shown["picture"]
    assert shown["bars_analysed"] == 40
    assert "picture" not in metadata(instance, "indicators_daily", "CCC|2012")


def test_a_symbol_that_fails_leaves_the_others_of_its_run_materialised(instance, engine):
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE ohlcv_daily ADD CONSTRAINT no_bbb CHECK (symbol <> 'BBB')")

    result = run(instance, "ohlcv_daily", raise_on_error=False)

    assert not result.success
    assert materialized(instance, "ohlcv_daily") == {"AAA|2012", "CCC|2012"}
    assert metadata(instance, "ohlcv_daily", "CCC|2012")["bars"] == 40
    failure = result.failure_data_for_node("import_daily").user_failure_data
    assert failure.description.startswith("1 of 3 partitions failed: BBB|2012 (")
    assert "no_bbb" in failure.description
    assert set(failure.metadata["failed_partitions"].value) == {"BBB|2012"}


def test_checks_warn_of_the_quarantined_bar_and_name_the_missing_day(instance):
    result = run(instance, "ohlcv_daily")

    checks = {found.check_name: found for found in result.get_asset_check_evaluations()}
    assert not checks["ohlc_sanity"].passed
    assert checks["ohlc_sanity"].severity is dg.AssetCheckSeverity.WARN
    assert checks["ohlc_sanity"].metadata["quarantine_by_symbol"].value == {"AAA": 1}
    assert not checks["completeness"].passed
    shown = {name: value.value for name, value in checks["completeness"].metadata.items()}
    assert shown["gaps"] == {"AAA": ["2012-01-10: failed (quarantined: high is below low)"]}
    assert shown["partitions_with_gaps"] == ["AAA|2012"]
    assert (shown["sessions complete"], shown["sessions failed"]) == (119, 1)


def test_a_table_without_its_constraint_is_read_and_found_insane(instance, engine):
    run(instance, "ohlcv_daily")
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE ohlcv_daily DROP CONSTRAINT ohlcv_daily_high")
        connection.execute(sa.text("UPDATE ohlcv_daily SET high = 1 WHERE symbol = 'CCC' AND date = '2012-01-03'"))

    job = defs.resolve_implicit_global_asset_job_def()
    key = dg.AssetCheckKey(dg.AssetKey("ohlcv_daily"), "ohlc_sanity")
    result = job.get_subset(asset_check_selection={key}, asset_selection=set()).execute_in_process(
        instance=instance, raise_on_error=False
    )

    assert not result.success

    (found,) = result.get_asset_check_evaluations()
    assert not found.passed
    assert found.severity is dg.AssetCheckSeverity.ERROR
    assert found.description == "1 bars break a rule; not enforced: ohlcv_daily_high"


@pytest.fixture
def wrong_bar(instance, engine):
    """A bar of BBB that breaks a rule, of another program, which has dropped the constraint; the provider lacks it."""
    run(instance, "ohlcv_daily")
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE ohlcv_daily DROP CONSTRAINT ohlcv_daily_high")
        connection.exec_driver_sql(
            "INSERT INTO ohlcv_daily (symbol, date, open, high, low, close, volume)"
            " VALUES ('BBB', '2012-03-05', 10, 10, 9, 11, 100)"
        )


@pytest.mark.parametrize(
    ("assets", "reason"),
    [
        (["ohlcv_daily"], "1 stored bars break a rule; correct or delete them"),
        (["ohlcv_weekly"], "the stored daily bar of 2012-03-05 breaks a rule: high is below open or close"),
        (["indicators_daily", "patterns_daily"], "the stored daily bar of 2012-03-05 breaks a rule: high is below"),
    ],
    ids=["import", "roll-up", "analysis"],
)
def test_a_wrong_bar_stops_its_own_partition_in_each_layer_and_no_other(instance, wrong_bar, assets, reason):
    result = run(instance, *assets, raise_on_error=False)

    (failure,) = (event.event_specific_data.user_failure_data for event in result.get_step_failure_events())
    # what the backfill daemon takes as failed: the range without what was recorded
    assert failure.description.startswith(f"1 of 3 partitions failed: BBB|2012 ({reason}")
    logs = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    recorded = {log.get_dagster_event().partition for log in logs}
    assert recorded == {"AAA|2012", "CCC|2012"}


def test_a_wrong_bar_blocks_what_follows_in_its_own_run_and_not_in_that_of_another_symbol(instance, engine, wrong_bar):
    both = ["ohlcv_daily", "indicators_daily", "patterns_daily"]

    assert run(instance, *both, first="CCC|2012", last="CCC|2012").success
    assert not run(instance, *both, first="BBB|2012", last="BBB|2012", raise_on_error=False).success
    assert materialized(instance, "patterns_daily") == {"CCC|2012"}

    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM ohlcv_daily WHERE date = '2012-03-05'")
    assert run(instance, *both, first="BBB|2012", last="BBB|2012").success
    assert materialized(instance, "patterns_daily") == {"BBB|2012", "CCC|2012"}


def test_the_checks_of_a_run_that_fails_tell_of_the_bars_and_not_of_the_run(instance, engine):
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE ohlcv_daily ADD CONSTRAINT no_bbb CHECK (symbol <> 'BBB')")

    result = run(instance, "ohlcv_daily", "ohlcv_monthly", raise_on_error=False)

    assert not result.success
    logs = instance.all_logs(result.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED)
    planned = [log.get_dagster_event().asset_check_planned_data.asset_check_key for log in logs]
    assert len(planned) == 6
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key(planned)
    # what a failed run has planned and not evaluated is shown as failed, whatever is in the table
    assert {(key.asset_key.to_user_string(), key.name): latest[key].status.value for key in planned} == {
        ("ohlcv_daily", "ohlc_sanity"): "FAILED",
        ("ohlcv_daily", "completeness"): "FAILED",
        ("ohlcv_daily", "freshness"): "SUCCEEDED",
        ("ohlcv_monthly", "ohlc_sanity"): "SUCCEEDED",
        ("ohlcv_monthly", "completeness"): "SUCCEEDED",
        ("ohlcv_monthly", "freshness"): "SUCCEEDED",
    }
    sanity, completeness = (
        latest[dg.AssetCheckKey(dg.AssetKey("ohlcv_daily"), name)].evaluation
        for name in ("ohlc_sanity", "completeness")
    )
    assert (sanity.description, sanity.severity) == (
        "1 bars of 1 symbols are in quarantine",
        dg.AssetCheckSeverity.WARN,
    )
    assert set(completeness.metadata["gaps"].value) == {"AAA", "BBB"}
    (newest,) = instance.fetch_materializations(dg.AssetKey("ohlcv_daily"), limit=1).records
    assert completeness.target_materialization_data.storage_id == newest.storage_id


def test_a_timeframe_that_the_provider_lacks_is_an_empty_answer(instance):
    run(instance, "ohlcv_1min")

    assert metadata(instance, "ohlcv_1min", "AAA|2012")["note"] == "sample has no 1min bars"


def test_no_secret_is_in_the_run_config_or_its_events(instance, settings):
    result = run(instance, "ohlcv_daily")

    password = settings.database_dsn().rpartition("@")[0].rpartition(":")[2]
    stored = instance.get_run_by_id(result.run_id)
    events = instance.all_logs(result.run_id)
    assert password not in dg.serialize_value(stored)
    assert all(password not in dg.serialize_value(event) for event in events)
