"""Waiting for what a process outside this one does."""

import time
from collections.abc import Callable


def wait_until(is_so: Callable[[], bool], otherwise: str, seconds: float = 300) -> None:
    """Return once something is so; fail with ``otherwise`` if it does not come to pass."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.2)
