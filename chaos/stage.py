"""The four processes that are killed: started, killed with -9, and started again on the same ports and data."""

import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tickstock_pipeline.runtime.postgres import EmbeddedPostgres
from tickstock_pipeline.runtime.process import ServiceProcess
from tickstock_pipeline.runtime.redis import EmbeddedRedis

_PATIENCE_S = 20.0


class Stage:
    """PostgreSQL and Redis with the product's own settings, a feed and a worker as processes of their own.

    Leaving its context ends them all. Call it from one thread: the kernel ends its children with that thread.

    Parameters
    ----------
    home : of the product
    commands : other programs than ``tickstock feed`` and ``tickstock worker``, by target

    Attributes
    ----------
    database_url, redis_url : secrets
    worker : name of the last worker that was started
    started_at : by target, Unix seconds
    ended_by_themselves : targets that ended without a kill, and how
    """

    def __init__(self, home: Path, commands: Mapping[str, Sequence[str]] | None = None) -> None:
        self._home = home
        self._commands = commands or {}
        self._postgres = EmbeddedPostgres(home)
        self._redis = EmbeddedRedis(home)
        self._environment: dict[str, str] = {}
        self._processes: dict[str, ServiceProcess] = {}
        self._n_workers = 0
        self.database_url = ""
        self.redis_url = ""
        self.worker = ""
        self.started_at: dict[str, float] = {}
        self.ended_by_themselves: list[str] = []

    def __enter__(self) -> Self:
        try:
            self.database_url = self._postgres.start()
            self.redis_url = self._redis.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def connect(self, provider_url: str, stream_url: str, settings: Mapping[str, str] | None = None) -> None:
        """Say which provider the feed is to use, before it is started.

        Parameters
        ----------
        settings : other variables of feed and worker
        """
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("TICKSTOCK_") and not name.endswith("_API_KEY")
        }
        self._environment = {
            **inherited,
            "PYTHONPATH": str(Path(__file__).parents[1]),
            "TICKSTOCK_HOME": str(self._home),
            "TICKSTOCK_DATABASE_URL": self.database_url,
            "TICKSTOCK_REDIS_URL": self.redis_url,
            "TICKSTOCK_PROVIDER": "polygon",
            "TICKSTOCK_LIVE_SOURCE": "polygon",
            "TICKSTOCK_LIVE_STAND_IN": "none",
            "TICKSTOCK_POLYGON_URL": provider_url,
            "TICKSTOCK_POLYGON_STREAM_URL": stream_url,
            "TICKSTOCK_POLYGON_API_KEY": "chaos",
            "TICKSTOCK_POLYGON_CALLS_PER_MINUTE": "0",
            **(settings or {}),
        }

    def start(self, target: str) -> None:
        """Start one; servers are ready on return, feed and worker are not."""
        self.started_at[target] = time.time()
        match target:
            case "postgres":
                _require_same(self._postgres.start(), self.database_url)
            case "redis":
                _require_same(self._redis.start(), self.redis_url)
            case "worker":
                self._n_workers += 1
                self.worker = f"chaos-{self._n_workers}"
                self._start_own(target, "--name", self.worker)
            case _:
                self._start_own(target)

    def kill(self, target: str) -> None:
        """Kill -9, and wait for the end."""
        process = self._process(target)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(_PATIENCE_S)

    def pid(self, target: str) -> int:
        """Process id of its last start."""
        return self._process(target).pid

    def is_alive(self, target: str) -> bool:
        """Whether it was started and has not ended."""
        return self._process(target).is_alive

    def waited_for_processor(self, target: str) -> float:
        """Seconds that its main thread has been ready to run while others ran, since its start; 0 if nobody counts."""
        try:
            # of Linux: nanoseconds run, nanoseconds waited, time slices
            words = Path(f"/proc/{self.pid(target)}/schedstat").read_text(encoding="ascii").split()
        except OSError:
            return 0.0
        return int(words[1]) / 1e9

    def note_end(self, target: str) -> None:
        """Take down that it ended without a kill."""
        self.ended_by_themselves.append(f"{target} {self._process(target).exit_reason()}")

    def end(self, target: str) -> None:
        """Ask it to end, and wait for that."""
        self._process(target).stop()

    def stop(self) -> None:
        """End all, servers last."""
        for process in self._processes.values():
            process.stop()
        self._redis.stop()
        self._postgres.stop()

    def _process(self, target: str) -> ServiceProcess:
        if target == "postgres":
            return self._postgres.process
        return self._redis.process if target == "redis" else self._processes[target]

    def _start_own(self, target: str, *words: str) -> None:
        self._processes[target] = ServiceProcess(
            target,
            [*self._commands.get(target, (sys.executable, "-m", "tickstock_pipeline", target)), *words],
            log_file=self._home / "logs" / f"{target}.log",
            environment=self._environment,
            working_folder=self._home,
            stop_timeout=_PATIENCE_S,
        )
        self._processes[target].start()


def _require_same(url: str, before: str) -> None:
    if url != before:
        raise RuntimeError("A server did not get its port back: another program has taken it.")
