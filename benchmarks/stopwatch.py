"""Where the time of a call goes: functions of a module are timed where they are called from."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from unittest.mock import patch

Place = tuple[ModuleType | type, str]
"""A module and the name under which it calls a function, or a class and the name of a method."""


@contextmanager
def split_times(parts: Mapping[str, list[Place]]) -> Iterator[dict[str, float]]:
    """Seconds spent in each part's functions while the context lasts; a part called within another counts for itself.

    Parameters
    ----------
    parts : name -> the places from which its functions are called
    """
    spent = dict.fromkeys(parts, 0.0)
    running: list[str] = []
    since = [0.0]

    def switch() -> None:
        now = time.perf_counter()
        if running:
            spent[running[-1]] += now - since[0]
        since[0] = now

    def timed(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            switch()
            running.append(part)
            try:
                return function(*arguments, **named)
            finally:
                switch()
                running.pop()

        return call

    patches = [
        patch.object(module, name, timed(part, getattr(module, name)))
        for part, places in parts.items()
        for module, name in places
    ]
    for one in patches:
        one.start()
    try:
        yield spent
    finally:
        for one in patches:
            one.stop()
