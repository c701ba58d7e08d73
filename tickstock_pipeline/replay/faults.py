"""Which failure the replay server shows, when, and to whom. What each looks like on the wire is decided elsewhere:
answers in :mod:`tickstock_pipeline.replay.failing`, the stream in :mod:`tickstock_pipeline.replay.stream_faults`.
"""

import random
import re
import threading
from collections.abc import Container, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Self


class FaultKind(StrEnum):
    """The failures; the value is the name that the command line and ``/_replay/faults`` use."""

    TOO_MANY_REQUESTS = "429"
    QUOTA_NOTICE = "quota"
    """A notice that the quota is spent, in an answer whose status is 200."""
    UNAUTHORISED = "401"
    FORBIDDEN = "403"
    NOT_FOUND = "404"
    SERVER_ERROR = "500"
    BAD_GATEWAY = "502"
    UNAVAILABLE = "503"
    HANG = "hang"
    """No answer until the client gives up, or for ``seconds``."""
    CUT = "cut"
    """The connection ends in the middle of the answer; on the stream, without a close frame."""
    TRUNCATED = "truncated"
    """Valid JSON that lacks rows which it says it has."""
    REPEATED_CURSOR = "repeated-cursor"
    """The next page is this page, for ever."""
    HTML = "html"
    EMPTY = "empty"
    """A valid answer without a row."""
    DUPLICATES = "duplicates"
    OUT_OF_ORDER = "out-of-order"
    """Rows in another order; on the stream, bars up to five minutes later than their neighbours."""
    BAD_OHLC = "bad-ohlc"
    """One bar whose high is below its low."""
    FRACTIONAL_VOLUME = "fractional-volume"
    GZIP = "gzip"
    """Nothing wrong: the answer is compressed."""
    LATE = "late"
    """A bar that comes one to three minutes late."""
    CORRECTED = "corrected"
    """A bar that is sent with other values first, and right one to three minutes later."""
    CLOSE_1000 = "close-1000"
    CLOSE_1001 = "close-1001"
    NOT_JSON = "not-json"
    """A frame that is not JSON."""
    NO_MESSAGE = "no-message"
    """A status without the key ``message``."""
    HUGE_FRAME = "huge-frame"
    """A frame of more than 1 MiB."""
    MUTE = "mute"
    """The connection stays open and nothing comes any more."""


ANSWER_KINDS = frozenset(
    {
        FaultKind.TOO_MANY_REQUESTS,
        FaultKind.QUOTA_NOTICE,
        FaultKind.UNAUTHORISED,
        FaultKind.FORBIDDEN,
        FaultKind.NOT_FOUND,
        FaultKind.SERVER_ERROR,
        FaultKind.BAD_GATEWAY,
        FaultKind.UNAVAILABLE,
        FaultKind.HANG,
        FaultKind.CUT,
        FaultKind.TRUNCATED,
        FaultKind.REPEATED_CURSOR,
        FaultKind.HTML,
        FaultKind.EMPTY,
        FaultKind.DUPLICATES,
        FaultKind.OUT_OF_ORDER,
        FaultKind.BAD_OHLC,
        FaultKind.FRACTIONAL_VOLUME,
        FaultKind.GZIP,
    }
)
"""What can happen to an HTTP answer."""

EVENT_KINDS = frozenset(
    {
        FaultKind.DUPLICATES,
        FaultKind.OUT_OF_ORDER,
        FaultKind.LATE,
        FaultKind.CORRECTED,
        FaultKind.BAD_OHLC,
        FaultKind.FRACTIONAL_VOLUME,
    }
)
"""What can happen to one event of the stream."""

