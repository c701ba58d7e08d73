"""Schedules by the calendar: what has fallen behind, what has closed, what is compared, refreshed and deleted."""

from datetime import UTC, date, datetime
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from tickstock_pipeline.definitions import defs
from tickstock_pipeline.replay.server import ReplayServer
from tickstock_pipeline.replay.source import MemorySource
from tickstock_pipeline.storage.bars import write_bars
from tickstock_pipeline_tests.integration.batch.array_provider import minutes

DAYS = ("2024-03-04", "2024-03-05")


def coverage(engine: sa.Engine) -> set[tuple[str, str]]:
    with engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT symbol, timeframe FROM analysis_coverage WHERE stale_from IS NULL"))
        return {tuple(row) for row in rows}


def catch_up(daemon) -> list[dg.RunRequest]:
    now = datetime.now(UTC).isoformat()
    requests = daemon.tick_schedule("catch_up", now)
    for request in requests:
        daemon.run(request)
    return requests


def test_what_has_fallen_behind_is_rolled_up_and_analysed(daemon) -> None:
    daemon.write("ohlcv_daily", "NEW", *DAYS)

    assert catch_up(daemon)
    assert catch_up(daemon)

    assert coverage(daemon.engine) == {("NEW", "daily"), ("NEW", "weekly"), ("NEW", "monthly")}
    assert daemon.tick_schedule("catch_up", "2026-01-05T12:00:00+00:00") == []


def test_bars_imported_without_analysis_are_left_alone_until_somebody_has_them_analysed(daemon) -> None:
    daemon.instance.add_dynamic_partitions("symbols", ["AAA"])
    daemon.materialise("ohlcv_daily", first="AAA|2012", last="AAA|2013")
    daemon.materialise("ohlcv_weekly", "ohlcv_monthly", first="AAA|2012", last="AAA|2014")
    assert catch_up(daemon) == []

    daemon.materialise("indicators_daily", "patterns_daily", first="AAA|2012", last="AAA|2012")

    asked = catch_up(daemon)
    assert {request.tags["tickstock/timeframe"] for request in asked} == {"daily", "weekly", "monthly"}
    assert ("AAA", "daily") in coverage(daemon.engine)


def test_a_partition_that_failed_a_moment_ago_rests_while_its_neighbours_go_on(daemon) -> None:
    daemon.write("ohlcv_daily", "BAD", *DAYS)
    daemon.write("ohlcv_daily", "GOOD", *DAYS)
    daemon.execute("ALTER TABLE bar_indicators ADD CONSTRAINT no_bad CHECK (symbol <> 'BAD')")

    catch_up(daemon)
    again = catch_up(daemon)

    assert ("GOOD", "daily") in coverage(daemon.engine)
    assert "daily" not in {request.tags["tickstock/timeframe"] for request in again}
    daemon.execute("UPDATE analysis_failures SET failed_at = failed_at - interval '6 minutes'")
    assert "daily" in {request.tags["tickstock/timeframe"] for request in catch_up(daemon)}


def test_days_are_asked_for_after_the_close_and_not_before(daemon, write_universe, monkeypatch) -> None:
    # the sample of this test goes on to the end of 2013, and was imported up to the day before Thanksgiving
    daemon.instance.add_dynamic_partitions("symbols", ["AAA", "BBB", "CCC"])
    daemon.materialise("ohlcv_daily", first="AAA|2013", last="BBB|2013")
    daemon.execute("UPDATE bar_provenance SET requested_through = '2013-11-27'")

    # a holiday; before and after the close of the half day that follows it, at 13:00 in New York
    assert daemon.tick_schedule("after_close", "2013-11-28T23:00:00+00:00") == []
    assert daemon.tick_schedule("after_close", "2013-11-29T18:00:00+00:00") == []
    (request,) = daemon.tick_schedule("after_close", "2013-11-29T18:30:00+00:00")

    assert request.asset_selection == [dg.AssetKey("ohlcv_daily")]
    assert request.tags["dagster/asset_partition_range_start"] == "AAA|2013"
    assert request.tags["dagster/asset_partition_range_end"] == "BBB|2013"
    daemon.run(request)
    assert daemon.tick_schedule("after_close", "2013-11-29T18:45:00+00:00") == []


def test_minutes_are_compared_on_the_evening_of_a_session(daemon) -> None:
    (asked,) = daemon.tick_schedule("reconciliation", "2024-03-05T01:30:00+00:00")

    assert asked.run_config["ops"]["compare_minutes"]["config"] == {"session": "2024-03-04"}
    assert daemon.tick_schedule("reconciliation", "2024-03-03T01:30:00+00:00") == []


def test_a_session_that_cannot_be_compared_is_refused_in_words(daemon) -> None:
    job = defs.resolve_job_def("reconciliation")
    for session, fault in (
        ("yesterday", "is not a date"),
        ("2024-03-03", "is not a session of the exchange"),
        ("1850-03-04", "is not a session of the exchange"),
        ("2999-03-04", "has not ended"),
    ):
        config = {"ops": {"compare_minutes": {"config": {"session": session}}}}

        result = job.execute_in_process(run_config=config, instance=daemon.instance, raise_on_error=False)

        description = result.failure_data_for_node("compare_minutes").user_failure_data.description
        assert description.startswith(f"The session asked for, {session}, {fault}.")


