"""``tickstock status``: services, rows, coverage and what went wrong, for people and for programs."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from tickstock_pipeline.market.bar import Bars, RefusedBar
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.runtime.instance import ServiceRecord, record_process
from tickstock_pipeline.runtime.ports import any_free_port
from tickstock_pipeline.runtime.services import running_services
from tickstock_pipeline.settings import Settings
from tickstock_pipeline.storage.bars import write_bars
from tickstock_pipeline.storage.provenance import Provenance, record_provenance
from tickstock_pipeline.storage.quarantine import record_refused
from tickstock_pipeline.storage.schema import head_revision
from tickstock_pipeline.storage.tables import INDICATOR_DEFINITIONS

Run = Callable[..., Any]


def write_daily_bars(connection: sa.Connection, *days: str) -> None:
    prices = np.full(len(days), 10.0)
    time = np.array(days, "datetime64[us]")
    volume = np.zeros(len(days), np.int64)
    write_bars(connection, [Bars("AAPL", Timeframe.DAILY, time, prices, prices, prices, prices, volume)], "test")


@pytest.fixture
def filled(engine: sa.Engine) -> sa.Engine:
    """Bars without analysis, a refused bar, a failed import, an event of the consumer's."""
    with engine.begin() as connection:
        write_daily_bars(connection, "2012-12-31", "2013-01-02", "2013-01-03")
        refused = RefusedBar("AAPL", Timeframe.DAILY, "2013-01-04", "high is below low", {"high": 1.0})
        record_refused(connection, [refused], "test")
        failed = Provenance("XYZ", Timeframe.DAILY, 2013, "test", "failed", 0, error="no such symbol")
        record_provenance(connection, [failed, Provenance("AAPL", Timeframe.DAILY, 2013, "test", "complete", 2)])
        connection.exec_driver_sql(
            "SELECT log_integration_event(gen_random_uuid(), 'pattern_detected', 'TickStockAppV2', 'EVENT_RECEIVED', "
            "'tickstock.events.patterns', 'AAPL', 'doji', 0.5)"
        )
    return engine


def services(outcome: Any) -> dict[str, dict[str, Any]]:
    return {service["name"]: service for service in outcome.json()["services"]}


def test_configured_servers_are_shown_with_their_place(configured: Run, settings: Settings) -> None:
    outcome = configured("status", "--json")

    assert outcome.exit_code == 0
    found = services(outcome)
    assert found["PostgreSQL"]["state"] == found["Redis"]["state"] == "up"
    assert f":{found['PostgreSQL']['port']}/" in settings.database_dsn()
    assert found["PostgreSQL"]["pid"] is None
    assert found["Dagster daemon"]["state"] == "not started here"
    assert outcome.json()["schema"] == {"revision": head_revision(), "head": head_revision()}


@pytest.mark.usefixtures("filled")
def test_programs_get_everything_in_one_document(configured: Run) -> None:
    document = configured("status", "--json").json()

    assert document["rows"]["ohlcv_daily"] == 3
    assert document["rows"]["quarantined_bars"] == 1
    (daily,) = [row for row in document["coverage"] if row["timeframe"] == "daily"]
    assert daily == {
        "timeframe": "daily",
        "symbols": 1,
        "bars": 3,
        "first": "2012-12-31",
        "last": "2013-01-03",
        "bars_without_analysis": 3,
        "stale_partitions": 2,
        "problem": "",
    }
    assert [row["timeframe"] for row in document["coverage"]] == list(Timeframe)
    (refused,) = document["quarantined"]
    assert (refused["timeframe"], refused["reason"], refused["bars"]) == ("daily", "high is below low", 1)
    assert document["imports"]["outcomes"] == {"complete": 1, "failed": 1}
    (failed,) = document["failed_imports"]
    assert (failed["symbol"], failed["year"], failed["error"]) == ("XYZ", 2013, "no such symbol")
    (event,) = document["events"]
    assert (event["source_system"], event["checkpoint"]) == ("TickStockAppV2", "EVENT_RECEIVED")
    assert event["timestamp"].endswith("+00:00")
    assert document["error"] is None


