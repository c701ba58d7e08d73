"""How the feed is, in one flat record: for the hash in Redis, for health events, for ``tickstock status``."""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tickstock_pipeline.messaging.health import Status

_REASONS = 5
_REASONS_SHOWN_S = 3_600.0
_RECENT_S = 60.0


@dataclass(slots=True)
class FeedState:
    """What only the feed knows of its connection.

    Attributes
    ----------
    source : name of the live source
    connected_at : Unix seconds; 0: not connected
    down_since : monotonic seconds; None: connected
    missing_since : since when bars may be missing, monotonic seconds; None: the connection has given something
    is_silent : a connection was ended because it gave nothing, and nothing has come since
    last_heard_at : Unix seconds; 0: nothing yet
    connections : opened so far
    warnings : what the other side complains about
    """

    source: str
    started_at: float = field(default_factory=time.time)
    connected_at: float = 0.0
    down_since: float | None = field(default_factory=time.monotonic)
    missing_since: float | None = field(default_factory=time.monotonic)
    is_silent: bool = False
    last_heard_at: float = 0.0
    connections: int = 0
    failures: int = 0
    messages: int = 0
    events: int = 0
    symbols: int = 0
    warnings: int = 0
    reasons: deque[tuple[float, str]] = field(default_factory=lambda: deque(maxlen=_REASONS))

    @property
    def is_connected(self) -> bool:
        """Whether the connection is up."""
        return self.down_since is None

    def up(self) -> None:
        """The connection has opened."""
        self.connected_at = time.time()
        self.down_since = None
        self.connections += 1

    def heard(self, at: float, n_events: int) -> bool:
        """A message has come, at this Unix time; whether it ends a silence: one that tells of nothing does not."""
        self.messages += 1
        self.events += n_events
        self.last_heard_at = at
        if not n_events:
            return False
        was_silent, self.is_silent = self.is_silent, False
        self.missing_since = None
        return was_silent

    def down(self, reason: str, *, is_silent: bool = False) -> None:
        """The connection has ended, for instance because it gave nothing, or could not be opened."""
        now = time.monotonic()
        self.connected_at = 0.0
        self.down_since = now if self.down_since is None else self.down_since
        self.missing_since = now if self.missing_since is None else self.missing_since
        self.is_silent |= is_silent
        self.failures += 1
        self.note(reason)

    def warned(self, problem: str) -> None:
        """The other side complains."""
        self.warnings += 1
        self.note(problem)

    def note(self, reason: str) -> None:
        """Keep a reason for a while."""
        self.reasons.append((time.time(), reason))

    def recent_reasons(self) -> str:
        """The last reasons, the newest first, each with its time (UTC)."""
        oldest = time.time() - _REASONS_SHOWN_S
        return "; ".join(
            f"{time.strftime('%H:%M:%S', time.gmtime(at))} {reason}"
            for at, reason in reversed(self.reasons)
            if at >= oldest
        )

    def has_recent_trouble(self) -> bool:
        """Whether something went wrong within the last minute."""
        return bool(self.reasons) and self.reasons[-1][0] >= time.time() - _RECENT_S


def feed_status(state: FeedState, *, redis_problem: str, stands_in: bool, is_blocked: bool) -> Status:
    """How the feed is: unhealthy without bars, degraded with others' bars, held up, or just mended."""
    if redis_problem or (not state.is_connected and not stands_in and state.connections + state.failures > 0):
        return "unhealthy"
    if stands_in or is_blocked or not state.is_connected or state.has_recent_trouble():
        return "degraded"
    return "healthy"


def quantile(values: Sequence[float], share: float) -> float:
    """The value that a share of the values does not exceed; 0 where there is none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


def shown(details: dict[str, Any]) -> dict[Any, Any]:
    """Details as a hash holds them: texts."""
    return {name: str(value) for name, value in details.items()}
