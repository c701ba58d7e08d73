"""Polygon's WebSocket: who is connected, what they subscribed to, and how their frames go wrong.

1. A client is greeted, shows its key, and subscribes to topics such as ``AM.AAPL`` or ``A.*``.
2. Events are sent to it as JSON arrays, one frame for what happens at once, cut into frames of 500.
3. Frames wait in a queue of the client's own. Where the market runs by the clock, a client whose queue is full is
   closed, as Polygon does; where it runs as fast as it is read, the market waits.

Everything here runs in the server's event loop.
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from starlette.types import Scope
from starlette.websockets import WebSocket, WebSocketDisconnect

from tickstock_pipeline.replay.faults import CONNECTION_KINDS, Fault, FaultKind, FaultPlan
from tickstock_pipeline.replay.stream_events import TYPES, Event
from tickstock_pipeline.replay.stream_faults import PROVIDER

EVERY = "*"
_EVENTS_PER_FRAME = 500
_QUEUED_FRAMES = 256
_OVER_ONE_MEBIBYTE = 1_100_000
_SLOW_CONSUMER = 1008


class StreamHub:
    """All clients of the stream.

    Parameters
    ----------
    faults : asked for each frame, as provider ``stream`` with the path ``frame``
    is_accepted : whether a key opens the door
    cut : ends the connection of a scope without a close frame
    """

    def __init__(self, faults: FaultPlan, is_accepted: Callable[[str], bool], cut: Callable[[Scope], None]) -> None:
        self.faults = faults
        self.is_accepted = is_accepted
        self.cut = cut
        self.sent = 0
        self._clients: set[_Client] = set()
        self._changed = asyncio.Condition()

    @property
    def n_clients(self) -> int:
        """How many clients have shown their key."""
        return len(self._clients)

    async def serve(self, websocket: WebSocket) -> None:
        """One connection, from its opening to its end."""
        await _Client(self, websocket).run()

    def wants(self, type_: str) -> bool:
        """Whether anybody subscribed to a type of event."""
        return any(client.topics[type_] for client in self._clients)

    def wanted(self, type_: str, symbols: Sequence[str]) -> list[str]:
        """Those of the symbols that anybody gets a type of event for."""
        topics: set[str] = set().union(*(client.topics[type_] for client in self._clients))
        return list(symbols) if EVERY in topics else [symbol for symbol in symbols if symbol in topics]

    async def subscribed(self, count: int = 1) -> None:
        """Wait until so many clients have subscribed to something."""
        async with self._changed:
            await self._changed.wait_for(lambda: sum(client.is_subscribed for client in self._clients) >= count)

    async def broadcast(self, events: Sequence[Event], *, can_wait: bool) -> None:
        """Send each client those of the events that it subscribed to.

        Parameters
        ----------
        can_wait : whether to wait for a client whose queue is full, instead of closing it
        """
        self.sent += len(events)
        types = {event.type for event in events}
        everything: list[str] | None = None
        for client in tuple(self._clients):
            if all(EVERY in client.topics.get(type_, ()) for type_ in types):
                everything = _frames(event.text for event in events) if everything is None else everything
                frames = everything
            else:
                frames = _frames(event.text for event in events if client.gets(event))
            for frame in frames:
                await client.put(frame, can_wait=can_wait)

    async def drained(self) -> None:
        """Wait until every frame has been handed to the network."""
        for client in tuple(self._clients):
            await client.drained()

    async def disrupt(self, kind: FaultKind) -> None:
        """Let one of the connection's faults happen to every client, now."""
        for client in tuple(self._clients):
            await client.suffer(Fault(kind, times=None))

    async def joined(self, client: "_Client") -> None:
        """Count a client that has shown its key."""
        self._clients.add(client)
        await self.changed()

    async def left(self, client: "_Client") -> None:
        """Forget a client."""
        self._clients.discard(client)
        await self.changed()

    async def changed(self) -> None:
        """Tell who waits for clients or subscriptions."""
        async with self._changed:
            self._changed.notify_all()


