"""A supervised child process, and several of them."""

import os
import re
import signal
import sys
from pathlib import Path

import psutil
import pytest

from tickstock_pipeline.errors import DiskFullError, ServiceError
from tickstock_pipeline.runtime.process import ServiceProcess
from tickstock_pipeline.runtime.supervisor import Supervisor

# Says "ready" once its signal handlers are in place.
FOREVER = "print('ready', flush=True); import signal; signal.pause()"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + FOREVER


def parent_of(child: str, *, new_session: bool = False) -> str:
    """Code of a process that starts another, says its pid once that is ready, and waits."""
    return (
        f"import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', {child!r}], "
        f"stdout=subprocess.PIPE, start_new_session={new_session}); child.stdout.readline();"
        f"print('child', child.pid, flush=True); {FOREVER}"
    )


def child_of(process: ServiceProcess) -> psutil.Process:
    return psutil.Process(int(re.findall(r"child (\d+)", "\n".join(process.log_tail()))[0]))


def has_ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def python(code: str, tmp_path: Path, *, name: str = "child", stop_timeout: float = 10.0) -> ServiceProcess:
    return ServiceProcess(
        name, [sys.executable, "-c", code], log_file=tmp_path / f"{name}.log", stop_timeout=stop_timeout
    )


def start_and_wait(process: ServiceProcess) -> ServiceProcess:
    process.start()
    process.wait_until_ready(lambda: "ready" in process.log_tail(), timeout=20)
    return process


def test_a_signal_that_the_parent_ignores_is_not_ignored_by_the_child(tmp_path: Path) -> None:
    code = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler); " + FOREVER
    # a shell's background job has it so
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = start_and_wait(python(code, tmp_path))
    finally:
        signal.signal(signal.SIGINT, before)
    told = process.log_tail()
    process.stop()

    assert told == ["True", "ready"]


def test_a_stopped_process_has_ended(tmp_path: Path) -> None:
    process = start_and_wait(python(FOREVER, tmp_path))
    pid = process.pid
    assert process.is_alive

    process.stop()

    assert not process.is_alive
    assert not psutil.pid_exists(pid)
    assert process.exit_reason() == "was stopped"
    assert process.exit_code == -signal.SIGTERM


def test_stopping_twice_or_before_the_start_does_nothing(tmp_path: Path) -> None:
    process = python(FOREVER, tmp_path)
    process.stop()
    start_and_wait(process).stop()
    process.stop()

    assert not process.is_alive


def test_a_process_that_ignores_the_stop_signal_is_killed(tmp_path: Path) -> None:
    process = start_and_wait(python(STUBBORN, tmp_path, stop_timeout=0.2))

    process.stop()

    assert process.exit_code == -signal.SIGKILL


@pytest.mark.parametrize("code", [parent_of(FOREVER), parent_of(FOREVER, new_session=True), parent_of(STUBBORN)])
def test_stopping_ends_what_the_process_started(tmp_path: Path, code: str) -> None:
    process = start_and_wait(python(code, tmp_path))
    grandchild = child_of(process)

    process.stop()

    assert has_ended(grandchild)


def test_the_children_of_a_process_that_ended_by_itself_are_ended(tmp_path: Path) -> None:
    process = start_and_wait(python(parent_of(FOREVER), tmp_path))
    grandchild = child_of(process)

    os.kill(process.pid, signal.SIGKILL)

    assert process.wait(20)
    assert has_ended(grandchild)


def test_a_process_runs_in_a_session_of_its_own(tmp_path: Path) -> None:
    process = start_and_wait(python(FOREVER, tmp_path))

    assert os.getsid(process.pid) == process.pid
    process.stop()


def test_ending_at_start_is_an_error_with_the_last_lines_and_the_reason(tmp_path: Path) -> None:
    process = python("print('no such option'); raise SystemExit(3)", tmp_path)
    process.start()

    with pytest.raises(ServiceError) as caught:
        process.wait_until_ready(lambda: False, timeout=20)

    assert "no such option" in caught.value.message
    assert "exit code 3" in caught.value.message
    assert str(tmp_path / "child.log") in caught.value.advice


def test_an_end_because_of_a_full_disk_is_recognised(tmp_path: Path) -> None:
    process = python("print('could not write: No space left on device'); raise SystemExit(1)", tmp_path)
    process.start()

    with pytest.raises(DiskFullError):
        process.wait_until_ready(lambda: False, timeout=20)


def test_not_becoming_ready_in_time_is_an_error(tmp_path: Path) -> None:
    process = start_and_wait(python(FOREVER, tmp_path))

    with pytest.raises(ServiceError, match=r"not ready after 0\.05 s"):
        process.wait_until_ready(lambda: False, timeout=0.05)
    process.stop()


def test_a_program_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    process = ServiceProcess("ghost", [tmp_path / "ghost"], log_file=tmp_path / "ghost.log")
    process.start()

    with pytest.raises(ServiceError, match="No such file"):
        process.wait_until_ready(lambda: False, timeout=20)


def test_the_tail_shows_only_the_last_start(tmp_path: Path) -> None:
    (tmp_path / "child.log").write_text("from an earlier day\n", encoding="utf-8")
    process = python("print('today')", tmp_path)
    process.start()
    assert process.wait(20)

    assert process.log_tail() == ["today"]
    assert "from an earlier day" in process.log_file.read_text(encoding="utf-8")


def test_a_large_log_is_moved_away_at_the_next_start(tmp_path: Path) -> None:
    with (tmp_path / "child.log").open("wb") as log:
        log.truncate(11 * 1024**2)
    process = python("print('today')", tmp_path)
    process.start()
    assert process.wait(20)

    assert process.log_file.read_text(encoding="utf-8") == "today\n"
    assert (tmp_path / "child.log.1").stat().st_size == 11 * 1024**2


def test_the_supervisor_names_the_process_that_ended(tmp_path: Path) -> None:
    with Supervisor() as supervisor:
        supervisor.start(start_later := python(FOREVER, tmp_path, name="lasting"))
        supervisor.start(dying := python("raise SystemExit(7)", tmp_path, name="dying"))

        assert supervisor.wait() is dying
        assert dying.exit_reason() == "ended with exit code 7"
        assert start_later.is_alive
    assert not start_later.is_alive


def test_the_supervisor_notices_a_process_that_ended_before_it_was_adopted(tmp_path: Path) -> None:
    process = python("pass", tmp_path)
    process.start()
    assert process.wait(20)

    with Supervisor() as supervisor:
        supervisor.adopt(process)
        assert supervisor.wait() is process


def test_a_signal_handler_can_end_the_supervisors_wait(tmp_path: Path) -> None:
    with Supervisor() as supervisor:
        before = signal.signal(signal.SIGALRM, lambda *_: supervisor.request_stop())
        try:
            supervisor.start(python(FOREVER, tmp_path))
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            assert supervisor.wait() is None
        finally:
            signal.signal(signal.SIGALRM, before)


def test_processes_are_stopped_in_reverse_order(tmp_path: Path) -> None:
    order: list[str] = []

    def announce(process: ServiceProcess) -> None:
        order.append(process.name)

    processes = [start_and_wait(python(FOREVER, tmp_path, name=name)) for name in ("database", "web", "worker")]
    with Supervisor() as supervisor:
        for process in processes:
            supervisor.adopt(process)
            process.when_ended(announce)

    assert order == ["worker", "web", "database"]
