"""``tickstock doctor``: each thing that can be wrong is found, named and mended by its advice."""

import socket
from collections.abc import Callable
from pathlib import Path
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
from tickstock_pipeline.storage.tables import INDICATOR_DEFINITIONS

Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def _free_ports(monkeypatch: pytest.MonkeyPatch, clean_environment: None) -> None:
    for variable in ("TICKSTOCK_WEB_PORT", "TICKSTOCK_GATEWAY_PORT"):
        monkeypatch.setenv(variable, str(any_free_port()))


def findings(outcome: Any) -> dict[str, dict[str, str]]:
    """The findings of a run by the name of the check."""
    document = outcome.json()
    found = {finding["check"]: finding for finding in document["findings"]}
    assert all(finding["advice"] for finding in found.values() if finding["level"] != "ok")
    assert document["ok"] == (outcome.exit_code == 0)
    return found


def test_a_machine_before_its_first_start_has_no_problem(tickstock: Run) -> None:
    outcome = tickstock("doctor", "--json")

    assert outcome.exit_code == 0
    found = findings(outcome)
    assert {name for name, finding in found.items() if finding["level"] != "ok"} == {"PostgreSQL", "Redis"}
    assert "postgres" in found["PostgreSQL program"]["text"]
    assert "tickstock up" in found["PostgreSQL"]["advice"]


def test_an_installation_in_order_is_all_well(configured: Run) -> None:
    outcome = configured("doctor")

    assert (outcome.exit_code, outcome.stderr) == (0, "")
    assert "\x1b" not in outcome.stdout
    assert "✗" not in outcome.stdout
    assert outcome.stdout.endswith("All is well.\n")
    assert findings(configured("doctor", "--json"))["PostgreSQL program"]["text"].startswith("not needed")


def test_it_lists_every_setting_and_no_secret(configured: Run, settings: Settings, tmp_path: Path) -> None:
    people, programs = configured("doctor"), configured("doctor", "--json")

    listed = programs.json()["settings"]
    assert set(listed) == {f"TICKSTOCK_{name.upper()}" for name in Settings.model_fields}
    assert listed["TICKSTOCK_HOME"] == str(tmp_path / "state")
    assert listed["TICKSTOCK_DATABASE_URL"] == "set, hidden"
    assert listed["TICKSTOCK_SAMPLE_FILE"] is None
    assert all(variable in people.stdout for variable in listed)
    for url in (settings.database_dsn(), settings.redis_dsn()):
        password = url.rpartition("@")[0].rpartition(":")[2]
        assert password not in people.stdout + programs.stdout


def test_unusable_settings_are_a_finding_among_others(tickstock: Run, monkeypatch: Any) -> None:
    monkeypatch.setenv("TICKSTOCK_WEB_PORT", "http")
    monkeypatch.setenv("TICKSTOCK_REDIS_URL", "redis://:s3cr3t@h:1/0")

    outcome = tickstock("doctor", "--json")

    assert outcome.exit_code == 1
    assert "TICKSTOCK_WEB_PORT" in findings(outcome)["Settings"]["text"]
    assert findings(outcome)["Python"]["level"] == "ok"
    assert "s3cr3t" not in outcome.stdout
    assert tickstock("doctor").exit_code == 1


def test_a_web_port_that_another_program_holds(tickstock: Run, monkeypatch: Any) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        monkeypatch.setenv("TICKSTOCK_WEB_PORT", str(port))
        outcome = tickstock("doctor", "--json")

    assert outcome.exit_code == 1
    assert f"Port {port}" in findings(outcome)["Web port"]["text"]
    assert "TICKSTOCK_WEB_PORT" in findings(outcome)["Web port"]["advice"]


def test_the_web_port_of_the_running_instance_is_in_order(settings: Settings, tickstock: Run, monkeypatch: Any) -> None:
    monkeypatch.setenv("TICKSTOCK_HOME", str(settings.home))
    with socket.socket() as listener, running_services(settings):
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        monkeypatch.setenv("TICKSTOCK_WEB_PORT", str(port))
        record_process(settings.home, "webserver", ServiceRecord(4711, port))
        found = findings(tickstock("doctor", "--json"))

    assert found["Web port"]["text"] == f"{port}, held by the running instance (pid 4711)"
    assert found["PostgreSQL"]["level"] == "ok"


