"""What is wrong with live work, judged from what can be seen of it."""

from typing import NamedTuple

from tickstock_pipeline.messaging.health import HEARTBEAT_S
from tickstock_pipeline.streaming.observation import LiveView, ShownView, StoredView

_LAG_MS = 10_000.0
_OUTBOX_S = 10.0
_UNKNOWN = "unknown"


class Trouble(NamedTuple):
    """Something that does not work as it should: which part, and what about it."""

    part: str
    what: str


def troubles(view: LiveView) -> list[Trouble]:
    """Everything that is degraded; nothing is wrong where live work was never begun."""
    found = [Trouble(part, what) for part, what in view.problems.items()]
    if view.shown is not None:
        found += _of_shown(view.shown, view.at)
    if view.stored is not None:
        found += _of_stored(view.stored)
    if view.shown is not None and view.stored is not None:
        found += _of_both(view.shown, view.stored)
    return found


def _of_shown(shown: ShownView, now: float) -> list[Trouble]:
    found = []
    if shown.feed is not None and shown.feed.get("status", _UNKNOWN) != "healthy":
        reason = shown.feed.get("reasons") or shown.feed.get("provider_reason") or shown.feed.get("redis_problem")
        found.append(Trouble("feed", f"{shown.feed.get('status', _UNKNOWN)}{_because(reason)}"))
    for name, state in shown.workers.items():
        if state.get("status", _UNKNOWN) != "healthy":
            held_up = state.get("held_up")
            reason = (
                state.get("problem")
                or state.get("breaker_reason")
                or (held_up and f"another program's transaction holds up {held_up}")
            )
            found.append(Trouble("worker", f"{name} is {state.get('status', _UNKNOWN)}{_because(reason)}"))
        # an idle worker shows the lag of its last batch, however long ago that was
        if number(state, "lag_ms") > _LAG_MS and any(lag.undelivered for lag in shown.lag.values()):
            found.append(Trouble("lag", f"{name} is {number(state, 'lag_ms') / 1e3:.0f} s behind"))
    beats = [beat for beat in shown.heartbeats.values() if beat is not None]
    if shown.workers and (not beats or now - max(beats) > 2 * HEARTBEAT_S):
        found.append(Trouble("heartbeat", "the producer's heartbeat is overdue"))
    return found


def _of_stored(stored: StoredView) -> list[Trouble]:
    found = [Trouble("worker", f"{name} has ended without a word") for name in stored.vanished_workers]
    if stored.waiting.outbox_oldest_s > _OUTBOX_S:
        found.append(
            Trouble(
                "outbox",
                f"{stored.waiting.outbox} committed batches are not published, "
                f"the oldest for {stored.waiting.outbox_oldest_s:.0f} s",
            )
        )
    return found


def _of_both(shown: ShownView, stored: StoredView) -> list[Trouble]:
    held = {lease.shard for lease in stored.leases if lease.worker is not None}
    left = {shard: lag for shard, lag in shown.lag.items() if shard not in held and (lag.undelivered or lag.pending)}
    if not left:
        return []
    bars = sum(lag.undelivered + lag.pending for lag in left.values())
    return [Trouble("worker", f"{bars} bars wait on {len(left)} shards that no worker has")]


def number(state: dict[str, str], name: str) -> float:
    """A number of a state; 0 where there is none."""
    try:
        return float(state.get(name, ""))
    except ValueError:
        return 0.0


def _because(reason: str | None) -> str:
    return f": {reason}" if reason else ""
