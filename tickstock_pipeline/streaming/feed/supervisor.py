"""Keeps a source's connection up: opens it again after it ends, and ends it when nothing comes any more.

1. A connection that ends, for whatever reason, is opened again after a jittered back-off that doubles up to a bound.
   One that has served resets it.
2. One that does not open in time is given up.
3. During sessions a connection that gives nothing for a while is taken for dead. Where the next one is as silent, we
   wait longer each time: some symbols trade seldom.
4. A refusal is final: asking again would not change it.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tickstock_pipeline.errors import ProviderUnavailableError
from tickstock_pipeline.streaming.feed.inbox import Inbox
from tickstock_pipeline.streaming.feed.source import LiveSource

_logger = logging.getLogger(__name__)

_LONGEST_SILENCE = 10
_CANCEL_AGAIN_S = 0.5


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for what, in seconds.

    Attributes
    ----------
    opening : until a connection gives what is subscribed to
    silence : without a message during a session, until a connection is taken for dead
    first_back_off, longest_back_off : between two connections
    serving : a connection that lived so long has served
    """

    opening: float = 30.0
    silence: float = 90.0
    first_back_off: float = 0.5
    longest_back_off: float = 30.0
    serving: float = 30.0


class Supervisor:
    """Listens to one source for ever.

    Parameters
    ----------
    is_watched : whether silence is a bad sign now
    on_up : told when a connection has opened
    on_down : told when a connection has ended, or could not be opened, why, and whether because it gave nothing
    on_warning : told what the other side complains about
    """

    def __init__(
        self,
        source: LiveSource,
        inbox: Inbox,
        *,
        patience: Patience,
        is_watched: Callable[[], bool],
        on_up: Callable[[], None],
        on_down: Callable[[str, bool], None],
        on_warning: Callable[[str], None],
    ) -> None:
        self._source = source
        self._inbox = inbox
        self._patience = patience
        self._is_watched = is_watched
        self._on_up = on_up
        self._on_down = on_down
        self._on_warning = on_warning
        self._failures = 0
        self._silences = 0
        self._last_reason = ""

    async def run(self) -> None:
        """Listen until cancelled.

        Raises
        ------
        ProviderRefusedError
            If the source refuses us.
        """
        while True:
            line = _Line(self._inbox, self._on_up, self._on_warning)
            silences = self._silences
            reason = await self._until_end(line)
            is_silent = self._silences > silences
            if line.n_heard:
                self._silences, self._last_reason = 0, ""
            if line.n_heard or line.age > self._patience.serving:
                self._failures = 0
            self._on_down(reason, is_silent)
            wait = self._back_off()
            # a server that is down for hours must not fill the log
            level = logging.DEBUG if reason == self._last_reason else logging.WARNING
            self._last_reason = reason
            _logger.log(level, "connection ended source=%s retry_s=%.1f reason=%s", self._source.name, wait, reason)
            await asyncio.sleep(wait)

    async def _until_end(self, line: "_Line") -> str:
        listening = asyncio.create_task(self._source.listen(line), name=f"listen-{self._source.name}")
        try:
            return await self._watch(listening, line)
        except ProviderUnavailableError as error:
            return error.message
        finally:
            await _ended(listening)

    async def _watch(self, listening: "asyncio.Task[None]", line: "_Line") -> str:
        patience = self._patience
        silence = patience.silence * min(2**self._silences, _LONGEST_SILENCE)
        step = min(silence, patience.opening) / 8
        watched_since: float | None = None
        while True:
            await asyncio.wait({listening}, timeout=step)
            now = time.monotonic()
            if listening.done():
                listening.result()
                return "the other side closed the connection"
            if not line.is_open:
                if now - line.begun > patience.opening:
                    return f"the connection did not open within {patience.opening:g} s"
                continue
            if not self._is_watched():
                watched_since = None
                continue
            watched_since = now if watched_since is None else watched_since
            if line.is_waiting:
                continue
            if now - max(line.last_heard, watched_since) > silence:
                self._silences += 1
                return f"nothing came for {silence:g} s during a session"

    def _back_off(self) -> float:
        longest = min(self._patience.longest_back_off, self._patience.first_back_off * 2.0**self._failures)
        self._failures = min(self._failures + 1, 30)
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - so that not all clients come back at once


async def _ended(task: "asyncio.Task[None]") -> None:
    """Cancel a task until it has ended: before Python 3.12 ``asyncio.wait_for``, which clients use, may lose it."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=_CANCEL_AGAIN_S)
    if not task.cancelled():
        # marks it as seen; whoever awaited the task has had it
        task.exception()


class _Line:
    """See :class:`tickstock_pipeline.streaming.feed.source.Line`."""

    def __init__(self, inbox: Inbox, on_up: Callable[[], None], on_warning: Callable[[str], None]) -> None:
        self._inbox = inbox
        self._on_up = on_up
        self.warned = on_warning
        self.begun = time.monotonic()
        self.last_heard = self.begun
        self.n_heard = 0
        self.is_open = False
        self.is_waiting = False

    @property
    def age(self) -> float:
        return time.monotonic() - self.begun

    def opened(self) -> None:
        if not self.is_open:
            self.is_open = True
            self.last_heard = time.monotonic()
            self._on_up()

    async def heard(self, payload: Any) -> None:
        self.opened()
        self.n_heard += 1
        self.is_waiting = True
        try:
            await self._inbox.put(payload)
        finally:
            self.is_waiting = False
            self.last_heard = time.monotonic()
