"""The market's time as the feed sees it: the latest moment that a source has told of, going on with our own clock.

A delayed feed is a quarter of an hour behind, and one that is played again years; minutes are closed by their time.
"""

import time

import numpy as np

_AHEAD_MS = 60_000


class MarketClock:
    """Before anything is heard it shows our own time."""

    def __init__(self) -> None:
        self._newest_ms = 0
        self._seen_at = 0.0

    def saw(self, moment_ms: int) -> None:
        """Take note of a moment, Unix milliseconds; one in the future is no moment of the market."""
        if self._newest_ms < moment_ms <= time.time() * 1_000 + _AHEAD_MS:
            self._newest_ms = moment_ms
            self._seen_at = time.monotonic()

    @property
    def newest_ms(self) -> int:
        """The latest moment heard of, Unix milliseconds; 0: none yet."""
        return self._newest_ms

    def now_ms(self) -> int:
        """Unix milliseconds."""
        if not self._newest_ms:
            return int(time.time() * 1_000)
        return self._newest_ms + int((time.monotonic() - self._seen_at) * 1_000)

    def now(self) -> np.datetime64:
        """UTC."""
        return np.datetime64(self.now_ms() * 1_000, "us")
