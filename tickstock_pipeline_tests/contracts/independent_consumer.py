"""A consumer of pattern events, written from the description of the contract alone: nothing of the product is used.

It listens on Redis, takes each event apart strictly, and logs its checkpoints as the consumer application does.
"""

import json
import re
import threading
from collections.abc import Callable
from typing import Any, NoReturn
from uuid import UUID

import psycopg2
import redis
from websockets.sync.client import connect

CHANNEL = "tickstock.events.patterns"
ME = "IndependentConsumer"

TIERS = {"1min": "intraday", "hourly": "hourly", "daily": "daily", "weekly": "weekly", "monthly": "monthly"}
DIRECTIONS = {"bullish", "bearish", "neutral"}

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


class ContractError(Exception):
    """An event is not what was agreed."""


def parsed(text: str | bytes) -> dict[str, Any]:
    """The event, if each of its names, types and values is as agreed; extra keys are allowed inside ``data`` only."""
    try:
        event = json.loads(text, parse_constant=_no_constant)
    except ValueError as error:
        raise ContractError(f"not JSON: {error}") from None
    _exactly(event, "event", {"event_type", "source", "timestamp", "data"})
    _equal(event["event_type"], "event_type", "pattern_detected")
    _equal(event["source"], "source", "TickStockPL")
    _seconds(event["timestamp"], "timestamp")
    data = event["data"]
    _at_least(
        data,
        "data",
        {
            *("symbol", "pattern", "confidence", "flow_id", "pattern_id", "timeframe", "direction", "tier"),
            *("price_change", "current_price", "volume", "timestamp", "metadata", "realtime_context"),
        },
    )
    for name in ("symbol", "pattern"):
        _text(data[name], name)
    if "pattern_name" in data:
        raise ContractError("pattern_name is not the agreed name")
    _float(data["confidence"], "confidence", 0.0, 1.0)
    for name in ("flow_id", "pattern_id"):
        if not isinstance(data[name], str) or not _UUID.fullmatch(data[name]):
            raise ContractError(f"{name} is no UUID: {data[name]!r}")
    if data["timeframe"] not in TIERS:
        raise ContractError(f"timeframe: {data['timeframe']!r}")
    _equal(data["tier"], "tier", TIERS[data["timeframe"]])
    if data["direction"] not in DIRECTIONS:
        raise ContractError(f"direction: {data['direction']!r}")
    _float(data["price_change"], "price_change", -1e9, 1e9)
    _float(data["current_price"], "current_price", 1e-9, 1e9)
    _whole(data["volume"], "volume")
    _seconds(data["timestamp"], "data.timestamp")
    metadata = data["metadata"]
    _at_least(metadata, "metadata", {"signal_strength", "volume_confirmed", "formation_bars", "technical_context"})
    _text(metadata["signal_strength"], "signal_strength")
    _is(metadata["volume_confirmed"], "volume_confirmed", bool)
    _whole(metadata["formation_bars"], "formation_bars")
    _is(metadata["technical_context"], "technical_context", dict)
    context = data["realtime_context"]
    _at_least(context, "realtime_context", {"detection_latency_ms", "data_freshness_ms", "processing_node"})
    for name in ("detection_latency_ms", "data_freshness_ms"):
        if isinstance(context[name], bool) or not isinstance(context[name], (int, float)) or context[name] < 0:
            raise ContractError(f"{name}: {context[name]!r}")
    _text(context["processing_node"], "processing_node")
    if "late" in context:
        _is(context["late"], "late", bool)
    result: dict[str, Any] = event
    return result


