"""What is done to whom and when: drawn from a seed, so that a run can be repeated."""

import random
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

import numpy as np

from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.replay.faults import Fault, FaultKind

TARGETS = ("feed", "worker", "postgres", "redis")

# A half day, then a weekend: ten hours of trading in two sessions, a minute a second for ten minutes.
_FIRST = date(2012, 11, 23)
_LONGEST = date(2013, 12, 31)
_KILLED_BETWEEN = (0.05, 0.95)
_DOWN_S = (0.3, 2.0)


class Kill(NamedTuple):
    """One kill -9.

    Attributes
    ----------
    at_s : seconds after the market opened
    target : one of :data:`TARGETS`
    down_s : until a supervisor starts it again
    """

    at_s: float
    target: str
    down_s: float


@dataclass(frozen=True, slots=True)
class Plan:
    """One run.

    Attributes
    ----------
    seed : of everything that is drawn
    minutes : how long the market is played, wall clock
    n_symbols : of a synthetic universe
    kills_per_minute : of all targets together; each is killed once at least
    fault_rate : share of the bars that each kind of fault happens to
    """

    seed: int
    minutes: float
    n_symbols: int
    kills_per_minute: float = 4.0
    fault_rate: float = 0.02

    @property
    def first(self) -> date:
        """First session that is played."""
        return _FIRST

    @property
    def last(self) -> date:
        """Last session: as many as keep a market minute from taking much more than a second."""
        calendar = trading_calendar()
        sessions = calendar.sessions(_FIRST, _LONGEST)
        lengths = (calendar.closing(sessions) - calendar.opening(sessions)) // np.timedelta64(1, "m")
        at = int(np.searchsorted(np.cumsum(lengths), self.minutes * 60))
        return date.fromisoformat(str(sessions[min(at, len(sessions) - 1)]))

    @property
    def market_minutes(self) -> int:
        """Minutes of trading in all sessions that are played."""
        calendar = trading_calendar()
        sessions = calendar.sessions(self.first, self.last)
        return int((calendar.closing(sessions) - calendar.opening(sessions)).sum() // np.timedelta64(1, "m"))

    @property
    def speed(self) -> float:
        """Market seconds a second."""
        return self.market_minutes / self.minutes

    def kills(self) -> list[Kill]:
        """All kills in their order, the targets as often as each other."""
        draw = random.Random(self.seed)  # noqa: S311 - who dies when is no secret
        count = max(len(TARGETS), round(self.kills_per_minute * self.minutes))
        targets: list[str] = []
        while len(targets) < count:
            targets += draw.sample(TARGETS, len(TARGETS))
        low, high = (share * self.minutes * 60 for share in _KILLED_BETWEEN)
        times = sorted(draw.uniform(low, high) for _ in range(count))
        return [Kill(at, target, draw.uniform(*_DOWN_S)) for at, target in zip(times, targets, strict=False)]

    def faults(self) -> list[Fault]:
        """What goes wrong on the stream apart from kills."""
        kinds = (FaultKind.DUPLICATES, FaultKind.OUT_OF_ORDER, FaultKind.LATE, FaultKind.CORRECTED)
        of_bars = [Fault(kind, provider="stream", path="AM", times=None, rate=self.fault_rate) for kind in kinds]
        return [*of_bars, Fault(FaultKind.CUT, provider="stream", path="frame", times=None, rate=self.fault_rate / 4)]
