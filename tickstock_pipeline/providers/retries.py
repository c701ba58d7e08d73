"""Asking a provider again: what is worth another attempt, after how long, and how often.

Waiting for the turn of a request is :mod:`tickstock_pipeline.providers.limits`; going to another provider is
:mod:`tickstock_pipeline.providers.failover`. The clients' own retries are off: this is the one place that repeats.
"""

import logging
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

import stamina

from tickstock_pipeline.errors import ProviderUnavailableError, RateLimitedError
from tickstock_pipeline.providers.waiting import wait

T = TypeVar("T")

ATTEMPTS = 5
"""Requests, the first included."""

LONGEST_PAUSE = 120.0
"""Seconds; a provider that asks for a longer pause is given up instead."""

LONGEST_TOTAL = 240.0
"""Seconds of pauses that a provider may ask for before one request is given up."""

_FIRST_PAUSE = 0.5
_LONGEST_BACK_OFF = 30.0
_JITTER = 0.5

# Times of reset come as a number of seconds, as seconds since 1970, or as milliseconds since 1970.
_SMALLEST_EPOCH = 1e9
_SMALLEST_EPOCH_MS = 1e11

# Its own log lines go past the settings of ours, and know neither what was asked for nor why it failed.
stamina.instrumentation.set_on_retry_hooks(())

_logger = logging.getLogger(__name__)


def call_with_retries(what: str, attempt: Callable[[], T]) -> T:
    """What ``attempt`` returns, asked again while a retry may mend what it raises.

    The pauses grow exponentially, with jitter, unless the provider has said how long to wait. Each attempt takes its
    own share of the request budget; waiting for that is not a pause and is not counted here.

    Parameters
    ----------
    what : what is being asked for, for the log; never with a key or a URL
    attempt : sends the request and reads the answer

    Raises
    ------
    ProviderError
        What the last attempt raised.
    WaitEndedError
        If nobody waits for it any more.
    """
    patience = Patience(what)

    def pause_after(error: Exception) -> bool | float:
        pause = patience(error)
        # its own pauses are short; what a provider asks for may take minutes, and the library's sleep cannot be ended
        if isinstance(pause, bool) or stamina.is_testing():
            return pause
        wait(pause)
        return 0.0

    caller = stamina.RetryingCaller(
        attempts=ATTEMPTS,
        timeout=None,
        wait_initial=_FIRST_PAUSE,
        wait_max=_LONGEST_BACK_OFF,
        wait_jitter=_JITTER,
    )
    return caller(pause_after, attempt)


class Patience:
    """Decides, for one request, whether an error is worth another attempt and after how long.

    Parameters
    ----------
    what : what is being asked for, for the log
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._paused = 0.0

    def __call__(self, error: Exception) -> bool | float:
        """False: give up. True: after a pause that grows. A number: after so many seconds."""
        if not retryable(error):
            return False
        _logger.info("%s: %s", self._what, error.args[0])
        asked = error.retry_after_seconds if isinstance(error, ProviderUnavailableError | RateLimitedError) else None
        if asked is None:
            return True
        self._paused += asked
        return asked if self._paused <= LONGEST_TOTAL else False


def retryable(error: Exception) -> bool:
    """Whether asking again may help: no answer, or a quota that is free again soon."""
    if not isinstance(error, ProviderUnavailableError | RateLimitedError):
        return False
    return error.retry_after_seconds is None or error.retry_after_seconds <= LONGEST_PAUSE


def may_pass(status: int) -> bool:
    """Whether an HTTP status says that the server cannot answer now, and may be able to later."""
    return status >= 500 or status in (408, 425)


def retry_after_seconds(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """How long a provider asks to wait, from the headers of its answer.

    ``Retry-After`` (a number of seconds or a date, RFC 9110) counts before ``X-RateLimit-Reset`` and
    ``RateLimit-Reset`` (a number of seconds, a moment since 1970 in seconds or milliseconds, or a date).

    Parameters
    ----------
    headers : names in any case
    now : with a timezone; None: now

    Returns
    -------
    Seconds, never negative; None where no header says anything that can be understood.
    """
    moment = now or datetime.now(UTC)
    by_name = {name.lower(): value for name, value in headers.items()}
    for name in ("retry-after", "x-ratelimit-reset", "ratelimit-reset"):
        seconds = _seconds_until(by_name.get(name, "").strip(), moment)
        if seconds is not None:
            return seconds
    return None


def _seconds_until(text: str, now: datetime) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return _seconds_until_date(text, now)
    if not math.isfinite(number):
        return None
    if number >= _SMALLEST_EPOCH_MS:
        number = number / 1000 - now.timestamp()
    elif number >= _SMALLEST_EPOCH:
        number -= now.timestamp()
    return max(number, 0.0)


def _seconds_until_date(text: str, now: datetime) -> float | None:
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    # a date without a zone is meant as GMT, RFC 5322 calls it -0000
    return max(((date if date.tzinfo else date.replace(tzinfo=UTC)) - now).total_seconds(), 0.0)
