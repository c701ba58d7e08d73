"""Moving windows over Redis, which all processes and machines that use an account share.

What a window is, and that of a single process, is :mod:`tickstock_pipeline.providers.windows`.

1. A window holds the times of the last ``amount`` requests, newest first: the list that the moving window of the
   library ``limits`` keeps, under the same key, so its own strategies can read it and take from it too.
2. That library refuses a request that comes too early, by the clock of the machine that asks. Here the request is
   given the first time at which every window has room, which may lie in the future, by the clock of Redis, in one
   atomic step. So waiting is exact and first come is first served, between threads, processes and machines.
3. A pause, which the provider imposes, moves every slot behind its end. Slots reserved before are void.
4. Redis may come back without the lists. It then lives in another era than we remember, and every process puts back
   the slots that it was given.
"""

import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from limits.storage import RedisStorage
from redis.backoff import NoBackoff
from redis.retry import Retry

from tickstock_pipeline.errors import RedisUnreachableError
from tickstock_pipeline.providers.windows import Slot, Window

_SOCKET_SECONDS = 2.0

# KEYS: pause, era, a list for each window. ARGV: longest wait, the caller's era, a new one, then the amount and
# the seconds of each window. Gives nothing where the era is not the one that the caller knows.
_RESERVE = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local era = redis.call('GET', KEYS[2])
if ARGV[2] ~= '' and era ~= ARGV[2] then
    return false
end
local pause = redis.call('GET', KEYS[1]) or ''
local slot = math.max(now, tonumber(pause) or 0)
local longest = 1
for i = 3, #KEYS do
    local amount, seconds = tonumber(ARGV[2 * i - 2]), tonumber(ARGV[2 * i - 1])
    local newest = redis.call('LINDEX', KEYS[i], 0)
    local oldest = redis.call('LINDEX', KEYS[i], amount - 1)
    slot = math.max(slot, tonumber(newest) or 0, oldest and oldest + seconds or 0)
    longest = math.max(longest, seconds)
end
local wait = slot - now
local is_granted = wait <= tonumber(ARGV[1])
if is_granted then
    for i = 3, #KEYS do
        redis.call('LPUSH', KEYS[i], string.format('%.6f', slot))
        while tonumber(redis.call('LINDEX', KEYS[i], -1)) + ARGV[2 * i - 1] <= now do
            redis.call('RPOP', KEYS[i])
        end
        redis.call('PEXPIRE', KEYS[i], math.ceil((wait + ARGV[2 * i - 1]) * 1000))
    end
end
era = era or ARGV[3]
redis.call('SET', KEYS[2], era, 'PX', math.ceil((wait + longest) * 2000))
return {is_granted and 1 or 0, string.format('%.6f', slot), string.format('%.6f', now), pause, era}
"""

# KEYS: pause, era, the lists. ARGV: seconds. Nobody sends in a slot that is still to come: it is given back, and who
# waits for it learns of the pause then, which may be long over. He is a second late at most.
_PAUSE = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local pause = string.format('%.6f', now + ARGV[1])
local before = redis.call('GET', KEYS[1])
if before and tonumber(before) >= tonumber(pause) then
    return 0
end
local newest = tonumber(pause)
for i = 3, #KEYS do
    newest = math.max(newest, tonumber(redis.call('LINDEX', KEYS[i], 0) or 0))
end
local is_shown_for = math.max(math.ceil((newest - now + 1) * 1000), redis.call('PTTL', KEYS[1]))
redis.call('SET', KEYS[1], pause, 'PX', is_shown_for)
for i = 3, #KEYS do
    while tonumber(redis.call('LINDEX', KEYS[i], 0) or 0) > now do
        redis.call('LPOP', KEYS[i])
    end
end
return 1
"""

