"""Every request that the replay server got, and when; and the quotas that it enforces, if it is told to."""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

_DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request.

    Attributes
    ----------
    number : in the order of arrival, from 1 at the start of the server
    time : Unix time of its arrival, seconds
    monotonic : the same on the monotonic clock of the server's process, for differences
    provider : ``polygon``, ``alpha_vantage`` or ``yahoo``
    path : of the URL
    query : its parameters, without the key
    symbol : that it asks for, in the source's spelling; empty where it names none
    status : of the answer; 0 while there is none, or where the connection was cut or left hanging
    fault : what was done to it on purpose
    over_limit : whether it came before the quota allowed another one
    """

    number: int
    time: float
    monotonic: float
    provider: str
    path: str
    query: Mapping[str, str]
    symbol: str
    status: int = 0
    fault: str = ""
    over_limit: bool = False


class RequestLog:
    """The requests so far. Safe to ask from any thread.

    Parameters
    ----------
    calls_per_minute : requests that each provider's key may make in a sliding window; 0: any number
    calls_per_day : the same for a day
    window_seconds : the length of a "minute", so that a test need not wait for a real one
    kept : how many requests are remembered, the newest; all are counted
    """

    def __init__(
        self,
        *,
        calls_per_minute: int = 0,
        calls_per_day: int = 0,
        window_seconds: float = 60.0,
        kept: int = 100_000,
    ) -> None:
        self._lock = threading.Lock()
        self._kept = kept
        self._requests: dict[int, RecordedRequest] = {}
        self._last_number = 0
        self._count = 0
        self._violations = 0
        self._quotas = [
            _SlidingWindow(calls, seconds)
            for calls, seconds in ((calls_per_minute, window_seconds), (calls_per_day, _DAY_SECONDS))
            if calls
        ]

    def __len__(self) -> int:
        return self._count

    def all(self) -> tuple[RecordedRequest, ...]:
        """All remembered requests in the order of arrival."""
        with self._lock:
            return tuple(self._requests.values())

    def matching(
        self, *, provider: str = "", path: str = "", symbol: str = "", status: int | None = None
    ) -> tuple[RecordedRequest, ...]:
        """The requests of a provider, whose path contains ``path``, for a symbol, with a status: what is given."""
        return tuple(
            request
            for request in self.all()
            if (not provider or request.provider == provider)
            and path in request.path
            and (not symbol or request.symbol == symbol)
            and (status is None or request.status == status)
        )

    def count(self, *, provider: str = "", path: str = "", symbol: str = "", status: int | None = None) -> int:
        """How many :meth:`matching` requests there are."""
        return len(self.matching(provider=provider, path=path, symbol=symbol, status=status))

    @property
    def violations(self) -> int:
        """Requests that came before the quota allowed another one."""
        return self._violations

    def clear(self) -> None:
        """Forget the requests, not what they used of the quotas."""
        with self._lock:
            self._requests.clear()
            self._count = self._violations = 0

    def arrived(self, provider: str, account: str, path: str, query: Mapping[str, str], symbol: str) -> "Arrival":
        """Record a request, and count it against the quotas of its provider and account."""
        with self._lock:
            now, monotonic = time.time(), time.monotonic()
            waits = [quota.wait((provider, account), monotonic) for quota in self._quotas]
            wait = max(waits, default=0.0)
            if not wait:
                for quota in self._quotas:
                    quota.take((provider, account), monotonic)
            self._last_number += 1
            self._count += 1
            self._violations += wait > 0
            request = RecordedRequest(
                self._last_number, now, monotonic, provider, path, query, symbol, over_limit=wait > 0
            )
            self._requests[request.number] = request
            if len(self._requests) > self._kept:
                del self._requests[next(iter(self._requests))]
            return Arrival(self, request, wait)

    def answered(self, request: RecordedRequest, status: int, fault: str) -> None:
        """Note what became of a request."""
        with self._lock:
            if request.number in self._requests:
                self._requests[request.number] = replace(request, status=status, fault=fault)

    def as_json(self) -> dict[str, Any]:
        """All requests, with the totals."""
        requests = [asdict(request) for request in self.all()]
        return {"count": len(self), "violations": self.violations, "requests": requests}


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request that is being answered; ``wait`` is how many seconds it came too early, 0 where it is welcome."""

    log: RequestLog
    request: RecordedRequest
    wait: float

    def answered(self, status: int, fault: str = "") -> None:
        """Note what became of it; status 0 where nothing was."""
        self.log.answered(self.request, status, fault)


class _SlidingWindow:
    """At most ``calls`` in any ``seconds``; a refused call uses nothing."""

    def __init__(self, calls: int, seconds: float) -> None:
        self._calls = calls
        self._seconds = seconds
        self._taken: dict[tuple[str, str], deque[float]] = defaultdict(deque)

    def wait(self, account: tuple[str, str], now: float) -> float:
        taken = self._taken[account]
        while taken and taken[0] <= now - self._seconds:
            taken.popleft()
        return 0.0 if len(taken) < self._calls else taken[0] + self._seconds - now

    def take(self, account: tuple[str, str], now: float) -> None:
        self._taken[account].append(now)
