"""What a client of the pattern socket asks for, and which events that is. No socket and no Redis here."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

from tickstock_pipeline.errors import JobError, SubscriptionError
from tickstock_pipeline.imports.json_message import read_document
from tickstock_pipeline.market.symbol import normalise_symbol
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.messaging.bar_stream import EntryId, parsed_id

ALL = "*"
MOST_SYMBOLS = 5_000
"""A client's symbols, each with a filter; who wants more subscribes to all."""

Action = Literal["subscribe", "unsubscribe", "ping"]

_ACTIONS = ("subscribe", "unsubscribe", "ping")
_MOST_PATTERNS = 200
_LONGEST_PATTERN = 64
_LONGEST_REQUEST_ID = 64
_ENTRY_ID = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")
_LARGEST_ID_PART = 2**64 - 1


class Traits(NamedTuple):
    """What a filter looks at in a pattern event."""

    symbol: str
    pattern: str
    timeframe: str
    confidence: float
    is_retraction: bool = False


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events of a symbol are wanted; None wants all.

    ``min_confidence`` is about detections: what was told and does not hold is taken back, however sure it is by now.
    """

    patterns: frozenset[str] | None = None
    timeframes: frozenset[str] | None = None
    min_confidence: float = 0.0
    retractions: bool = False

    def passes(self, event: Traits) -> bool:
        """Whether an event is wanted, whatever its symbol."""
        return (
            (self.retractions if event.is_retraction else event.confidence >= self.min_confidence)
            and (self.patterns is None or event.pattern in self.patterns)
            and (self.timeframes is None or event.timeframe in self.timeframes)
        )


@dataclass(frozen=True, slots=True)
class Request:
    """A client's message.

    Attributes
    ----------
    symbols : in upper case, and :data:`ALL`; empty for a ping
    last_event_id : of the last event that the client has had
    request_id : to be given back with the answer; None: no answer is wanted
    """

    action: Action
    symbols: frozenset[str] = frozenset()
    filter: Filter = Filter()
    last_event_id: EntryId | None = None
    request_id: str | None = None


class Subscription:
    """What one client wants: a filter for each of its symbols, and one for all symbols.

    Subscribing to a symbol again replaces its filter. An event that both its symbol's filter and that for all symbols
    pass is still one event.
    """

    def __init__(self) -> None:
        self._filters: dict[str, Filter] = {}

    def __len__(self) -> int:
        return len(self._filters)

    def subscribe(self, symbols: Iterable[str], wanted: Filter) -> None:
        """Want events of these symbols, or of :data:`ALL`.

        Raises
        ------
        SubscriptionError
            If that would be more than :data:`MOST_SYMBOLS`; nothing changes then.
        """
        asked = set(symbols)
        if len(self._filters.keys() | asked) > MOST_SYMBOLS:
            raise SubscriptionError(f"more than {MOST_SYMBOLS} symbols", advice=f'Subscribe to ["{ALL}"].')
        self._filters.update(dict.fromkeys(asked, wanted))

    def unsubscribe(self, symbols: Iterable[str]) -> None:
        """Take back subscriptions to these symbols; :data:`ALL` takes back every one."""
        for symbol in symbols:
            self._filters.pop(symbol, None)
            if symbol == ALL:
                self._filters.clear()

    def wants(self, event: Traits) -> bool:
        """Whether an event is wanted."""
        of_symbol, of_all = self._filters.get(event.symbol), self._filters.get(ALL)
        return (of_symbol is not None and of_symbol.passes(event)) or (of_all is not None and of_all.passes(event))


def parse_request(text: str) -> Request:
    """A client's message; unknown keys are ignored.

    Raises
    ------
    SubscriptionError
        Says what is wrong with it.
    """
    try:
        document = read_document(text.encode("utf-8", errors="replace"))
    except JobError as error:
        raise SubscriptionError(f"the message is {error.message}") from None
    if document.repeated:
        raise SubscriptionError(f"{sorted(document.repeated)[0][:40]!a} comes more than once")
    values = document.values
    action = values.get("action")
    if action not in _ACTIONS:
        raise SubscriptionError(f"action is none of {', '.join(_ACTIONS)}")
    request_id = _request_id(values.get("request_id"))
    if action == "ping":
        return Request("ping", request_id=request_id)
    symbols = frozenset(_symbol(text) for text in _texts(values, "symbols", MOST_SYMBOLS) or _missing("symbols"))
    if action == "unsubscribe":
        return Request("unsubscribe", symbols, request_id=request_id)
    patterns = _texts(values, "patterns", _MOST_PATTERNS)
    timeframes = _texts(values, "timeframes", len(Timeframe))
    if timeframes is not None and not timeframes <= set(Timeframe):
        raise SubscriptionError(f"timeframes are of {', '.join(Timeframe)}")
    if patterns is not None and any(len(name) > _LONGEST_PATTERN for name in patterns):
        raise SubscriptionError(f"a pattern's name has at most {_LONGEST_PATTERN} characters")
    return Request(
        cast(Action, action),
        symbols,
        Filter(patterns, timeframes, _confidence(values.get("min_confidence")), _yes(values, "retractions")),
        _entry_id(values.get("last_event_id")),
        request_id,
    )


def _missing(name: str) -> frozenset[str]:
    raise SubscriptionError(f"{name} is missing")


def _texts(values: Any, name: str, at_most: int) -> frozenset[str] | None:
    found = values.get(name)
    if found is None:
        return None
    if not isinstance(found, list) or not found or not all(isinstance(item, str) and item for item in found):
        raise SubscriptionError(f"{name} is not a list of texts")
    if len(found) > at_most:
        raise SubscriptionError(f"more than {at_most} {name}")
    return frozenset(found)


def _symbol(text: str) -> str:
    if text == ALL:
        return ALL
    try:
        return normalise_symbol(text)
    except ValueError:
        raise SubscriptionError(f"{text[:40]!a} is not a symbol") from None


def _confidence(value: object) -> float:
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise SubscriptionError("min_confidence is not a number from 0 to 1")
    return float(value)


def _yes(values: Any, name: str) -> bool:
    value = values.get(name)
    if value is not None and not isinstance(value, bool):
        raise SubscriptionError(f"{name} is neither true nor false")
    return bool(value)


def _entry_id(value: object) -> EntryId | None:
    if value is None:
        return None
    if isinstance(value, str) and _ENTRY_ID.fullmatch(value):
        parts = parsed_id(value.encode())
        if max(parts) <= _LARGEST_ID_PART:
            return parts
    raise SubscriptionError("last_event_id is not the event_id of an event")


def _request_id(value: object) -> str | None:
    if value is None or (isinstance(value, str) and 0 < len(value) <= _LONGEST_REQUEST_ID):
        return value
    raise SubscriptionError(f"request_id is not a text of 1 to {_LONGEST_REQUEST_ID} characters")
