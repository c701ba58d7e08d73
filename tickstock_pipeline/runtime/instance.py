"""One running instance per state directory, and how another terminal finds it."""

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from tickstock_pipeline.errors import AlreadyRunningError
from tickstock_pipeline.runtime.private_files import write_private_file

# A reader holds the lock for an instant to see whether it is free; a start must not mistake it for an instance.
_LOCK_PATIENCE_S = 0.5
_LOCK_RETRY_S = 0.02


@dataclass(frozen=True)
class ServiceRecord:
    """A process of the instance; ``port`` is None if it listens on none."""

    pid: int
    port: int | None = None


@dataclass(frozen=True)
class RunningServices:
    """What the running instance tells others; its URLs contain passwords."""

    pid: int
    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    processes: Mapping[str, ServiceRecord] = field(default_factory=dict)


@contextmanager
def instance_lock(home: Path) -> Iterator[None]:
    """Be the one instance of ``home``, which is created.

    The kernel gives the lock back however we end, and children do not inherit it.

    Raises
    ------
    AlreadyRunningError
        Names the process that holds it.
    """
    home.mkdir(parents=True, exist_ok=True)
    # Not truncated by opening: until we hold the lock, the content is another's.
    descriptor = os.open(_lock_file(home), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = time.monotonic() + _LOCK_PATIENCE_S
        while not _try_lock(descriptor, fcntl.LOCK_EX):
            if time.monotonic() >= deadline:
                holder = os.pread(descriptor, 32, 0).decode("ascii", errors="replace").strip() or "unknown"
                raise AlreadyRunningError(
                    f"Tickstock already runs in {home.absolute()} (pid {holder}).",
                    advice=f"Use it (`tickstock status`), stop it with Ctrl-C in its terminal or `kill {holder}`, "
                    "or set TICKSTOCK_HOME to another folder for a second instance.",
                )
            time.sleep(_LOCK_RETRY_S)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def published_services(home: Path, services: RunningServices) -> Iterator[None]:
    """Let others read ``services`` (see :func:`read_running_services`) for as long as the context lasts."""
    _write(home, services)
    try:
        yield
    finally:
        _services_file(home).unlink(missing_ok=True)


def record_process(home: Path, name: str, record: ServiceRecord) -> None:
    """Add a process to what the running instance, which is ours, has published."""
    services = read_running_services(home)
    if services is not None:
        _write(home, replace(services, processes={**services.processes, name: record}))


def read_running_services(home: Path) -> RunningServices | None:
    """What the instance of ``home`` published; None if none runs, whatever files a killed one has left."""
    if not is_running(home):
        return None
    try:
        content = json.loads(_services_file(home).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    processes = {name: ServiceRecord(**record) for name, record in content.pop("processes").items()}
    return RunningServices(**content, processes=processes)


def is_running(home: Path) -> bool:
    """Whether an instance holds the lock of ``home``."""
    with suppress(FileNotFoundError):
        descriptor = os.open(_lock_file(home), os.O_RDONLY | os.O_CLOEXEC)
        try:
            return not _try_lock(descriptor, fcntl.LOCK_SH)
        finally:
            os.close(descriptor)
    return False


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(home: Path, services: RunningServices) -> None:
    write_private_file(_services_file(home), json.dumps(asdict(services), indent=2))


def _lock_file(home: Path) -> Path:
    return home / "instance.lock"


def _services_file(home: Path) -> Path:
    return home / "services.json"