@pytest.mark.usefixtures("filled")
def test_people_get_tables(configured: Run) -> None:
    outcome = configured("status")

    assert (outcome.exit_code, outcome.stderr) == (0, "")
    assert "\x1b" not in outcome.stdout
    lines = [" ".join(line.split()) for line in outcome.stdout.splitlines()]
    assert "daily 1 3 2012-12-31 2013-01-03 3 in 2 partitions" in lines
    assert "ohlcv_daily 3" in lines
    assert any(line.startswith("Partitions by their last import: 1 complete, 1 failed;") for line in lines)
    assert "XYZ daily 2013 test no such symbol" in lines
    assert any(line.startswith("daily high is below low 1 1 ") for line in lines)
    assert any(line.endswith(" TickStockAppV2 EVENT_RECEIVED AAPL doji") for line in lines)


def test_definitions_that_cannot_run_together_do_not_hide_the_rest(configured: Run, filled: sa.Engine) -> None:
    with filled.begin() as connection:
        columns = [column for column in INDICATOR_DEFINITIONS.c if column.name not in {"id", "name"}]
        row = connection.execute(sa.select(*columns).where(INDICATOR_DEFINITIONS.c.name == "sma_5")).mappings().one()
        connection.execute(sa.insert(INDICATOR_DEFINITIONS), {**row, "name": "macd_signal"})

    (daily,) = [row for row in configured("status", "--json").json()["coverage"] if row["timeframe"] == "daily"]

    assert (daily["bars"], daily["bars_without_analysis"]) == (3, None)
    assert "macd_signal" in daily["problem"]
    assert "macd_signal" in configured("status").stdout


def test_the_processes_of_the_running_instance_are_shown(tickstock: Run, settings: Settings, monkeypatch: Any) -> None:
    monkeypatch.setenv("TICKSTOCK_HOME", str(settings.home))
    with running_services(settings):
        record_process(settings.home, "daemon", ServiceRecord(os.getpid()))
        record_process(settings.home, "code-server", ServiceRecord(2**22 + 1))
        outcome = tickstock("status", "--json")
        shown = tickstock("status")

    assert outcome.exit_code == 1
    assert outcome.json()["pid"] == os.getpid()
    found = services(outcome)
    assert (found["Dagster daemon"]["state"], found["Dagster daemon"]["pid"]) == ("up", os.getpid())
    assert found["Dagster code server"]["state"] == "down"
    assert found["Dagster webserver"]["state"] == "not started here"
    assert shown.exit_code == 1
    assert "Down: Dagster code server." in shown.stderr


def test_with_nothing_running_it_says_so(tickstock: Run) -> None:
    outcome = tickstock("status")

    assert (outcome.exit_code, outcome.stdout) == (1, "")
    assert "Nothing runs in" in outcome.stderr
    assert "tickstock up" in outcome.stderr


def test_with_nothing_running_programs_still_get_a_document(tickstock: Run) -> None:
    outcome = tickstock("status", "--json")

    assert outcome.exit_code == 1
    assert {service["state"] for service in outcome.json()["services"]} == {"not started here"}
    assert outcome.json()["rows"] is None
    assert "Nothing runs in" in outcome.json()["error"]


def test_a_database_that_is_down_is_shown_without_its_password(tickstock: Run, monkeypatch: Any) -> None:
    port = any_free_port()
    monkeypatch.setenv("TICKSTOCK_DATABASE_URL", f"postgresql://u:s3cr3t@127.0.0.1:{port}/d")

    people, programs = tickstock("status"), tickstock("status", "--json")

    assert (people.exit_code, programs.exit_code) == (1, 1)
    assert "connection refused" in people.stdout
    assert "connection refused" in people.stderr
    assert services(programs)["PostgreSQL"]["state"] == "down"
    assert "s3cr3t" not in people.stdout + people.stderr + programs.stdout


@pytest.mark.parametrize("version", ["0000", "9999"])
def test_another_schema_is_refused(configured: Run, engine: sa.Engine, version: str) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :version"), {"version": version})

    people, programs = configured("status"), configured("status", "--json")

    assert (people.exit_code, programs.exit_code) == (1, 1)
    assert f"schema version {version}" in people.stderr
    assert programs.json()["schema"] == {"revision": version, "head": head_revision()}
    assert programs.json()["rows"] is None


def test_redis_that_is_down_fails_it_although_the_data_are_shown(configured: Run, monkeypatch: Any) -> None:
    monkeypatch.setenv("TICKSTOCK_REDIS_URL", f"redis://127.0.0.1:{any_free_port()}/0")

    outcome = configured("status")

    assert outcome.exit_code == 1
    assert "ohlcv_daily" in outcome.stdout
    assert "Down: Redis." in outcome.stderr
