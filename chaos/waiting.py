"""Waiting for what another process does."""

import time
from collections.abc import Callable

_TICK_S = 0.02


def until(is_so: Callable[[], bool], what: str, *, patience_s: float = 300.0) -> None:
    """Return as soon as it is so.

    Parameters
    ----------
    what : is waited for, without an article, for the message

    Raises
    ------
    RuntimeError
        If it does not come to be in time.
    """
    deadline = time.monotonic() + patience_s
    while not is_so():
        if time.monotonic() >= deadline:
            raise RuntimeError(f"There was no {what} within {patience_s:g} s.")
        time.sleep(_TICK_S)
