"""Whose turn it is to feed: one process at a time, since a provider gives an account one connection.

Another feed that is started waits, and takes over when the first one ends or dies.
"""

import redis
from redis.exceptions import LockError

from tickstock_pipeline.errors import AlreadyRunningError
from tickstock_pipeline.messaging.channels import FEED_TURN
from tickstock_pipeline.messaging.connection import named_errors

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
                        advice="Look at what kept this machine busy; start this feed again to stand by.",
                    ) from None

    def give_up(self) -> None:
        """Let another feed have it at once."""
        with named_errors():
            try:
                self._lock.release()
            except LockError:
                return