def test_the_universe_folder_is_read_again_and_a_bad_file_named(daemon, tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "universes"
    folder.mkdir()
    (folder / "mine.csv").write_text("symbol\nAAPL\nMSFT\n")
    (folder / "broken.csv").write_bytes(b"\xff\xfe\x00nothing")
    monkeypatch.setenv("TICKSTOCK_UNIVERSE_DIR", str(folder))

    result = defs.resolve_job_def("universe_refresh").execute_in_process(instance=daemon.instance, raise_on_error=False)

    assert "broken.csv" in result.failure_data_for_node("read_universes").user_failure_data.description
    with daemon.engine.connect() as connection:
        members = connection.scalars(sa.text("SELECT symbol FROM universe_members WHERE universe = 'mine' ORDER BY 1"))
        assert list(members) == ["AAPL", "MSFT"]


def test_nothing_is_deleted_unless_the_settings_say_so(daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    assert daemon.tick_schedule("retention", "2024-03-09T10:00:00+00:00") == []
    monkeypatch.setenv("TICKSTOCK_RETENTION_MINUTES_YEARS", "1")
    assert len(daemon.tick_schedule("retention", "2024-03-09T10:00:00+00:00")) == 1


def test_deleted_minutes_leave_what_was_computed_from_them(daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    last_year = date.today().year - 1
    daemon.write("ohlcv_1min", "OLD", f"{last_year}-12-30T15:00Z", f"{last_year}-12-30T15:01Z")
    daemon.write("ohlcv_1min", "OLD", f"{last_year + 1}-01-05T15:00Z")
    catch_up(daemon)
    catch_up(daemon)
    before = coverage(daemon.engine)
    assert before == {("OLD", "1min"), ("OLD", "hourly")}
    monkeypatch.setenv("TICKSTOCK_RETENTION_MINUTES_YEARS", "1")

    assert defs.resolve_job_def("retention").execute_in_process(instance=daemon.instance).success

    with daemon.engine.connect() as connection:
        years = connection.scalars(sa.text("SELECT extract(year FROM timestamp)::int FROM ohlcv_1min"))
        assert list(years) == [last_year + 1]
        assert connection.scalar(sa.text("SELECT count(*) FROM ohlcv_hourly")) == 2
    assert coverage(daemon.engine) == before
    assert catch_up(daemon) == []


def test_the_integration_log_is_kept_for_as_long_as_somebody_wants(daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    with daemon.engine.begin() as connection:
        connection.exec_driver_sql(
            'INSERT INTO integration_events ("timestamp", event_type, source_system)'
            " SELECT now() - age * interval '1 day', 'heartbeat', 'tickstock' || age FROM unnest('{0,6,8}'::int[]) age"
        )
    monkeypatch.setenv("TICKSTOCK_RETENTION_EVENTS_DAYS", "7")
    assert len(daemon.tick_schedule("retention", "2024-03-09T10:00:00+00:00")) == 1

    result = defs.resolve_job_def("retention").execute_in_process(instance=daemon.instance)

    (output,) = (event for event in result.all_events if event.is_successful_output)
    assert output.event_specific_data.metadata["events_deleted"].value == 1
    with daemon.engine.connect() as connection:
        kept = connection.scalars(sa.text("SELECT source_system FROM integration_events ORDER BY 1"))
        assert list(kept) == ["tickstock0", "tickstock6"]


def test_a_switched_off_schedule_says_so(daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon.write("ohlcv_daily", "NEW", *DAYS)
    monkeypatch.setenv("TICKSTOCK_AUTOMATIONS_OFF", "catch_up")

    assert catch_up(daemon) == []


def test_the_comparison_of_a_session_shows_what_came_live_and_what_the_provider_has(daemon, monkeypatch) -> None:
    day = date(2024, 3, 4)
    theirs = minutes("SYN0001", day, day)
    source = MemorySource([theirs])
    with daemon.engine.begin() as connection:
        write_bars(connection, [theirs[5:]], "live")
    with ReplayServer(source) as server:
        for name, value in {
            "TICKSTOCK_PROVIDER": "polygon",
            "TICKSTOCK_POLYGON_URL": server.url,
            "TICKSTOCK_POLYGON_API_KEY": "replay",
            "TICKSTOCK_POLYGON_CALLS_PER_MINUTE": "0",
        }.items():
            monkeypatch.setenv(name, value)
        result = defs.resolve_job_def("reconciliation").execute_in_process(
            instance=daemon.instance, run_config={"ops": {"compare_minutes": {"config": {"session": "2024-03-04"}}}}
        )

    (output,) = (event for event in result.all_events if event.is_successful_output)
    shown = {name: value.value for name, value in output.event_specific_data.metadata.items()}
    assert (shown["symbols"], shown["symbols_that_differ"], shown["bars_missing"]) == (1, 1, 5)
    assert (shown["bars_extra"], shown["bars_different"]) == (0, 0)
    assert "| SYN0001 | " in shown["differences"]
    observed = daemon.instance.fetch_observations(dg.AssetKey("ohlcv_1min"), limit=5).records
    assert [record.partition_key for record in observed] == ["SYN0001|2024"]
    with daemon.engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM ohlcv_1min")) == len(theirs)
