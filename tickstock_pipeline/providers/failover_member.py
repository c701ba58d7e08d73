"""One of several providers: how many may ask it at once, and whether it is left out at the moment."""

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from tickstock_pipeline.errors import NotInPlanError, ProviderError, UnknownSymbolError
from tickstock_pipeline.providers.base import HistoricalProvider

T = TypeVar("T")

FAILURES_IN_A_ROW = 3
"""Symbols in a row for which a provider fails before it is left out."""

FIRST_REST = 30.0
LONGEST_REST = 900.0
"""Seconds that a provider is left out, at first and at most."""

_logger = logging.getLogger(__name__)


class Member:
    """One provider.

    Parameters
    ----------
    provider : asked by so many threads at once as it allows
    clock : seconds, monotonic
    """

    def __init__(self, provider: HistoricalProvider, clock: Callable[[], float]) -> None:
        self.provider = provider
        self._turns = threading.BoundedSemaphore(provider.concurrency)
        self._clock = clock
        self._lock = threading.Lock()
        self._failed: list[str] = []
        self._last_error = ""
        # 0 while it is not left out
        self._rest_seconds = 0.0
        self._rests_until = 0.0
        self._is_on_trial = False

    def rest(self) -> str:
        """Why it is not to be asked now; empty if the caller is to ask it, and does so."""
        with self._lock:
            if not self._rest_seconds:
                return ""
            if self._clock() >= self._rests_until and not self._is_on_trial:
                self._is_on_trial = True
                return ""
            return f"left out for a while, as it failed for {FAILURES_IN_A_ROW} symbols in a row: {self._last_error}"

    def ask(self, symbol: str, question: Callable[[], T]) -> T:
        """Its answer, once it is this question's turn.

        Raises
        ------
        ProviderError
            What the provider raised.
        """
        try:
            with self._turns:
                answer = question()
        except (UnknownSymbolError, NotInPlanError):
            # that is an answer too
            self._note_answer()
            raise
        except ProviderError as error:
            self._note_failure(symbol, error)
            raise
        except BaseException:
            with self._lock:
                self._is_on_trial = False
            raise
        self._note_answer()
        return answer

    def _note_answer(self) -> None:
        with self._lock:
            was_left_out, self._rest_seconds = self._rest_seconds > 0, 0.0
            self._is_on_trial = False
            self._failed.clear()
        if was_left_out:
            _logger.info("Provider %s answers again.", self.provider.name)

    def _note_failure(self, symbol: str, error: ProviderError) -> None:
        with self._lock:
            self._last_error = error.message
            if self._rest_seconds:
                # others may have been asking it when it was left out: their failures are no news
                if self._is_on_trial:
                    self._leave_out(min(self._rest_seconds * 2, LONGEST_REST))
                return
            if symbol not in self._failed:
                self._failed.append(symbol)
            if len(self._failed) < FAILURES_IN_A_ROW:
                return
            self._leave_out(FIRST_REST)
        _logger.warning(
            "Provider %s failed for %d symbols in a row and is left out for a while: %s",
            self.provider.name,
            FAILURES_IN_A_ROW,
            error.message,
        )

    def _leave_out(self, seconds: float) -> None:
        self._rest_seconds = seconds
        self._rests_until = self._clock() + seconds
        self._is_on_trial = False