class _Client:
    def __init__(self, hub: StreamHub, websocket: WebSocket) -> None:
        self._hub = hub
        self._websocket = websocket
        self._queue: asyncio.Queue[str] = asyncio.Queue(_QUEUED_FRAMES)
        self._is_known = False
        self._is_gone = False
        self._is_mute = False
        self.topics: dict[str, set[str]] = {type_: set() for type_ in TYPES}

    @property
    def is_subscribed(self) -> bool:
        return any(self.topics.values())

    def gets(self, event: Event) -> bool:
        symbols = self.topics.get(event.type, ())
        return EVERY in symbols or event.symbol in symbols

    async def run(self) -> None:
        await self._websocket.accept()
        writer = asyncio.create_task(self._write())
        try:
            await self._status("connected", "Connected Successfully")
            while True:
                await self._react(await self._websocket.receive_text())
        except (WebSocketDisconnect, RuntimeError):
            # RuntimeError: Starlette's word for a socket that we closed ourselves
            pass
        finally:
            writer.cancel()
            with suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
                await writer
            self._is_gone = True
            self._discard_if_gone()
            await self._hub.left(self)

    async def put(self, frame: str, *, can_wait: bool) -> None:
        if self._is_gone:
            return
        if can_wait:
            await self._queue.put(frame)
            self._discard_if_gone()
            return
        try:
            self._queue.put_nowait(frame)
        except asyncio.QueueFull:
            await self._hub.left(self)
            await self._close(_SLOW_CONSUMER)

    async def drained(self) -> None:
        await self._queue.join()

    async def suffer(self, fault: Fault) -> None:
        match fault.kind:
            case FaultKind.CUT:
                self._hub.cut(self._websocket.scope)
            case FaultKind.CLOSE_1000:
                await self._close(1000)
            case FaultKind.CLOSE_1001:
                await self._close(1001)
            case FaultKind.NOT_JSON:
                await self._send("upstream connect error or disconnect")
            case FaultKind.NO_MESSAGE:
                await self._send('[{"ev":"status","status":"success"}]')
            case FaultKind.HUGE_FRAME:
                await self._send("[" + " " * _OVER_ONE_MEBIBYTE + "]")
            case FaultKind.MUTE:
                self._is_mute = True

    def _discard_if_gone(self) -> None:
        with suppress(asyncio.QueueEmpty):
            while self._is_gone:
                self._queue.get_nowait()
                self._queue.task_done()

    async def _write(self) -> None:
        while True:
            frame = await self._queue.get()
            try:
                fault = self._hub.faults.choose(PROVIDER, "frame", "", CONNECTION_KINDS)
                if fault is not None:
                    await self.suffer(fault)
                if not self._is_mute:
                    await self._send(frame)
            finally:
                self._queue.task_done()

    async def _react(self, text: str) -> None:
        try:
            message = json.loads(text)
            action, params = message["action"], str(message.get("params", ""))
        except (ValueError, TypeError, KeyError):
            await self._status("error", "a message is a JSON object with the keys action and params")
            return
        if action == "auth":
            await self._authenticate(params)
        elif not self._is_known:
            await self._status("auth_required", "authenticate first")
        elif action in ("subscribe", "unsubscribe"):
            await self._subscribe(params, is_on=action == "subscribe")
        else:
            await self._status("error", f"there is no action {action!r}")

    async def _authenticate(self, key: str) -> None:
        if not self._hub.is_accepted(key):
            await self._status("auth_failed", "authentication failed")
            await self._close(1000)
            return
        await self._status("auth_success", "authenticated")
        self._is_known = True
        await self._hub.joined(self)

    async def _subscribe(self, params: str, *, is_on: bool) -> None:
        statuses: list[dict[str, str]] = []
        for topic in (part.strip() for part in params.split(",")):
            type_, _, symbol = topic.partition(".")
            if type_ not in self.topics or not symbol:
                statuses.append({"ev": "status", "status": "error", "message": f"there is no topic {topic}"})
                continue
            (self.topics[type_].add if is_on else self.topics[type_].discard)(symbol)
            words = "subscribed to" if is_on else "unsubscribed to"
            statuses.append({"ev": "status", "status": "success", "message": f"{words}: {topic}"})
        await self._send(json.dumps(statuses))
        await self._hub.changed()

    async def _status(self, status: str, message: str) -> None:
        await self._send(json.dumps([{"ev": "status", "status": status, "message": message}]))

    async def _send(self, text: str) -> None:
        with suppress(WebSocketDisconnect, RuntimeError):
            await self._websocket.send_text(text)

    async def _close(self, code: int) -> None:
        with suppress(WebSocketDisconnect, RuntimeError):
            await self._websocket.close(code)


def _frames(texts: Iterable[str]) -> list[str]:
    """JSON arrays of a bounded number of events."""
    found: list[Any] = list(texts)
    return [
        f"[{','.join(found[start : start + _EVENTS_PER_FRAME])}]" for start in range(0, len(found), _EVENTS_PER_FRAME)
    ]
