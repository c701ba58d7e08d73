"""The gateway as its clients meet it: a real server on a port of its own, and pattern events in the real stream."""

import base64
import json
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import redis
from websockets.sync.client import ClientConnection, connect

from tickstock_pipeline.gateway.patterns_socket import SocketLimits
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.messaging.channels import PATTERNS, PATTERNS_RETRACTED
from tickstock_pipeline.messaging.connection import connect as connect_redis
from tickstock_pipeline.messaging.pattern_event import (
    LiveDetection,
    RealtimeContext,
    pattern_detected,
    pattern_retracted,
)
from tickstock_pipeline.settings import Settings
from tickstock_pipeline.storage.outbox import Message
from tickstock_pipeline.streaming.desk import Told
from tickstock_pipeline.streaming.publisher import Publisher
from tickstock_pipeline_tests.gateways import running_gateway

_FIRST_MINUTE = 1_772_461_800


@dataclass(frozen=True)
class Gateway:
    """A running gateway."""

    http: httpx.Client

    @property
    def port(self) -> int:
        port = self.http.base_url.port
        assert port is not None
        return port

    @property
    def socket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/patterns/realtime"

    def metric(self, name: str) -> float:
        """A number of /metrics; 0 if it is not there yet."""
        lines = self.http.get("/metrics").text.splitlines()
        return float(next((line.rpartition(" ")[2] for line in lines if line.startswith(f"{name} ")), 0))


@contextmanager
def serving(settings: Settings, limits: SocketLimits | None = None) -> Iterator[Gateway]:
    """A gateway with the product's own server settings, ready to answer."""
    with running_gateway(settings, limits) as client:
        yield Gateway(client)


def event(symbol: str = "AAPL", number: int = 0, **changes: Any) -> str:
    """A pattern event as a worker publishes it, of minute ``number``."""
    return pattern_detected(detection(symbol, number, **changes), _context())


def retraction(symbol: str = "AAPL", number: int = 0, **changes: Any) -> str:
    """The retraction of that event."""
    return pattern_retracted(detection(symbol, number, **changes), _context(), "a bar was corrected")


def _context() -> RealtimeContext:
    return RealtimeContext("worker-0", time.time(), 1.12, 123.0)


def detection(symbol: str, number: int, **changes: Any) -> LiveDetection:
    """An engulfing pattern at minute ``number``."""
    fields: dict[str, Any] = {
        "symbol": symbol,
        "timeframe": Timeframe.MINUTE,
        "pattern": "engulfing",
        "bar_time": (_FIRST_MINUTE + number * 60) * 1_000_000,
        "instant": (_FIRST_MINUTE + number * 60) * 1_000_000,
        "revision": 1,
        "direction": "bullish",
        "confidence": 0.85,
        "signal_strength": "strong",
        "volume_confirmed": True,
        "formation_bars": 2,
        "price_change": 2.5,
        "current_price": 185.5,
        "volume": 1_000_000,
        "context": {"body_ratio": 1.5},
        "levels": {"support": 184.25},
    }
    return LiveDetection(**(fields | changes))


def publish(client: "redis.Redis", payloads: Sequence[str]) -> list[str]:
    """Add events to the stream as the publisher does; their ids."""
    pipeline = client.pipeline(transaction=False)
    for payload in payloads:
        pipeline.xadd("pattern_events", {"event": payload})
    return [entry_id.decode() for entry_id in pipeline.execute()]


def publish_both(redis_url: str, payloads: Sequence[str]) -> None:
    """Publish events and retractions as a worker does."""
    channels = {"pattern_detected": PATTERNS, "pattern_retracted": PATTERNS_RETRACTED}
    messages = [Message(channels[json.loads(payload)["event_type"]], payload) for payload in payloads]
    with connect_redis(redis_url) as client:
        Publisher(client, kept_events=100_000).publish([Told(1, tuple(messages))])


@contextmanager
def subscribed(gateway: Gateway, **request: Any) -> Iterator[ClientConnection]:
    """A client whose subscription the gateway has acknowledged."""
    with connect(gateway.socket_url) as client:
        subscribe(client, **request)
        yield client


def subscribe(client: ClientConnection, **request: Any) -> dict[str, Any]:
    """Subscribe, and the acknowledgement; only for a client that gets nothing else yet."""
    client.send(json.dumps({"action": "subscribe", "symbols": ["*"], "request_id": "first", **request}))
    answer = received(client)
    assert answer["event_type"] == "acknowledged", answer
    assert answer["data"]["event_id"] is not None
    return answer


def received(client: ClientConnection) -> dict[str, Any]:
    """The next message."""
    message: dict[str, Any] = json.loads(client.recv(timeout=20))
    return message


def received_events(client: ClientConnection, count: int) -> list[dict[str, Any]]:
    """The next messages, all of which are pattern events or retractions."""
    found = [received(client) for _ in range(count)]
    assert {one["event_type"] for one in found} <= {"pattern_detected", "pattern_retracted"}, found
    return found


def numbers(events: Sequence[dict[str, Any]]) -> list[int]:
    """Which minutes the events are of, as :func:`event` counts them."""
    return [round(one["data"]["timestamp"] - _FIRST_MINUTE) // 60 for one in events]


@contextmanager
def stuck_client(gateway: Gateway, token: str = "", takes: int | None = 4096) -> Iterator[socket.socket]:
    """A client that subscribes to everything, and then reads nothing by itself.

    Parameters
    ----------
    takes : bytes that its machine takes for it, so few that taking them later is slow; None: as usual
    """
    with socket.create_connection(("127.0.0.1", gateway.port)) as connection:
        if takes is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, takes)
        key = base64.b64encode(os.urandom(16)).decode()
        authorization = f"Authorization: Bearer {token}\r\n" if token else ""
        connection.sendall(
            f"GET /patterns/realtime HTTP/1.1\r\nHost: 127.0.0.1:{gateway.port}\r\nUpgrade: websocket\r\n"
            f"{authorization}"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        assert b"101 Switching Protocols" in connection.recv(1024)
        request = b'{"action": "subscribe", "symbols": ["*"]}'
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(request))
        connection.sendall(bytes([0x81, 0x80 | len(request)]) + mask + masked)
        yield connection