# KEYS: pause, era, the lists. ARGV: a new era, the number of windows, the amount and seconds of each, the slots.
_RESTORE = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local n_windows = tonumber(ARGV[2])
local longest = 1
for i = 3, #KEYS do
    local seconds = tonumber(ARGV[2 * i - 2])
    local slots = redis.call('LRANGE', KEYS[i], 0, -1)
    local is_known = {}
    for _, slot in ipairs(slots) do
        is_known[slot] = true
    end
    for n = 3 + 2 * n_windows, #ARGV do
        if not is_known[ARGV[n]] and ARGV[n] + seconds > now then
            slots[#slots + 1] = ARGV[n]
        end
    end
    table.sort(slots, function(one, other) return tonumber(one) > tonumber(other) end)
    redis.call('DEL', KEYS[i])
    for n = 1, #slots do
        redis.call('RPUSH', KEYS[i], slots[n])
    end
    if #slots > 0 then
        redis.call('PEXPIRE', KEYS[i], math.ceil((math.max(slots[1] - now, 0) + seconds) * 1000))
    end
    longest = math.max(longest, seconds)
end
redis.call('SET', KEYS[2], ARGV[1], 'PX', math.ceil(longest * 2000), 'NX')
return redis.call('GET', KEYS[2])
"""


class SharedWindows:
    """Windows of an account that all processes and machines share.

    Parameters
    ----------
    url : of Redis
    account : what the limits apply to
    windows : none: only pauses are shared
    clock : seconds, monotonic

    Methods raise ``redis.RedisError`` where Redis does not answer.

    Raises
    ------
    RedisUnreachableError
        If the URL is malformed.
    """

    def __init__(
        self, url: str, account: str, windows: Sequence[Window], clock: Callable[[], float] = time.monotonic
    ) -> None:
        try:
            storage = RedisStorage(
                url,
                socket_timeout=_SOCKET_SECONDS,
                socket_connect_timeout=_SOCKET_SECONDS,
                # a connection that Redis has closed by its restart is opened again at once
                retry=Retry(NoBackoff(), 1),  # type: ignore[arg-type]
                decode_responses=True,
            )
        except ValueError:
            # the library's own words quote parts of the URL, which may be parts of a password
            raise RedisUnreachableError(
                "The Redis URL is malformed.",
                advice="Correct TICKSTOCK_REDIS_URL (percent-encode special characters in its password).",
            ) from None
        self._client: Any = storage.get_connection()
        self._windows = [argument for window in windows for argument in (window.item.amount, f"{window.seconds:.6f}")]
        # the braces keep an account's keys on one node of a cluster
        name = f"{{{account}}}"
        self._keys = [
            storage.prefixed_key(f"PAUSE/{name}"),
            storage.prefixed_key(f"ERA/{name}"),
            *(storage.prefixed_key(window.item.key_for(name)) for window in windows),
        ]
        self._reserve = self._client.register_script(_RESERVE.encode())
        self._pause = self._client.register_script(_PAUSE.encode())
        self._restore = self._client.register_script(_RESTORE.encode())
        self._clock = clock
        self._lock = threading.Lock()
        self._era = ""
        self._behind_redis = time.time() - clock()
        self._given: deque[str] = deque(maxlen=max((window.item.amount for window in windows), default=1))

    def reserve(self, longest_wait: float) -> Slot:
        """See :meth:`Windows.reserve`."""
        while True:
            with self._lock:
                era = self._era
            answer = self._reserve(self._keys, [f"{longest_wait:.6f}", era, uuid.uuid4().hex, *self._windows])
            if answer is not None:
                break
            self._put_back()
        is_granted, key, now, pause, era = answer
        with self._lock:
            # a restoration by another thread in between knows better
            self._era = self._era or era
            self._behind_redis = float(now) - self._clock()
            if is_granted:
                self._given.append(key)
        return Slot(bool(is_granted), float(key) - float(now), key, pause)

    def is_void(self, slot: Slot) -> bool:
        """See :meth:`Windows.is_void`."""
        pause = self._client.get(self._keys[0])
        is_void = bool(pause) and pause != slot.pause
        if is_void:
            self._forget(slot)
        return is_void

    def give_back(self, slot: Slot) -> None:
        """See :meth:`Windows.give_back`."""
        self._forget(slot)
        for key in self._keys[2:]:
            self._client.lrem(key, 1, slot.key)

    def pause(self, seconds: float) -> None:
        """See :meth:`Windows.pause`."""
        self._pause(self._keys, [f"{seconds:.6f}"])

    def note(self, wait: float) -> None:
        """Count a request that is sent ``wait`` seconds from now without Redis having been asked."""
        with self._lock:
            self._given.append(f"{self._clock() + wait + self._behind_redis:.6f}")
            # no era at all would look like the first contact, where there is nothing to put back
            self._era = "-"

    def _forget(self, slot: Slot) -> None:
        with self._lock:
            self._given = deque((key for key in self._given if key != slot.key), maxlen=self._given.maxlen)

    def _put_back(self) -> None:
        with self._lock:
            given = list(self._given)
        era = self._restore(self._keys, [uuid.uuid4().hex, len(self._keys) - 2, *self._windows, *given])
        with self._lock:
            self._era = era
