"""What live processes show of themselves in Redis, read by those who look after them."""

from typing import Any

import redis

from tickstock_pipeline.messaging.channels import (
    BAR_SHARDS,
    FEED_STATE,
    HEARTBEATS,
    PATTERN_STREAM,
    PATTERNS,
    worker_state_key,
)
from tickstock_pipeline.messaging.connection import named_errors

_KEYS_AT_ONCE = 1000

State = dict[str, str]


def worker_states(client: "redis.Redis") -> dict[str, State]:
    """The state of each live worker, by its name."""
    return _states(client, worker_state_key(""))


def feed_state(client: "redis.Redis") -> State | None:
    """The state of the live feed; None: none runs."""
    with named_errors():
        return _as_text(client.hgetall(FEED_STATE)) or None


def shards_in_use(client: "redis.Redis") -> range:
    """The shards of the live bars; none if nobody has asked for them yet."""
    with named_errors():
        count: Any = client.get(BAR_SHARDS)
    return range(0 if count is None else int(count))


def heartbeats(client: "redis.Redis") -> dict[str, float | None]:
    """Each heartbeat key's Unix time; None: it has expired, so no producer lives."""
    with named_errors():
        found: Any = client.mget(HEARTBEATS)
    return {key: _number(value) for key, value in zip(HEARTBEATS, found, strict=True)}


def pattern_listeners(client: "redis.Redis") -> int:
    """How many connections listen on the channel of pattern events."""
    with named_errors():
        found: Any = client.pubsub_numsub(PATTERNS)
    return int(found[0][1])


def kept_pattern_events(client: "redis.Redis") -> int:
    """How many events the stream of pattern events holds."""
    with named_errors():
        return int(client.xlen(PATTERN_STREAM))


def _states(client: "redis.Redis", prefix: str) -> dict[str, State]:
    found: dict[str, State] = {}
    with named_errors():
        for key in client.scan_iter(match=f"{prefix}*", count=_KEYS_AT_ONCE, _type="hash"):
            # it may have expired in between
            if state := _as_text(client.hgetall(key)):
                found[key.decode()[len(prefix) :]] = state
    return dict(sorted(found.items()))


def _as_text(state: Any) -> State:
    return {field.decode(): value.decode(errors="replace") for field, value in state.items()}


def _number(value: bytes | None) -> float | None:
    try:
        return None if value is None else float(value)
    except ValueError:
        return None
