"""How often a provider may be asked: budgets of requests that all processes of one account share.

The windows in which requests are counted are :mod:`tickstock_pipeline.providers.windows` and
:mod:`tickstock_pipeline.providers.shared_windows`; repeating a request that
failed is :mod:`tickstock_pipeline.providers.retries`.

The provider counts a request when it arrives, we when it leaves, so a window of ours is a little longer than the
provider's, and where the budget has room one request is kept back. Together they cost less than 5 % of the time.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import cache

import redis
from limits import RateLimitItem, RateLimitItemPerDay, RateLimitItemPerMinute

from tickstock_pipeline.errors import RateLimitedError, WaitEndedError
from tickstock_pipeline.providers.shared_windows import SharedWindows
from tickstock_pipeline.providers.waiting import wait
from tickstock_pipeline.providers.windows import LocalWindows, Slot, Window, Windows
from tickstock_pipeline.settings import Settings

LONGEST_WAIT = 900.0
"""Seconds that a request waits for its turn before it is given up."""

LONGEST_PENALTY = 25 * 3600.0
"""Seconds that a provider can hold up an account: the longest day of a year, since quotas are of a day at most.

What it says may be nonsense, such as a time of reset in a unit that nobody knows, and is kept for all processes.
"""

_MARGIN = 1 / 40
_LONGEST_MARGIN = 1.5
_MOST_TIME_LOST = 0.05

# The part of the budget that each process takes where it cannot see what the others use.
_SHARE_WITHOUT_REDIS = 4
_PAUSE_WITHOUT_LIMIT = 1.0

_logger = logging.getLogger(__name__)


class RequestBudget:
    """The right to send requests to one provider with one account; may be used by several threads.

    Parameters
    ----------
    name : of the provider, for messages
    limits : none: requests are held up only while the provider asks everybody to wait
    shared : windows over Redis; None: this process is alone
    local : windows of this process, for when there is no Redis or it does not answer
    longest_wait : seconds
    clock, sleep : seconds, monotonic
    """

    def __init__(
        self,
        name: str,
        limits: Sequence[Window],
        shared: SharedWindows | None,
        local: LocalWindows,
        *,
        longest_wait: float = LONGEST_WAIT,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = wait,
    ) -> None:
        self._name = name
        self._limits = limits
        self._shared = shared
        self._local = local
        self._longest_wait = longest_wait
        self._clock = clock
        self._sleep = sleep
        self._shortest = min((window.item.get_expiry() for window in limits), default=None)
        # Half the margin is for us to be late, half for the network.
        self._latest = min((window.seconds - window.item.get_expiry() for window in limits), default=float("inf")) / 2
        self._lock = threading.Lock()
        self._is_cut_off = False

    @property
    def is_limited(self) -> bool:
        """Whether there is a limit at all."""
        return bool(self._limits)

    @property
    def per_minute(self) -> float | None:
        """Requests a minute by the limit over the shortest time; None if there is no limit."""
        shortest = min((window.item for window in self._limits), key=RateLimitItem.get_expiry, default=None)
        return None if shortest is None else shortest.amount * 60 / shortest.get_expiry()

    def acquire(self) -> None:
        """Wait until a request may be sent; it must be sent at once.

        Raises
        ------
        RateLimitedError
            If the wait would be longer than ``longest_wait``; says how long it would be.
        WaitEndedError
            If nobody wants to send it any more; its place is given to whoever comes next.
        """
        start = self._clock()
        self._sleep(0.0)
        while True:
            asked = self._clock()
            windows, slot = self._reserve(max(self._longest_wait - (asked - start), 0.0))
            if not slot.is_granted:
                raise RateLimitedError(
                    f"{self._name}: the quota of {self._described()} is spent; "
                    f"the next request can be sent in {slot.wait:.0f} s.",
                    retry_after_seconds=slot.wait,
                    advice="Import fewer symbols at a time, raise the limit in the settings if the account's plan "
                    "allows more, or name another provider behind this one in TICKSTOCK_PROVIDER.",
                )
            if slot.wait > 0:
                self._wait_for(windows, slot)
            # a process that was held up must not send what the windows have counted as sent long ago
            if not self._is_void(windows, slot) and self._clock() - (asked + slot.wait) <= self._latest:
                return

    def penalise(self, seconds: float | None) -> None:
        """Hold up everybody on this account: the provider has said that it was asked too often.

        Parameters
        ----------
        seconds : from now on, :data:`LONGEST_PENALTY` at most; None, where it did not say: the shortest window
        """
        if seconds is None:
            seconds = self._shortest or _PAUSE_WITHOUT_LIMIT
        if seconds <= 0:
            return
        seconds = min(seconds, LONGEST_PENALTY)
        if self._shared is not None:
            try:
                self._shared.pause(seconds)
            except redis.RedisError as error:
                self._note_loss(error)
            else:
                return
        self._local.pause(seconds)

    def _reserve(self, longest_wait: float) -> tuple[Windows, Slot]:
        if self._shared is None:
            return self._local, self._local.reserve(longest_wait)
        try:
            slot = self._shared.reserve(longest_wait)
        except redis.RedisError as error:
            self._note_loss(error)
            slot = self._local.reserve(longest_wait)
            if slot.is_granted:
                self._shared.note(slot.wait)
            return self._local, slot
        with self._lock:
            was_cut_off, self._is_cut_off = self._is_cut_off, False
        if was_cut_off:
            _logger.info("%s: Redis answers again; the whole request budget is shared over it.", self._name)
        return self._shared, slot

    def _wait_for(self, windows: Windows, slot: Slot) -> None:
        try:
            self._sleep(slot.wait)
        except WaitEndedError:
            try:
                windows.give_back(slot)
            except redis.RedisError as error:
                self._note_loss(error)
            raise

    def _is_void(self, windows: Windows, slot: Slot) -> bool:
        # what had not to be waited for was reserved a moment ago
        if slot.wait <= 0:
            return False
        try:
            return windows.is_void(slot)
        except redis.RedisError as error:
            self._note_loss(error)
            return False

    def _note_loss(self, error: redis.RedisError) -> None:
        with self._lock:
            was_cut_off, self._is_cut_off = self._is_cut_off, True
        if was_cut_off:
            return
        _logger.warning(
            "%s: Redis, over which processes share the request budget, does not answer (%s). This process goes on with "
            "a part of the budget until it does.",
            self._name,
            type(error).__name__,
        )
        if self._shortest is not None:
            # of what the others have just sent nothing is known
            self._local.pause(self._shortest)

    def _described(self) -> str:
        return " and ".join(str(window.item) for window in self._limits) or "requests"


def request_budget(
    settings: Settings,
    provider: str,
    account: str | None,
    per_minute: int,
    per_day: int,
    *,
    longest_wait: float = LONGEST_WAIT,
) -> RequestBudget:
    """The budget of one provider's account, shared over Redis where the settings name one.

    Parameters
    ----------
    provider : its name
    account : from :func:`account_of`; None for a provider without accounts
    per_minute, per_day : requests allowed; 0: no limit
    longest_wait : seconds
    """
    items: list[RateLimitItem] = []
    if per_minute:
        items.append(RateLimitItemPerMinute(per_minute))
    if per_day:
        items.append(RateLimitItemPerDay(per_day))
    name = f"{provider}:{account}" if account else provider
    url = None if settings.redis_url is None else settings.redis_dsn()
    return budget_of(provider, name, items, url, longest_wait=longest_wait)


def budget_of(
    provider: str, account: str, items: Sequence[RateLimitItem], redis_url: str | None, *, longest_wait: float
) -> RequestBudget:
    """A budget of any limits; see :func:`request_budget`.

    Parameters
    ----------
    provider : its name, for messages
    account : what the limits apply to, unique over all providers
    items : the limits as the provider states them
    redis_url : None: this process is alone
    longest_wait : seconds
    """
    windows = [window_of(item) for item in items]
    if redis_url is None:
        return RequestBudget(
            provider, windows, None, _local_windows(account, tuple(windows)), longest_wait=longest_wait
        )
    share = tuple(
        Window(type(item)(max(1, item.amount // _SHARE_WITHOUT_REDIS), item.multiples), window_of(item).seconds)
        for item in items
    )
    shared = SharedWindows(redis_url, account, windows)
    return RequestBudget(provider, windows, shared, _local_windows(account, share), longest_wait=longest_wait)


def account_of(api_key: str) -> str:
    """A name for an account that shows nothing of its key."""
    return hashlib.sha256(api_key.encode()).hexdigest()[:16]


@cache
def _local_windows(account: str, windows: tuple[Window, ...]) -> LocalWindows:
    # one for each account in a process, however many providers are built
    return LocalWindows(windows)


def window_of(item: RateLimitItem) -> Window:
    """A limit as the provider states it, a little stricter: a margin of time, a request kept back where it is cheap."""
    period = item.get_expiry()
    margin = min(period * _MARGIN, _LONGEST_MARGIN)
    amount = item.amount
    # time lost to a spare request and to the margin, as a part of the whole
    if amount > 1 and amount / (amount - 1) * (1 + margin / period) - 1 < _MOST_TIME_LOST:
        amount -= 1
    return Window(type(item)(amount, item.multiples), period + margin)