class IndependentConsumer:
    """Listens in a thread until it is left.

    Attributes
    ----------
    events : taken apart, in the order in which they came, repeats left out
    failures : what was wrong, in words
    """

    def __init__(self, redis_url: str, database_url: str, *, expects_row: bool = True) -> None:
        self.events: list[dict[str, Any]] = []
        self.failures: list[str] = []
        self._redis = redis.Redis.from_url(redis_url)
        self._database = psycopg2.connect(database_url)
        self._database.autocommit = True
        self._expects_row = expects_row
        self._has_changed = threading.Condition()
        self._is_over = threading.Event()
        self._flows: set[UUID] = set()
        self._subscription = self._redis.pubsub(ignore_subscribe_messages=False)
        self._thread = threading.Thread(target=self._listen, name="independent-consumer")

    def __enter__(self) -> "IndependentConsumer":
        self._subscription.subscribe(CHANNEL)
        answer = self._subscription.get_message(timeout=10)
        assert answer is not None
        assert answer["type"] == "subscribe"
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        self._subscription.close()
        self._redis.close()
        self._database.close()

    def wait_for(self, count: int, seconds: float = 20) -> None:
        """Return once so many messages have been dealt with."""
        with self._has_changed:
            assert self._has_changed.wait_for(lambda: len(self.events) + len(self.failures) >= count, seconds)

    def _listen(self) -> None:
        while not self._is_over.is_set():
            message = self._subscription.get_message(timeout=0.1)
            if message is None or message["type"] != "message":
                continue
            with self._has_changed:
                try:
                    self._take(message["data"])
                except (ContractError, psycopg2.Error, KeyError, TypeError, ValueError) as error:
                    self.failures.append(f"{type(error).__name__}: {error}")
                self._has_changed.notify_all()

    def _take(self, text: bytes) -> None:
        flow = UUID(json.loads(text)["data"]["flow_id"])
        if flow in self._flows:
            return
        self._flows.add(flow)
        self._log(flow, "EVENT_RECEIVED", None)
        event = parsed(text)
        data = event["data"]
        self._log(flow, "EVENT_PARSED", data)
        self._must_be_committed(flow, data)
        self._log(flow, "WEBSOCKET_DELIVERED", data)
        self.events.append(event)

    def _log(self, flow: UUID, checkpoint: str, data: dict[str, Any] | None) -> None:
        known = data or {}
        with self._database.cursor() as cursor:
            cursor.execute(
                "SELECT log_integration_event(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                (
                    *(str(flow), "pattern_event", ME, checkpoint, CHANNEL),
                    *(known.get("symbol"), known.get("pattern"), known.get("confidence"), 1, json.dumps({})),
                ),
            )

    def _must_be_committed(self, flow: UUID, data: dict[str, Any]) -> None:
        """The row and its checkpoint are there before the event is."""
        with self._database.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM integration_events WHERE flow_id = %s AND checkpoint = 'PATTERN_PUBLISHED'",
                (str(flow),),
            )
            if cursor.fetchone() != (1,):
                raise ContractError(f"{flow}: the event came before its checkpoint")
            cursor.execute(
                "SELECT confidence FROM daily_patterns WHERE symbol = %s AND timeframe = %s AND pattern_type = %s"
                " AND detection_timestamp = to_timestamp(%s)",
                (data["symbol"], data["timeframe"], data["pattern"], data["timestamp"]),
            )
            row = cursor.fetchone()
            if (row is not None) != self._expects_row:
                raise ContractError(f"{flow}: row in daily_patterns: {row}")
            if row is not None and abs(float(row[0]) - data["confidence"]) > 1e-9:
                raise ContractError(f"{flow}: {row[0]} stored, {data['confidence']} published")


def from_web_socket(url: str, symbols: list[str], publish: Callable[[], object], count: int) -> list[dict[str, Any]]:
    """Events that come over the WebSocket once ``publish`` has been called."""
    with connect(url) as socket:
        socket.send(json.dumps({"action": "subscribe", "symbols": symbols}))
        # a pong: everything sent before has been read
        socket.ping().wait(10)
        publish()
        return [parsed(socket.recv(timeout=20)) for _ in range(count)]


def _no_constant(name: str) -> NoReturn:
    raise ContractError(f"{name} is no JSON")


def _exactly(value: object, name: str, keys: set[str]) -> None:
    if not isinstance(value, dict) or value.keys() != keys:
        raise ContractError(f"{name} has other keys than {sorted(keys)}")


def _at_least(value: object, name: str, keys: set[str]) -> None:
    if not isinstance(value, dict) or not keys <= value.keys():
        raise ContractError(f"{name} lacks some of {sorted(keys)}")


def _equal(value: object, name: str, expected: str) -> None:
    if value != expected:
        raise ContractError(f"{name} is {value!r}, not {expected!r}")


def _is(value: object, name: str, kind: type) -> None:
    if type(value) is not kind:
        raise ContractError(f"{name} is no {kind.__name__}: {value!r}")


def _text(value: object, name: str) -> None:
    _is(value, name, str)
    if not value:
        raise ContractError(f"{name} is empty")


def _float(value: Any, name: str, least: float, most: float) -> None:
    _is(value, name, float)
    if not least <= value <= most:
        raise ContractError(f"{name} is out of range: {value}")


def _whole(value: Any, name: str) -> None:
    _is(value, name, int)
    if value < 0:
        raise ContractError(f"{name} is negative")


def _seconds(value: Any, name: str) -> None:
    """Unix seconds of this century: not milliseconds, not microseconds."""
    _float(value, name, 946_684_800.0, 4_102_444_800.0)
