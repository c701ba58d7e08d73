"""One supervised child process: its log file, its end, and the end of everything that it started.

A child runs in a session of its own, so Ctrl-C in the terminal reaches only us and we stop children in the right order.
On Linux the kernel also ends it if we are killed: precisely, when the *thread* that called
:meth:`ServiceProcess.start` ends, so call it from the main thread, or from one that lives as long as the child.
"""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tickstock_pipeline.errors import ServiceError
from tickstock_pipeline.runtime.disk import disk_full_in
from tickstock_pipeline.runtime.identity import SAME_USER, Identity
from tickstock_pipeline.runtime.process_tree import descendants, end_processes, group_members

_LOG_ROTATION_BYTES = 10 * 1024**2
_READY_RETRY_S = (0.01, 0.25)
_TAIL_BYTES = 16 * 1024
_KILL_TIMEOUT_S = 10.0


class ServiceProcess:
    """A named child process.

    Parameters
    ----------
    name : shown to people, and the default place of its log in messages
    command : program and arguments; secrets do not belong here, everybody can read them
    log_file : receives stdout and stderr; at a start with more than 10 MB in it, it is moved to ``<name>.log.1``
    environment : all variables of the child; by default ours
    identity : the user it runs as
    stop_signal : asks it to end; sent by :meth:`stop`, and by the kernel if we die
    stop_timeout : seconds that it gets to end before it is killed
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log_file: Path,
        environment: Mapping[str, str] | None = None,
        working_folder: Path | None = None,
        identity: Identity = SAME_USER,
        stop_signal: signal.Signals = signal.SIGTERM,
        stop_timeout: float = 30.0,
    ) -> None:
        self.name = name
        self.log_file = log_file
        self._command = list(command)
        self._environment = None if environment is None else dict(environment)
        self._working_folder = working_folder
        self._identity = identity
        self._stop_signal = stop_signal
        self._stop_timeout = stop_timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._exited = threading.Event()
        self._ended = threading.Event()
        self._listener: Callable[[ServiceProcess], object] | None = None
        self._listener_lock = threading.Lock()
        self._log_start = 0
        self._was_stopped = False

    @property
    def pid(self) -> int:
        """Process id of the last start."""
        if self._process is None:
            raise ServiceError(f"{self.name} was not started.")
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._process is not None and not self._exited.is_set()

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._process.returncode if self._process is not None and self._exited.is_set() else None

    def start(self) -> None:
        """Start it; returns as soon as the process exists (see :meth:`wait_until_ready`).

        Raises
        ------
        ServiceError
            If it already runs or cannot be created.
        """
        if self.is_alive:
            raise ServiceError(f"{self.name} already runs (pid {self.pid}).")
        self._exited.clear()
        self._ended.clear()
        self._was_stopped = False
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        _rotate(self.log_file)
        log = os.open(self.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._log_start = os.fstat(log).st_size
            self._process = subprocess.Popen(
                self._identity.launch_command(self._command, death_signal=self._stop_signal),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._working_folder,
                env=self._environment,
                start_new_session=True,
            )
        except OSError as error:
            raise ServiceError(f"{self.name} could not be started: {error}") from error
        finally:
            os.close(log)
        threading.Thread(target=self._watch, args=(self._process,), name=f"watch-{self.name}", daemon=True).start()

    def stop(self) -> None:
        """End it, and whatever it started: first politely, after the timeout by force. Does nothing if it has ended."""
        process = self._process
        if process is None or self._ended.is_set():
            return
        self._was_stopped = True
        # Asked for now: once the parent is gone, its descendants in other sessions can no longer be told from others.
        offspring = descendants(process.pid)
        process.send_signal(self._stop_signal)
        if not self._ended.wait(self._stop_timeout):
            process.kill()
            self._ended.wait(_KILL_TIMEOUT_S)
        end_processes(offspring)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for its end; whether it has ended."""
        return self._ended.wait(timeout)

    def when_ended(self, listener: Callable[["ServiceProcess"], object]) -> None:
        """Call ``listener`` once when the process ends, from another thread; at once if it has ended already."""
        with self._listener_lock:
            self._listener = listener
            already = self._ended.is_set()
        if already:
            listener(self)

    def wait_until_ready(self, is_ready: Callable[[], bool], *, timeout: float) -> None:
        """Ask ``is_ready`` until it says yes.

        Raises
        ------
        ServiceError
            If the process ends first, or does not become ready in ``timeout`` seconds; with the last lines of its log.
            It is left as it is: the caller stops it.
        """
        delay, longest = _READY_RETRY_S
        deadline = time.monotonic() + timeout
        while not is_ready():
            if self._ended.wait(delay):
                raise self.failure("ended at start")
            if time.monotonic() >= deadline:
                raise self.failure(f"was not ready after {timeout:g} s")
            delay = min(delay * 1.5, longest)

    def exit_reason(self) -> str:
        """How it ended, in words."""
        if self._process is None:
            return "was not started"
        if self.is_alive:
            return "runs"
        if self._was_stopped:
            return "was stopped"
        code = self._process.returncode
        if code < 0:
            return f"was ended by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"

    def log_tail(self, lines: int = 15) -> list[str]:
        """The last lines that it logged since its last start."""
        try:
            with self.log_file.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(self._log_start, size - _TAIL_BYTES))
                return log.read().decode("utf-8", errors="replace").splitlines()[-lines:]
        except FileNotFoundError:
            return []

    def failure(self, what: str) -> ServiceError:
        """The error to raise when the process did not do what it is for; a full disk is told from other reasons."""
        tail = self.log_tail()
        disk_full = disk_full_in(self.log_tail(200), self.log_file.parent)
        if disk_full is not None:
            return disk_full
        shown = "".join(f"\n  {line}" for line in tail)
        return ServiceError(
            f"{self.name} {what} ({self.exit_reason()})." + (f" Its last lines:{shown}" if tail else ""),
            advice=f"Its whole log is {self.log_file}.",
        )

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        self._exited.set()
        # Nobody needs the remains of a process that ended, and its number is free for others from now on.
        end_processes(group_members(process.pid))
        with self._listener_lock:
            self._ended.set()
            listener = self._listener
        if listener is not None:
            listener(self)


def _rotate(log_file: Path) -> None:
    try:
        if log_file.stat().st_size > _LOG_ROTATION_BYTES:
            log_file.replace(log_file.with_name(log_file.name + ".1"))
    except FileNotFoundError:
        return
