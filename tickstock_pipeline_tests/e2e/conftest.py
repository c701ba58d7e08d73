"""``tickstock`` as a person runs it: a process of its own, in a folder of its own, with an empty home."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tickstock_pipeline.runtime.instance import RunningServices, read_running_services
from tickstock_pipeline.runtime.ports import any_free_port


class Up:
    """A ``tickstock up``, or another command that stays, under way; its output is read as it comes."""

    def __init__(self, command: list[str], environment: dict[str, str], home: Path) -> None:
        self.home = home
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> str:
        return "".join(self._lines)

    def services(self) -> RunningServices:
        services = read_running_services(self.home)
        assert services is not None, self.output
        return services

    def run_process(self, seconds: float = 120) -> psutil.Process:
        """The first process of a run of Dagster's, which is a child of the code server's."""
        parent = psutil.Process(self.services().processes["code-server"].pid)
        deadline = time.monotonic() + seconds
        while True:
            for child in parent.children(recursive=True):
                if "spawn_main" in " ".join(child.cmdline()):
                    return child
            assert time.monotonic() < deadline, f"no run was started in {seconds} s"
            time.sleep(0.1)

    def wait_for(self, words: str, timeout: float = 180) -> None:
        """Return once ``words`` were printed; fail if the process ends without them."""
        with self._changed:
            seen = self._changed.wait_for(lambda: words in self.output or not self._reader.is_alive(), timeout)
        assert seen, f"not printed in {timeout} s: {words!r}\n{self.output}"
        assert words in self.output, self.output

    def wait(self, timeout: float = 420) -> int:
        """Its exit code."""
        code = self._process.wait(timeout)
        self._reader.join(10)
        return code

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def _read(self) -> None:
        with self._process.stdout as lines:
            for line in lines:
                with self._changed:
                    self._lines.append(line)
                    self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()


class Workplace:
    """A state directory and the environment of a newcomer's shell."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "state"
        self.web_port = any_free_port()
        self.gateway_port = any_free_port()
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "TICKSTOCK_HOME": str(self.home),
            "TICKSTOCK_WEB_PORT": str(self.web_port),
            "TICKSTOCK_GATEWAY_PORT": str(self.gateway_port),
            "COLUMNS": "140",
        }
        self._started: list[Up] = []

    def up(self, *options: str, **variables: str) -> Up:
        return self.start("up", *options, **variables)

    def start(self, *arguments: str, **variables: str) -> Up:
        started = Up(self.command(*arguments), {**self.environment, **variables}, self.home)
        self._started.append(started)
        return started

    def run(self, *arguments: str, timeout: float = 120, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "tickstock_pipeline", *arguments]

    def leftovers(self) -> list[psutil.Process]:
        """Processes that have this workplace in their environment or command line."""
        found = []
        for process in psutil.process_iter():
            try:
                words = [*process.cmdline(), *process.environ().values()]
            except (psutil.Error, OSError):
                continue
            if any(str(self.folder) in word for word in words):
                found.append(process)
        return found

    def close(self) -> None:
        for up in self._started:
            if up._process.poll() is None:
                up._process.kill()
                up._process.wait()
        for process in self.leftovers():
            if process.is_running():
                process.kill()


@pytest.fixture
def workplace(tmp_path: Path) -> Iterator[Workplace]:
    place = Workplace(tmp_path)
    yield place
    place.close()
