"""Bars that were written past Dagster: seen once, told once, and analysed."""

import dagster as dg
import pytest
import sqlalchemy as sa

from tickstock_pipeline.defs.automation import MOST_RUNS
from tickstock_pipeline.storage.ingestion import changed_bars

DAYS = ("2024-03-04", "2024-03-05", "2024-03-06")


def analysed(engine: sa.Engine, timeframe: str = "daily") -> set[str]:
    with engine.connect() as connection:
        found = connection.execute(
            sa.text("SELECT symbol FROM analysis_coverage WHERE timeframe = :t AND stale_from IS NULL"),
            {"t": timeframe},
        )
        return {row.symbol for row in found}


def test_bars_of_a_new_symbol_get_a_partition_a_report_roll_ups_and_analysis(daemon) -> None:
    assert daemon.tick("new_bars") == []
    daemon.write("ohlcv_daily", "NEW", *DAYS)

    done = daemon.work_off("new_bars")

    assert "NEW" in daemon.instance.get_dynamic_partitions("symbols")
    assert daemon.reported("ohlcv_daily") == ["NEW|2024"]
    assets = [sorted(key.to_user_string() for key in request.asset_selection) for request in done]
    assert ["indicators_daily", "patterns_daily"] in assets
    assert ["ohlcv_weekly"] in assets
    assert assets.index(["ohlcv_weekly"]) < assets.index(["indicators_weekly", "patterns_weekly"])
    for timeframe in ("daily", "weekly", "monthly"):
        assert analysed(daemon.engine, timeframe) == {"NEW"}
    assert daemon.tick("new_bars") == []
    # the roll-ups are runs of ours, of which Dagster knows
    assert daemon.reported("ohlcv_weekly") == []


def test_more_bars_of_the_same_session_are_analysed_and_not_reported_again(daemon) -> None:
    daemon.write("ohlcv_daily", "NEW", DAYS[0])
    daemon.work_off("new_bars")
    daemon.write("ohlcv_daily", "NEW", *DAYS[1:])

    done = daemon.work_off("new_bars")

    assert {"dagster/asset_partition_range_start": "NEW|2024"}.items() <= done[0].tags.items()
    assert daemon.reported("ohlcv_daily") == ["NEW|2024"]
    with daemon.engine.begin() as connection:
        connection.execute(sa.text("UPDATE reported_bars SET reported_session = reported_session - 1"))
    daemon.write("ohlcv_daily", "NEW", DAYS[0], close=11.5)
    daemon.work_off("new_bars")
    assert daemon.reported("ohlcv_daily") == ["NEW|2024", "NEW|2024"]


def test_bars_that_a_run_of_ours_imported_are_no_news(daemon) -> None:
    daemon.instance.add_dynamic_partitions("symbols", ["AAA", "BBB", "CCC"])
    daemon.materialise("ohlcv_daily", first="AAA|2012", last="CCC|2013")

    assert daemon.work_off("new_bars") == []

    assert daemon.reported("ohlcv_daily") == []
    assert analysed(daemon.engine) == set()


def test_a_transaction_that_commits_late_is_seen_all_the_same(daemon) -> None:
    insert = sa.text(
        "INSERT INTO ohlcv_daily (symbol, date, open, high, low, close, volume)"
        " VALUES (:s, '2024-03-04', 10, 12, 9, 11, 1)"
    )
    with daemon.engine.connect() as early, daemon.engine.connect() as reader:
        early.execute(insert, {"s": "EARLY"})
        daemon.write("ohlcv_daily", "LATER", DAYS[0])
        position, seen = changed_bars(reader, None)
        reader.rollback()
        assert [one.symbol for one in seen] == ["LATER"]
        early.commit()

        position, seen = changed_bars(reader, position)
        reader.rollback()
        assert [one.symbol for one in seen] == ["EARLY"]
        _, seen = changed_bars(reader, position)
        assert seen == []


def test_a_position_of_another_server_means_everything(daemon) -> None:
    daemon.write("ohlcv_daily", "NEW", DAYS[0])
    with daemon.engine.connect() as connection:
        _, seen = changed_bars(connection, "999999999999:999999999999:")
        assert [one.symbol for one in seen] == ["NEW"]


