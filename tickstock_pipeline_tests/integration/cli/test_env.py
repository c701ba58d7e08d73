"""``tickstock env``: what a shell evaluates, and where the values come from."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from tickstock_pipeline.runtime.connections import check_database, check_redis
from tickstock_pipeline.runtime.instance import instance_lock
from tickstock_pipeline.runtime.services import running_services
from tickstock_pipeline.settings import Settings

Run = Callable[..., Any]


def shell(script: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """``script`` in which ``tickstock`` is a command, without this process's settings."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TICKSTOCK_")}
    python_path = os.pathsep.join(path for path in sys.path if path)
    return subprocess.run(
        ["bash", "-c", f'tickstock() {{ "{sys.executable}" -m tickstock_pipeline "$@"; }}\n{script}'],
        env={**environment, "PYTHONPATH": python_path, **variables},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_shell_can_evaluate_it_whatever_the_values_hold(database_url: str, redis_url: str, tmp_path: Path) -> None:
    home = tmp_path / 'it\'s "here" $HOME `x`'
    home.mkdir()

    outcome = shell(
        'eval "$(tickstock env)" && printf "%s\\n" "$TICKSTOCK_DATABASE_URL" "$TICKSTOCK_REDIS_URL" '
        '"$TICKSTOCK_HOME" "$DAGSTER_HOME"',
        tmp_path,
        TICKSTOCK_DATABASE_URL=database_url,
        TICKSTOCK_REDIS_URL=redis_url,
        TICKSTOCK_HOME=str(home),
    )

    assert outcome.stdout.splitlines() == [database_url, redis_url, str(home), str(home / "dagster")]


def test_with_nothing_to_show_nothing_is_written_to_stdout(tmp_path: Path) -> None:
    outcome = shell("tickstock env", tmp_path)

    assert outcome.returncode == 1
    assert outcome.stdout == ""
    assert "Nothing runs in" in outcome.stderr
    assert "tickstock up" in outcome.stderr
    assert "Traceback" not in outcome.stderr


def test_the_running_instance_is_found_without_any_url(settings: Settings, tickstock: Run, monkeypatch: Any) -> None:
    monkeypatch.setenv("TICKSTOCK_HOME", str(settings.home))

    with running_services(settings):
        found = tickstock("env", "--json").json()

    assert found["TICKSTOCK_DATABASE_URL"] == settings.database_dsn()
    assert found["TICKSTOCK_REDIS_URL"] == settings.redis_dsn()
    assert found["TICKSTOCK_DAGSTER_DATABASE_URL"] == settings.dagster_dsn()
    check_database(found["TICKSTOCK_DATABASE_URL"])
    check_redis(found["TICKSTOCK_REDIS_URL"])
    assert tickstock("env").exit_code == 1


def test_the_programs_that_back_up_are_those_of_the_embedded_server(settings: Settings, tmp_path: Path) -> None:
    with running_services(settings):
        outcome = shell(
            'eval "$(tickstock env)" && psql --no-psqlrc -Atc "SHOW server_version" '
            "&& pg_dump --file=dump.sql && tail dump.sql",
            tmp_path,
            TICKSTOCK_HOME=str(settings.home),
        )

    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.startswith("18.")
    assert "PostgreSQL database dump complete" in outcome.stdout


def test_a_configured_url_wins_over_the_running_instance(settings: Settings, tickstock: Run, monkeypatch: Any) -> None:
    monkeypatch.setenv("TICKSTOCK_HOME", str(settings.home))
    monkeypatch.setenv("TICKSTOCK_REDIS_URL", "redis://elsewhere:6379/3")

    with running_services(settings):
        found = tickstock("env", "--json").json()

    assert found["TICKSTOCK_REDIS_URL"] == "redis://elsewhere:6379/3"
    assert found["TICKSTOCK_DATABASE_URL"] == settings.database_dsn()


def test_an_instance_that_is_still_starting_is_told_from_none(tickstock: Run, tmp_path: Path) -> None:
    with instance_lock(tmp_path / "state"):
        outcome = tickstock("env")

    assert (outcome.exit_code, outcome.stdout) == (1, "")
    assert "is starting" in outcome.stderr


@pytest.mark.usefixtures("database_url")
def test_a_database_alone_is_not_enough(tickstock: Run, database_url: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("TICKSTOCK_DATABASE_URL", database_url)

    outcome = tickstock("env")

    assert (outcome.exit_code, outcome.stdout) == (1, "")
    assert "TICKSTOCK_REDIS_URL is not set" in outcome.stderr


def test_dagsters_configuration_is_missed_only_where_it_is_missing(configured: Run, tmp_path: Path) -> None:
    assert "has no dagster.yaml yet" in configured("env").stderr

    (tmp_path / "state" / "dagster").mkdir(parents=True)
    (tmp_path / "state" / "dagster" / "dagster.yaml").touch()
    assert configured("env").stderr == ""


def test_unusable_settings_are_a_message_and_not_a_trace(tickstock: Run, monkeypatch: Any) -> None:
    monkeypatch.setenv("TICKSTOCK_DATABASE_URL", SecretStr("mysql://u:s3cr3t@h/d").get_secret_value())

    outcome = tickstock("env")

    assert outcome.exit_code == 1
    assert "TICKSTOCK_DATABASE_URL: Value error, must begin with postgresql://" in outcome.stderr
    assert "s3cr3t" not in outcome.stderr
