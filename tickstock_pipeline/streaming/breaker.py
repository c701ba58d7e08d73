"""When to leave analysis for later, so that bars are stored in time whatever happens to it.

The breaker opens after repeated failures of analysis, after one that took too long and was ended, or when the machine
is overloaded: the batch is far behind, or somewhat behind while the processors are busy. Busy processors alone are no
reason: a backfill beside us may use them without holding us up. It closes by itself after a while, if there is no
reason left.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

BreakerState = Literal["closed", "open"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a worker bears.

    Attributes
    ----------
    failures : batches in a row whose analysis failed
    analysis_s : seconds that the analysis of one batch may take; then it is ended. The server ends a transaction of a
        worker that is idle for five
    cpu_percent, cpu_s : load of all processors, and for how many seconds on average
    busy_lag_s, lag_s : age of a batch's oldest entry while the processors are that busy, and at any time
    pause_s : how long the breaker stays open
    errors_per_minute : more than that makes the worker unhealthy
    """

    failures: int = 3
    analysis_s: float = 4.0
    cpu_percent: float = 80.0
    cpu_s: float = 10.0
    busy_lag_s: float = 2.0
    lag_s: float = 15.0
    pause_s: float = 30.0
    errors_per_minute: int = 10


class Breaker:
    """Decides for each batch whether it is analysed now.

    Parameters
    ----------
    clock : seconds, never going back
    """

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self._limits = limits
        self._clock = clock
        self._failures_in_a_row = 0
        self._open_until = 0.0
        self._loads: deque[tuple[float, float]] = deque()
        self._errors: deque[float] = deque()
        self.reason = ""

    @property
    def state(self) -> BreakerState:
        """Open: analysis is left for later."""
        return "open" if self._clock() < self._open_until else "closed"

    @property
    def is_unhealthy(self) -> bool:
        """Whether there were more errors within a minute than is borne."""
        return self.errors_last_minute > self._limits.errors_per_minute

    @property
    def errors_last_minute(self) -> int:
        """Errors within the last minute."""
        horizon = self._clock() - 60.0
        while self._errors and self._errors[0] < horizon:
            self._errors.popleft()
        return len(self._errors)

    def saw_error(self) -> None:
        """Count an error of any kind."""
        self._errors.append(self._clock())

    def saw_load(self, percent: float) -> None:
        """Take note of the load of all processors since the last time."""
        now = self._clock()
        self._loads.append((now, percent))
        while self._loads and self._loads[0][0] < now - self._limits.cpu_s:
            self._loads.popleft()

    def saw_failure(self, reason: str, seconds: float = 0.0) -> None:
        """An analysis has failed, after so many seconds."""
        self.saw_error()
        self._failures_in_a_row += 1
        if seconds >= self._limits.analysis_s:
            self._open(f"analysis took {seconds:.1f} s")
        elif self._failures_in_a_row >= self._limits.failures:
            self._open(f"analysis failed {self._failures_in_a_row} times in a row: {reason}")

    def saw_success(self) -> None:
        """An analysis has been done."""
        self._failures_in_a_row = 0

    def allows_analysis(self, lag_s: float) -> bool:
        """Whether a batch may be analysed whose oldest entry is so old."""
        if self.state == "open":
            return False
        self.reason = ""
        if lag_s > self._limits.lag_s:
            self._open(f"{lag_s:.0f} s behind")
        elif lag_s > self._limits.busy_lag_s and self._is_busy():
            self._open(f"{lag_s:.0f} s behind while the processors are busy")
        return self.state == "closed"

    def _is_busy(self) -> bool:
        if not self._loads or self._clock() - self._loads[0][0] < self._limits.cpu_s / 2:
            return False
        return sum(percent for _, percent in self._loads) / len(self._loads) > self._limits.cpu_percent

    def _open(self, reason: str) -> None:
        self.reason = reason
        self._open_until = self._clock() + self._limits.pause_s
