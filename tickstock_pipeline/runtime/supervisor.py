"""The child processes of one instance: started in order, watched together, stopped in reverse order."""

import queue
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from tickstock_pipeline.runtime.process import ServiceProcess


class Supervisor:
    """Holds processes; leaving its context stops them, the last one first.

    :meth:`request_stop` may be called from a signal handler and from any thread.
    """

    def __init__(self) -> None:
        self._processes: list[ServiceProcess] = []
        # SimpleQueue.put is reentrant, so a signal handler cannot dead-lock with the thread that it interrupts.
        self._events: queue.SimpleQueue[ServiceProcess | None] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def processes(self) -> tuple[ServiceProcess, ...]:
        """In the order of their start."""
        return tuple(self._processes)

    def start(self, process: ServiceProcess) -> None:
        """Start ``process`` and watch it."""
        # Adopted first: an interrupt in between must not leave it unsupervised.
        self.adopt(process)
        process.start()

    def adopt(self, process: ServiceProcess) -> None:
        """Watch a process that was started elsewhere, and stop it with the others."""
        self._processes.append(process)
        process.when_ended(self._events.put)

    def request_stop(self) -> None:
        """Make :meth:`wait` return None."""
        self._events.put(None)

    def wait(self) -> ServiceProcess | None:
        """Wait, without polling, until a process ends by itself or a stop is requested.

        Returns
        -------
        The process that ended, or None for a requested stop.
        """
        return self._events.get()

    def stop(self) -> None:
        """Stop all, the last started first, whatever goes wrong with one of them. May be called again."""
        with ExitStack() as stack:
            for process in self._processes:
                stack.callback(process.stop)
            self._processes = []
