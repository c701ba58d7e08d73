"""Whose turn it is to feed: one process at a time, since a provider gives an account one connection.

Another feed that is started waits, and takes over when the first one ends or dies.
"""

import asyncio
import logging

import redis
from redis.exceptions import LockError

from tickstock_pipeline.errors import AlreadyRunningError, MessagingError
from tickstock_pipeline.messaging.channels import FEED_TURN
from tickstock_pipeline.messaging.connection import named_errors

_logger = logging.getLogger(__name__)

TURN_S = 6.0
"""A feed that has not been heard of for so long has lost its turn."""


class FeedTurn:
    """The turn of one feed; its methods may be called from any thread, one at a time.

    Parameters
    ----------
    client : of :func:`tickstock_pipeline.messaging.connection.connect`
    """

    def __init__(self, client: "redis.Redis") -> None:
        self._lock = client.lock(FEED_TURN, timeout=TURN_S, thread_local=False)

    async def taken(self) -> None:
        """Wait until it is ours.

        Raises
        ------
        MessagingError
            If Redis does not answer at first; who stands by waits for it.
        """
        is_standing_by = False
        while True:
            wait = TURN_S / 20
            try:
                if await asyncio.to_thread(self.take):
                    return
            except MessagingError as error:
                if not is_standing_by:
                    raise
                _logger.warning("standing by, and the turn cannot be asked for reason=%s", error.message)
                # Redis may have lost whose turn it was: that feed is to have it again
                wait = TURN_S / 2
            if not is_standing_by:
                _logger.warning("another feed runs: standing by")
                is_standing_by = True
            await asyncio.sleep(wait)

    async def kept(self) -> None:
        """Go on having it until cancelled.

        Raises
        ------
        AlreadyRunningError
            If another feed has taken it.
        """
        while True:
            await asyncio.sleep(TURN_S / 5)
            try:
                await asyncio.to_thread(self.keep)
            except MessagingError as error:
                _logger.debug("turn not kept reason=%s", error.message)

    def take(self) -> bool:
        """Take the turn if nobody has it.

        Raises
        ------
        MessagingError
            If Redis does not answer.
        """
        with named_errors():
            return bool(self._lock.acquire(blocking=False))

    def keep(self) -> None:
        """Go on having it; to be called well within :data:`TURN_S`.

        Raises
        ------
        AlreadyRunningError
            If another feed has taken it, because we were held up for too long.
        MessagingError
            If Redis does not answer.
        """
        with named_errors():
            try:
                self._lock.reacquire()
            except LockError:
                # Redis may have lost it
                if not self._lock.acquire(blocking=False):
                    raise AlreadyRunningError(
                        "Another feed has taken over, since this one was held up for too long.",
                        advice="Look at what kept this machine busy. It may stand by again.",
                    ) from None

    def give_up(self) -> None:
        """Let another feed have it at once."""
        with named_errors():
            try:
                self._lock.release()
            except LockError:
                return
