"""Waits that end early once nobody wants what comes after them.

A request may wait for many minutes: for its turn in the budget, or because the provider has asked for a pause. Whoever
sends requests in threads gives each the event that ends its waits (:func:`ended_by`); without one they are as long as
they are.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from tickstock_pipeline.errors import WaitEndedError

_END: ContextVar[threading.Event | None] = ContextVar("end", default=None)


@contextmanager
def ended_by(end: threading.Event) -> Iterator[None]:
    """Within the context, waits of this thread end when ``end`` is set."""
    token = _END.set(end)
    try:
        yield
    finally:
        _END.reset(token)


def wait(seconds: float) -> None:
    """Sleep.

    Raises
    ------
    WaitEndedError
        As soon as nobody wants what comes after it; at once, if that was so before.
    """
    end = _END.get()
    if end is None:
        time.sleep(seconds)
    elif end.wait(seconds):
        raise WaitEndedError("Nobody waits for this request any more.")
