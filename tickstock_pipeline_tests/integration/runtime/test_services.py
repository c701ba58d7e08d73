"""The services of one instance: started or checked, found by others, gone with their supervisor."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg2
import pytest
from pydantic import SecretStr

from tickstock_pipeline.errors import (
    AlreadyRunningError,
    BinaryNotFoundError,
    DatabaseLoginError,
    DatabaseUnreachableError,
    RedisLoginError,
    RedisUnreachableError,
    TickstockError,
)
from tickstock_pipeline.runtime.connections import check_database, check_redis
from tickstock_pipeline.runtime.instance import read_running_services
from tickstock_pipeline.runtime.ports import any_free_port
from tickstock_pipeline.runtime.process import ServiceProcess
from tickstock_pipeline.runtime.services import running_services
from tickstock_pipeline.runtime.supervisor import Supervisor
from tickstock_pipeline.settings import Settings

pytestmark = pytest.mark.usefixtures("clean_environment")

RUN_THE_SERVICES = """
import sys
from tickstock_pipeline.runtime.services import running_services
from tickstock_pipeline.settings import Settings
with running_services(Settings.load(_env_file=None, home=sys.argv[1])):
    print("running", flush=True)
    sys.stdin.read()
"""


def embedded_settings(home: Path) -> Settings:
    return Settings.load(_env_file=None, home=home)


@pytest.fixture
def supervisor_process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another program that runs the services of ``tmp_path``."""
    with subprocess.Popen(
        [sys.executable, "-c", RUN_THE_SERVICES, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        yield process
        process.kill()


def test_both_services_are_started_found_and_stopped(tmp_path: Path) -> None:
    with running_services(embedded_settings(tmp_path)) as live:
        check_database(live.database_dsn())
        check_redis(live.redis_dsn())
        found = read_running_services(tmp_path)
        assert found is not None
        assert (found.database_url, found.redis_url) == (live.database_dsn(), live.redis_dsn())
        assert found.pid == os.getpid()
        assert all(psutil.pid_exists(record.pid) for record in found.processes.values())

    assert set(found.processes) == {"postgres", "redis"}
    assert not any(psutil.pid_exists(record.pid) for record in found.processes.values())
    assert read_running_services(tmp_path) is None


def test_what_is_configured_is_not_started(settings: Settings) -> None:
    with running_services(settings) as live:
        found = read_running_services(settings.home)

        assert found is not None
        assert found.processes == {}
        assert live.database_dsn() == settings.database_dsn()
        assert live.redis_dsn() == settings.redis_dsn()


def test_a_process_that_the_caller_added_is_stopped_with_the_services(settings: Settings) -> None:
    with Supervisor() as supervisor, running_services(settings, supervisor):
        worker = ServiceProcess("worker", [sys.executable, "-c", "input()"], log_file=settings.home / "logs/worker.log")
        supervisor.start(worker)

    assert not worker.is_alive


def test_a_second_instance_of_the_same_state_directory_is_refused(
    supervisor_process: subprocess.Popen[str], tmp_path: Path
) -> None:
    with (
        pytest.raises(AlreadyRunningError, match=f"pid {supervisor_process.pid}"),
        running_services(embedded_settings(tmp_path)),
    ):
        pass

    found = read_running_services(tmp_path)
    assert found is not None
    check_database(found.database_url)


def test_a_killed_supervisor_leaves_no_server_and_the_next_start_works(
    supervisor_process: subprocess.Popen[str], tmp_path: Path
) -> None:
    found = read_running_services(tmp_path)
    assert found is not None
    execute(found.database_url, "CREATE TABLE kept ()")
    servers = [psutil.Process(record.pid) for record in found.processes.values()]

    supervisor_process.send_signal(signal.SIGKILL)

    _, alive = psutil.wait_procs(servers, timeout=20)
    assert alive == []
    assert (tmp_path / "services.json").exists()
    assert read_running_services(tmp_path) is None
    with running_services(embedded_settings(tmp_path)) as live:
        execute(live.database_dsn(), "DROP TABLE kept")


def test_an_orderly_end_of_the_supervisor_leaves_nothing(
    supervisor_process: subprocess.Popen[str], tmp_path: Path
) -> None:
    found = read_running_services(tmp_path)
    assert found is not None

    supervisor_process.communicate()

    assert supervisor_process.returncode == 0
    assert not any(psutil.pid_exists(record.pid) for record in found.processes.values())
    assert not (tmp_path / "services.json").exists()


def test_the_error_of_a_body_ends_the_services_and_is_not_hidden(settings: Settings) -> None:
    with pytest.raises(KeyboardInterrupt), running_services(settings):
        raise KeyboardInterrupt

    assert read_running_services(settings.home) is None


def test_a_redis_that_cannot_start_takes_the_database_down_again(tmp_path: Path) -> None:
    settings = Settings.load(_env_file=None, home=tmp_path, redis_server=tmp_path / "nowhere")

    with pytest.raises(BinaryNotFoundError), running_services(settings):
        pass

    assert not (tmp_path / "postgres/data/postmaster.pid").exists()
    assert read_running_services(tmp_path) is None


def test_services_json_is_readable_json_with_the_port(
    supervisor_process: subprocess.Popen[str], tmp_path: Path
) -> None:
    content = json.loads((tmp_path / "services.json").read_text(encoding="utf-8"))

    assert content["pid"] == supervisor_process.pid
    assert f":{content['processes']['postgres']['port']}/" in content["database_url"]
    assert f":{content['processes']['redis']['port']}/" in content["redis_url"]


SECRET = "s3cr3t-pass"


def refusal(settings: Settings) -> TickstockError:
    with pytest.raises(TickstockError) as caught, running_services(settings):
        pass
    assert SECRET not in str(caught.value)
    assert caught.value.advice
    return caught.value


def with_urls(settings: Settings, *, database_url: str = "", redis_url: str = "") -> Settings:
    return settings.with_services(
        database_url=database_url or settings.database_dsn(), redis_url=redis_url or settings.redis_dsn()
    )


def test_a_database_where_nothing_listens_is_unreachable(settings: Settings) -> None:
    port = any_free_port()
    error = refusal(with_urls(settings, database_url=f"postgresql://user:{SECRET}@127.0.0.1:{port}/db"))

    assert isinstance(error, DatabaseUnreachableError)
    assert f"127.0.0.1:{port}" in error.message
    assert "connection refused" in error.message


def test_a_database_on_an_unknown_host_is_unreachable(settings: Settings) -> None:
    error = refusal(with_urls(settings, database_url=f"postgresql://user:{SECRET}@host.invalid:5432/db"))

    assert isinstance(error, DatabaseUnreachableError)
    assert "host.invalid:5432" in error.message


def test_a_wrong_database_password_is_a_login_error(settings: Settings) -> None:
    place = settings.database_dsn().rpartition("@")[2]
    error = refusal(with_urls(settings, database_url=f"postgresql://tickstock:{SECRET}@{place}"))

    assert isinstance(error, DatabaseLoginError)
    assert place.partition("/")[0] in error.message
    assert "password authentication failed" in error.message


def test_a_missing_database_is_a_login_error(settings: Settings) -> None:
    server = settings.database_dsn().rpartition("/")[0]
    error = refusal(with_urls(settings, database_url=f"{server}/no_such_database"))

    assert isinstance(error, DatabaseLoginError)
    assert "no_such_database" in error.message


@pytest.mark.parametrize("url", [f"postgresql://user:{SECRET}@ho st/db", f"postgresql://user:{SECRET}@host:port/db"])
def test_a_malformed_database_url_is_unreachable_and_not_quoted(settings: Settings, url: str) -> None:
    assert isinstance(refusal(with_urls(settings, database_url=url)), DatabaseUnreachableError)


def test_a_redis_where_nothing_listens_is_unreachable(settings: Settings) -> None:
    port = any_free_port()
    error = refusal(with_urls(settings, redis_url=f"redis://:{SECRET}@127.0.0.1:{port}/0"))

    assert isinstance(error, RedisUnreachableError)
    assert f"127.0.0.1:{port} does not answer: connection refused" in error.message


@pytest.mark.parametrize("login", [f":{SECRET}@", f"somebody:{SECRET}@", ""])
def test_a_wrong_or_missing_redis_password_is_a_login_error(settings: Settings, login: str) -> None:
    place = settings.redis_dsn().rpartition("@")[2]
    error = refusal(with_urls(settings, redis_url=f"redis://{login}{place}"))

    assert isinstance(error, RedisLoginError)
    assert place.partition("/")[0] in error.message


def test_a_malformed_redis_url_is_unreachable_and_not_quoted(settings: Settings) -> None:
    assert isinstance(refusal(with_urls(settings, redis_url=f"redis://:{SECRET}@host:port/0")), RedisUnreachableError)


def execute(url: str, statement: str) -> None:
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
    finally:
        connection.close()


def test_secret_urls_are_not_shown_by_settings(settings: Settings) -> None:
    shown = repr(with_urls(settings, redis_url=f"redis://:{SECRET}@127.0.0.1:1/0"))

    assert SECRET not in shown
    assert isinstance(settings.database_url, SecretStr)