CONNECTION_KINDS = frozenset(
    {
        FaultKind.CUT,
        FaultKind.CLOSE_1000,
        FaultKind.CLOSE_1001,
        FaultKind.NOT_JSON,
        FaultKind.NO_MESSAGE,
        FaultKind.HUGE_FRAME,
        FaultKind.MUTE,
    }
)
"""What can happen to one frame of the stream, or to its connection."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A failure, and the calls that it happens to: those that match all of what is given.

    Attributes
    ----------
    kind : what happens
    provider : ``polygon``, ``alpha_vantage``, ``yahoo`` or ``stream`` (the WebSocket); empty: all
    path : regular expression, searched in the URL's path; on the stream, in an event's type (``AM``)
    symbol : the only symbol concerned, in the source's spelling; empty: all
    nth : the first matching call that it happens to, counted from 1
    times : how many calls it happens to; None: no end
    rate : the share of the remaining calls that it happens to, (0, 1]
    retry_after : seconds for the header Retry-After of a 429 or 503; None: no such header
    reset_after : seconds from now for the header X-RateLimit-Reset of a 429, in Unix time; None: no such header
    seconds : how long a hang lasts; None: until the client gives up
    """

    kind: FaultKind
    provider: str = ""
    path: str = ""
    symbol: str = ""
    nth: int = 1
    times: int | None = 1
    rate: float = 1.0
    retry_after: float | None = None
    reset_after: float | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.nth < 1 or (self.times is not None and self.times < 1) or not 0 < self.rate <= 1:
            raise ValueError("nth and times count from 1, and a rate is above 0 and at most 1")
        re.compile(self.path)

    @classmethod
    def from_json(cls, value: Any) -> Self:
        """A fault from an object with the attributes' names.

        Raises
        ------
        ValueError
            If it is no object, a name is unknown, ``kind`` is missing or a value is wrong.
        """
        known = {field.name for field in fields(cls)}
        if not isinstance(value, Mapping) or set(value) - known or "kind" not in value:
            raise ValueError(f"a fault has the keys kind (required), {', '.join(sorted(known - {'kind'}))}")
        try:
            return cls(**{**value, "kind": FaultKind(value["kind"])})
        except (TypeError, re.error) as error:
            raise ValueError(str(error)) from None


class FaultPlan:
    """The faults of a server, in the order in which they are tried. Safe to change and to ask from any thread.

    Parameters
    ----------
    faults : tried in this order; a call gets the first one that it is due for, and counts for all that it matches
    seed : of the draw for faults with a rate
    """

    def __init__(self, faults: Iterable[Fault] = (), *, seed: int = 0) -> None:
        self._lock = threading.Lock()
        self._random = random.Random(seed)  # noqa: S311 - which request fails is no secret
        self._entries = [_Entry(fault) for fault in faults]

    def add(self, kind: FaultKind | str, **attributes: Any) -> Fault:
        """Add a fault; keywords as the attributes of :class:`Fault`.

        Raises
        ------
        ValueError
            If a value is wrong.
        """
        fault = Fault(FaultKind(kind), **attributes)
        self.append(fault)
        return fault

    def append(self, fault: Fault) -> None:
        """Add a fault behind the others."""
        with self._lock:
            self._entries.append(_Entry(fault))

    def replace(self, faults: Iterable[Fault]) -> None:
        """Forget all faults and their counts, and plan these."""
        entries = [_Entry(fault) for fault in faults]
        with self._lock:
            self._entries = entries

    def clear(self) -> None:
        """From now on nothing fails."""
        self.replace(())

    def choose(self, provider: str, path: str, symbol: str, kinds: Container[FaultKind]) -> Fault | None:
        """Count a call, and say what happens to it; None: nothing."""
        if not self._entries:
            return None
        chosen = None
        with self._lock:
            for entry in self._entries:
                if entry.fault.kind in kinds and entry.counts(provider, path, symbol) and chosen is None:
                    chosen = entry.taken(self._random)
        return chosen

    def hits(self, kind: FaultKind | str | None = None) -> int:
        """How many calls have failed so far, by one kind or by any."""
        with self._lock:
            return sum(entry.hits for entry in self._entries if kind is None or entry.fault.kind == kind)

    def as_json(self) -> list[dict[str, Any]]:
        """The faults, each with the number of calls that matched and that it happened to."""
        with self._lock:
            return [{**asdict(entry.fault), "matched": entry.matched, "hits": entry.hits} for entry in self._entries]


class _Entry:
    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.matched = 0
        self.hits = 0

    def counts(self, provider: str, path: str, symbol: str) -> bool:
        fault = self.fault
        if (fault.provider and fault.provider != provider) or (fault.symbol and fault.symbol != symbol):
            return False
        if fault.path and not re.search(fault.path, path):
            return False
        self.matched += 1
        return True

    def taken(self, draw: random.Random) -> Fault | None:
        is_over = self.fault.times is not None and self.hits >= self.fault.times
        if is_over or self.matched < self.fault.nth or (self.fault.rate < 1 and draw.random() >= self.fault.rate):
            return None
        self.hits += 1
        return self.fault
