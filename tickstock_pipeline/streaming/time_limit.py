"""An end to an analysis that does not end by itself: definitions run functions of libraries, on numbers of others.

A thread cannot be ended from outside, but a signal's handler may raise in the main thread, which is where a worker
works. A call of C code is not interrupted before it returns.
"""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Again, in case that what runs takes the exception for one of its own.
_AGAIN_S = 0.25
_AT_ONCE_S = 1e-6


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Let what is done within take so long and no longer; without effect outside of the main thread.

    Another alarm that is set for this process rings when it would have rung.

    Raises
    ------
    TimeoutError
        From wherever the work is at that moment.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    is_over = False

    def end(_: int, __: FrameType | None) -> None:
        if not is_over:
            raise TimeoutError(f"it took more than {seconds:g} s and was ended")

    began = time.monotonic()
    handler_before = signal.signal(signal.SIGALRM, end)
    left_before, every_before = signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_S)
    try:
        # twice, since the alarm may ring on the way out
        try:
            yield
        finally:
            is_over = True
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, handler_before)
        if left_before:
            left = max(left_before - (time.monotonic() - began), _AT_ONCE_S)
            signal.setitimer(signal.ITIMER_REAL, left, every_before)
