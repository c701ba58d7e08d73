"""Moving windows of requests, in which a slot is reserved ahead of time and then waited for.

How a request is waited for, and what happens where Redis is away, is :mod:`tickstock_pipeline.providers.limits`; the
windows that processes share are :mod:`tickstock_pipeline.providers.shared_windows`.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from limits import RateLimitItem


@dataclass(frozen=True, slots=True)
class Window:
    """At most so many requests in so long.

    Attributes
    ----------
    item : amount, period and key, as the library ``limits`` has them
    seconds : how long the window really is: the period and a margin
    """

    item: RateLimitItem
    seconds: float


@dataclass(frozen=True, slots=True)
class Slot:
    """When a request may be sent.

    Attributes
    ----------
    is_granted : False where the wait would be longer than the caller allows; nothing is reserved then
    wait : seconds from now on
    key : the slot's own name
    pause : the pause that was in force when it was given; empty if none
    """

    is_granted: bool
    wait: float
    key: str
    pause: str


class Windows(Protocol):
    """All windows of one account, and its pause."""

    def reserve(self, longest_wait: float) -> Slot:
        """The first slot for which every window has room."""
        ...

    def is_void(self, slot: Slot) -> bool:
        """Whether a pause began after the slot was reserved; another one must be reserved then."""
        ...

    def give_back(self, slot: Slot) -> None:
        """Nobody will send anything in a slot that is still to come."""
        ...

    def pause(self, seconds: float) -> None:
        """No request of this account from now on, for so long."""
        ...


class LocalWindows:
    """Windows of an account that only this process uses.

    Parameters
    ----------
    windows : none: only pauses count
    clock : seconds, monotonic
    """

    def __init__(self, windows: Sequence[Window], clock: Callable[[], float] = time.monotonic) -> None:
        # slots that count: those of the last seconds, and those still to come
        self._windows = [(deque[float](), window.item.amount, window.seconds) for window in windows]
        self._clock = clock
        self._paused_until = 0.0
        self._lock = threading.Lock()

    def reserve(self, longest_wait: float) -> Slot:
        """See :meth:`Windows.reserve`."""
        with self._lock:
            now = self._clock()
            slot = max(now, self._paused_until)
            for given, amount, seconds in self._windows:
                while given and given[0] + seconds <= now:
                    given.popleft()
                if given:
                    slot = max(slot, given[-1])
                if len(given) >= amount:
                    slot = max(slot, given[-amount] + seconds)
            is_granted = slot - now <= longest_wait
            if is_granted:
                for given, _, _ in self._windows:
                    given.append(slot)
            return Slot(is_granted, slot - now, repr(slot), repr(self._paused_until))

    def is_void(self, slot: Slot) -> bool:
        """See :meth:`Windows.is_void`."""
        with self._lock:
            return slot.pause != repr(self._paused_until)

    def give_back(self, slot: Slot) -> None:
        """See :meth:`Windows.give_back`."""
        with self._lock:
            for given, _, _ in self._windows:
                with suppress(ValueError):
                    given.remove(float(slot.key))

    def pause(self, seconds: float) -> None:
        """See :meth:`Windows.pause`."""
        with self._lock:
            now = self._clock()
            if now + seconds <= self._paused_until:
                return
            self._paused_until = now + seconds
            for given, _, _ in self._windows:
                while given and given[-1] > now:
                    given.pop()
