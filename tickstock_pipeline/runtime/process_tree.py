"""Other processes than our direct children: descendants, members of a group, servers left behind by an earlier run.

``psutil.Process`` remembers when its process began, so signalling one whose number was given to another does nothing.
"""

import os
import signal
import time
from collections.abc import Container, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

_GRACE_S = 3.0
_POLL_S = 0.02


def descendants(pid: int) -> list[psutil.Process]:
    """Children of ``pid``, their children, and so on."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def group_members(group: int) -> list[psutil.Process]:
    """Live processes of a process group."""
    return [process for process in psutil.process_iter() if _group(process.pid) == group]


def servers_in(folder: Path, names: Container[str]) -> list[psutil.Process]:
    """Live processes called one of ``names`` whose working folder is ``folder``.

    Both PostgreSQL (each of its processes) and Redis go into their data folder when they start. That says more than a
    process number in a file, which a stranger may have by now, and follows the folder when it is renamed.
    """
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.name() in names and os.path.samefile(process.cwd(), folder):
                found.append(process)
    return found


def processes_with(variable: str, value: str) -> list[psutil.Process]:
    """Live processes, other than ourselves, whose environment was started with ``variable`` set to ``value``."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(variable) == value:
                found.append(process)
    return found


def end_processes(
    processes: Sequence[psutil.Process], *, first: signal.Signals = signal.SIGTERM, timeout: float = _GRACE_S
) -> None:
    """Ask ``processes`` to end, wait up to ``timeout`` seconds, kill those that have not."""
    _signal(processes, first)
    stubborn = _still_alive_after(timeout, processes)
    _signal(stubborn, signal.SIGKILL)
    _still_alive_after(timeout, stubborn)


def _signal(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _still_alive_after(timeout: float, processes: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Those that have not ended; they are not our children, so nothing tells us when they do."""
    deadline = time.monotonic() + timeout
    while True:
        processes = [process for process in processes if _is_alive(process)]
        if not processes or time.monotonic() >= deadline:
            return list(processes)
        time.sleep(_POLL_S)


def _is_alive(process: psutil.Process) -> bool:
    """A zombie is dead: in a container, the first process may never collect it."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except OSError:
        return -1
