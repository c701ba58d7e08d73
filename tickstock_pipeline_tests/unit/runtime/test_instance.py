"""One instance per state directory."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tickstock_pipeline.errors import AlreadyRunningError
from tickstock_pipeline.runtime.instance import (
    RunningServices,
    ServiceRecord,
    instance_lock,
    is_running,
    published_services,
    read_running_services,
    record_process,
)

SERVICES = RunningServices(
    pid=1,
    database_url="postgresql://user:pass-phrase@127.0.0.1:5433/db",
    redis_url="redis://:pass-phrase@127.0.0.1:6380/0",
    processes={"postgres": ServiceRecord(2, 5433)},
)
HOLD_THE_LOCK = (
    "import sys; from pathlib import Path; from tickstock_pipeline.runtime.instance import instance_lock\n"
    "with instance_lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
)


def start_holder(home: Path) -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_THE_LOCK, str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def end(holder: subprocess.Popen[str]) -> None:
    with holder:
        holder.kill()


def test_a_second_instance_is_refused_with_the_first_ones_pid(tmp_path: Path) -> None:
    holder = start_holder(tmp_path)
    try:
        with pytest.raises(AlreadyRunningError) as caught, instance_lock(tmp_path):
            pass
    finally:
        end(holder)

    assert f"pid {holder.pid}" in caught.value.message
    assert str(tmp_path) in caught.value.message
    assert "TICKSTOCK_HOME" in caught.value.advice


def test_an_instance_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    end(start_holder(tmp_path))

    with instance_lock(tmp_path):
        assert (tmp_path / "instance.lock").read_text(encoding="ascii") == f"{os.getpid()}\n"


def test_a_child_that_outlives_the_instance_does_not_hold_its_lock(tmp_path: Path) -> None:
    with instance_lock(tmp_path):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    with child, instance_lock(tmp_path):
        child.kill()


def test_two_state_directories_are_two_instances(tmp_path: Path) -> None:
    with instance_lock(tmp_path / "a"), instance_lock(tmp_path / "b"):
        assert is_running(tmp_path / "a")
        assert is_running(tmp_path / "b")


def test_what_is_published_can_be_read_while_the_instance_runs(tmp_path: Path) -> None:
    with instance_lock(tmp_path), published_services(tmp_path, SERVICES):
        assert read_running_services(tmp_path) == SERVICES
        assert stat.S_IMODE((tmp_path / "services.json").stat().st_mode) == 0o600

    assert read_running_services(tmp_path) is None
    assert not (tmp_path / "services.json").exists()


def test_a_process_can_be_added_to_what_is_published(tmp_path: Path) -> None:
    with instance_lock(tmp_path), published_services(tmp_path, SERVICES):
        record_process(tmp_path, "webserver", ServiceRecord(3, 3000))
        services = read_running_services(tmp_path)

    assert services is not None
    assert services.processes == {"postgres": ServiceRecord(2, 5433), "webserver": ServiceRecord(3, 3000)}


def test_the_record_of_a_killed_instance_is_not_believed(tmp_path: Path) -> None:
    with instance_lock(tmp_path), published_services(tmp_path, SERVICES):
        left_behind = (tmp_path / "services.json").read_text(encoding="utf-8")
    (tmp_path / "services.json").write_text(left_behind, encoding="utf-8")

    assert read_running_services(tmp_path) is None


def test_a_state_directory_that_never_existed_has_no_instance(tmp_path: Path) -> None:
    assert read_running_services(tmp_path / "nowhere") is None


def test_passwords_do_not_show_when_services_are_printed() -> None:
    assert "pass-phrase" not in repr(SERVICES)
