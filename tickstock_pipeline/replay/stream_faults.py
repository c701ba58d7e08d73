"""What goes wrong with single events of the stream: sent twice, late, in another order, or wrong at first.

Whatever happens here, the last event sent for a symbol, type and start is the right one; only bars that are bad
(``bad-ohlc``, ``fractional-volume``) stay so, as a provider's would.
"""

import json
import random
from collections.abc import Iterable

from tickstock_pipeline.replay.faults import EVENT_KINDS, FaultKind, FaultPlan
from tickstock_pipeline.replay.stream_events import MINUTE, SECOND, Event

PROVIDER = "stream"

_MINUTE_MS = 60_000
_LATEST_MINUTES = 3
_SHUFFLED_MINUTES = 5


class EventFaults:
    """Holds events back until their time; one for each run of a playback.

    Parameters
    ----------
    plan : asked for each event, as provider ``stream``, with the event's type as the path
    seed : of the delays
    """

    def __init__(self, plan: FaultPlan, seed: int) -> None:
        self._plan = plan
        self._random = random.Random(seed)  # noqa: S311 - how late a bar comes is no secret
        self._held: list[tuple[int, int, Event]] = []
        self._count = 0

    def passed(self, events: Iterable[Event], now: int) -> list[Event]:
        """What is sent at ``now`` (Unix milliseconds of the market): due events held back before, and these."""
        sent = self._due(now)
        for event in events:
            sent += self._after_fault(event, now)
        return sent

    def rest(self) -> list[Event]:
        """Everything that is still held back."""
        return self._due(2**62)

    def _after_fault(self, event: Event, now: int) -> list[Event]:
        fault = self._plan.choose(PROVIDER, event.type, event.symbol, EVENT_KINDS)
        if fault is None:
            return [event]
        match fault.kind:
            case FaultKind.DUPLICATES:
                return [event, event]
            case FaultKind.LATE:
                self._hold(event, now + _MINUTE_MS * self._random.randint(1, _LATEST_MINUTES))
                return []
            case FaultKind.OUT_OF_ORDER:
                self._hold(event, now + self._random.randint(1, _SHUFFLED_MINUTES * _MINUTE_MS))
                return []
            case FaultKind.CORRECTED:
                self._hold(event, now + _MINUTE_MS * self._random.randint(1, _LATEST_MINUTES))
                return [_provisional(event)]
            case _:
                return [_bad(event, fault.kind)]

    def _hold(self, event: Event, until: int) -> None:
        self._count += 1
        self._held.append((until, self._count, event))

    def _due(self, now: int) -> list[Event]:
        if not self._held:
            return []
        due = sorted(held for held in self._held if held[0] <= now)
        self._held = [held for held in self._held if held[0] > now]
        return [event for _, _, event in due]


def _provisional(event: Event) -> Event:
    """The event as a provider first has it: without the last trades."""
    fields = json.loads(event.text)
    if event.type in (MINUTE, SECOND):
        fields["c"] = fields["o"]
        fields["v"] = max(fields["v"] // 2, 1)
    return event._replace(text=json.dumps(fields, separators=(",", ":")))


def _bad(event: Event, kind: FaultKind) -> Event:
    fields = json.loads(event.text)
    if event.type in (MINUTE, SECOND):
        if kind is FaultKind.BAD_OHLC:
            fields["h"], fields["l"] = fields["l"], fields["h"] + 1.0
        else:
            fields["v"] += 0.25
    return event._replace(text=json.dumps(fields, separators=(",", ":")))