def test_a_repeated_tick_asks_for_the_same_runs_under_the_same_keys(daemon) -> None:
    daemon.write("ohlcv_daily", "NEW", *DAYS)
    cursor = daemon.cursor
    first = daemon.tick("new_bars")
    daemon.cursor = cursor

    # the daemon died before it had stored anything of the tick: the keys keep it from starting the runs twice
    assert first
    assert daemon.tick("new_bars") == []
    assert daemon.reported("ohlcv_daily") == ["NEW|2024"]


def test_what_a_run_is_about_to_do_is_left_to_it(daemon) -> None:
    daemon.instance.add_dynamic_partitions("symbols", ["NEW"])
    daemon.write("ohlcv_daily", "NEW", *DAYS)
    waiting = daemon.run_under_way("indicators_daily", "patterns_daily", first="NEW|2024", last="NEW|2024")

    asked = daemon.work_off("new_bars")

    assert not any(dg.AssetKey("indicators_daily") in request.asset_selection for request in asked)
    daemon.instance.report_run_canceled(waiting)
    daemon.work_off("new_bars")
    assert analysed(daemon.engine) == {"NEW"}


def test_what_an_import_job_works_on_is_left_to_it(daemon) -> None:
    daemon.write("ohlcv_daily", "NEW", *DAYS)
    daemon.execute(
        "INSERT INTO import_jobs (job_id, job_type, message, source, status)"
        " VALUES ('job', 'historical_load', '{}', 'http', 'running')"
    )
    daemon.execute("INSERT INTO import_job_symbols (job_id, symbol, position) VALUES ('job', 'NEW', 1)")

    assert daemon.tick("new_bars") == []

    daemon.execute("UPDATE import_jobs SET status = 'completed', completed_at = now()")
    daemon.work_off("new_bars")
    assert analysed(daemon.engine) == {"NEW"}


def test_what_a_live_worker_is_about_to_analyse_is_left_to_it_while_it_lives(daemon) -> None:
    daemon.write("ohlcv_1min", "LIVE", "2024-03-04T15:00Z")
    daemon.execute(
        "INSERT INTO live_backlog (symbol, timeframe, bar_time) VALUES ('LIVE', '1min', '2024-03-04T15:00Z')"
    )
    daemon.execute("INSERT INTO live_workers (worker, expires_at) VALUES ('one', now() + interval '1 minute')")

    daemon.work_off("new_bars")

    assert daemon.reported("ohlcv_1min") == ["LIVE|2024"]
    assert analysed(daemon.engine, "1min") == set()
    daemon.execute("UPDATE live_workers SET expires_at = now()")
    daemon.work_off("new_bars")
    assert analysed(daemon.engine, "1min") == {"LIVE"}
    assert analysed(daemon.engine, "hourly") == {"LIVE"}


def test_hundreds_of_symbols_at_once_are_worked_off_in_bounded_portions(daemon) -> None:
    daemon.execute(
        "INSERT INTO ohlcv_daily (symbol, date, open, high, low, close, volume)"
        " SELECT 'S' || to_char(n, 'FM0000'), cast(:day AS date), 10, 12, 9, 11, 100 FROM generate_series(1, 520) n",
        day=DAYS[0],
    )

    first = daemon.tick("new_bars")

    assert len(first) == MOST_RUNS
    # those were not run: the next ticks report the rest and ask for more as there is room
    ticks = 1
    while len(daemon.reported("ohlcv_daily")) < 520:
        daemon.tick("new_bars")
        ticks += 1
        assert ticks <= 3
    assert sorted(daemon.reported("ohlcv_daily")) == [f"S{number:04}|2024" for number in range(1, 521)]
    assert first[0].tags["dagster/asset_partition_range_start"] == "S0001|2024"
    assert first[0].tags["dagster/asset_partition_range_end"] == "S0050|2024"


def test_it_can_be_switched_off(daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon.write("ohlcv_daily", "NEW", *DAYS)
    monkeypatch.setenv("TICKSTOCK_AUTOMATIONS_OFF", "new_bars")

    assert daemon.tick("new_bars") == []

    assert daemon.reported("ohlcv_daily") == []