def test_programs_that_are_not_where_they_were_said_to_be(tickstock: Run, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("TICKSTOCK_POSTGRES_BIN", str(tmp_path))
    monkeypatch.setenv("TICKSTOCK_REDIS_SERVER", str(tmp_path / "redis-server"))

    outcome = tickstock("doctor", "--json")

    assert outcome.exit_code == 1
    assert "TICKSTOCK_POSTGRES_BIN" in findings(outcome)["PostgreSQL program"]["advice"]
    assert "TICKSTOCK_REDIS_SERVER" in findings(outcome)["Redis program"]["advice"]


def test_servers_that_do_not_answer(tickstock: Run, monkeypatch: Any) -> None:
    port = any_free_port()
    monkeypatch.setenv("TICKSTOCK_DATABASE_URL", f"postgresql://u:s3cr3t@127.0.0.1:{port}/d")
    monkeypatch.setenv("TICKSTOCK_REDIS_URL", f"redis://:s3cr3t@127.0.0.1:{port}/0")

    outcome = tickstock("doctor", "--json")

    assert outcome.exit_code == 1
    found = findings(outcome)
    assert "connection refused" in found["PostgreSQL"]["text"]
    assert "connection refused" in found["Redis"]["text"]
    assert "Schema" not in found
    assert "s3cr3t" not in outcome.stdout


def test_a_schema_that_is_missing(tickstock: Run, empty_database_url: str, redis_url: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("TICKSTOCK_DATABASE_URL", empty_database_url)
    monkeypatch.setenv("TICKSTOCK_REDIS_URL", redis_url)

    outcome = tickstock("doctor", "--json")

    assert outcome.exit_code == 1
    assert findings(outcome)["Schema"]["advice"] == "Run `tickstock db upgrade`."


def test_a_definition_that_cannot_run(configured: Run, engine: sa.Engine) -> None:
    rsi = INDICATOR_DEFINITIONS.c.name == "rsi"
    with engine.begin() as connection:
        connection.execute(sa.update(INDICATOR_DEFINITIONS).where(rsi).values(function="no_such_function"))

    outcome = configured("doctor", "--json")

    assert outcome.exit_code == 1
    assert "rsi" in findings(outcome)["Definitions"]["text"]
    assert "no_such_function" in findings(outcome)["Definitions"]["text"]

    with engine.begin() as connection:
        connection.execute(sa.update(INDICATOR_DEFINITIONS).where(rsi).values(enabled=False))
    assert configured("doctor", "--json").exit_code == 0


def test_data_that_need_attention_are_warnings(configured: Run, engine: sa.Engine) -> None:
    prices, volume = np.array([10.0, 11.0]), np.zeros(2, np.int64)
    time = np.array(["2013-01-02", "2013-01-03"], "datetime64[us]")
    with engine.begin() as connection:
        write_bars(connection, [Bars("AAPL", Timeframe.DAILY, time, prices, prices, prices, prices, volume)], "test")
        refused = RefusedBar("AAPL", Timeframe.DAILY, "2013-01-04", "high is below low", {})
        record_refused(connection, [refused], "test")
        failed = Provenance("XYZ", Timeframe.DAILY, 2013, "test", "failed", 0, error="no such symbol")
        record_provenance(connection, [failed])

    outcome = configured("doctor", "--json")

    assert outcome.exit_code == 0
    found = findings(outcome)
    assert found["Analysis"]["text"] == "2 daily bars in 1 partitions have none that holds."
    assert found["Imports"]["text"] == "1 partitions failed the last time."
    assert "high is below low" in found["Quarantine"]["text"]
    assert {found[check]["level"] for check in ("Analysis", "Imports", "Quarantine")} == {"warning"}
    people = configured("doctor")
    assert "! Analysis" in people.stdout
    assert people.stdout.endswith("Problems: 0, warnings: 3.\n")


def test_a_state_directory_that_cannot_be_created(tickstock: Run, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TICKSTOCK_HOME", str(tmp_path / "file" / "state"))

    outcome = tickstock("doctor", "--json")

    assert outcome.exit_code == 1
    assert "cannot be written to" in findings(outcome)["State directory"]["text"]
