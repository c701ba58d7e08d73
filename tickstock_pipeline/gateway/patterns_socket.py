"""``/patterns/realtime``: pattern events over WebSocket.

A client that is slow costs the others nothing: what is to be sent to it waits in a queue of its own, and when that is
full, or one message takes too long, the client is disconnected. It can come again with the ``event_id`` of its last
event, and gets what it has missed.
"""

import asyncio
import itertools
import json
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from tickstock_pipeline.errors import SubscriptionError
from tickstock_pipeline.gateway.client_queue import ClientQueue, Outgoing
from tickstock_pipeline.gateway.guard import chosen_subprotocol
from tickstock_pipeline.gateway.measures import GatewayMeasures
from tickstock_pipeline.gateway.pattern_feed import PatternFeed, entry_id_text
from tickstock_pipeline.gateway.published_event import EVENT_ID, PublishedEvent
from tickstock_pipeline.gateway.subscription import Request, Subscription, parse_request
from tickstock_pipeline.messaging.bar_stream import EntryId
from tickstock_pipeline.messaging.channels import SOURCE

PATH = "/patterns/realtime"
TRY_AGAIN_LATER = 1013

_NOT_YET_S = 0.01
# then others have their turn
_SENT_IN_A_ROW = 64

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """What clients may cost.

    Attributes
    ----------
    clients : at the same time
    queue : messages that wait for one client
    send_s : seconds that one message may take
    close_s : seconds that a disconnected client has to take the reason
    begin_s : seconds that a client waits for the gateway to reach Redis for the first time
    """

    clients: int = 200
    queue: int = 10_000
    send_s: float = 10.0
    close_s: float = 5.0
    begin_s: float = 5.0


class Client:
    """One connection.

    Attributes
    ----------
    is_live : new events go to it; False while it gets what it has missed
    after : it has been given what there is up to here
    missed : where it is to be given again what came after
    """

    def __init__(self, limits: SocketLimits) -> None:
        self.subscription = Subscription()
        self.queue = ClientQueue(limits.queue)
        self.is_live = True
        self.after: EntryId = (0, 0)
        self.missed: asyncio.Queue[EntryId] = asyncio.Queue()
        self.dropped: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def offer(self, item: Outgoing) -> None:
        """Send a message soon; the client is dropped if too many wait already."""
        if not self.queue.offer(item):
            self.drop("too slow: the queue is full")

    def drop(self, reason: str) -> None:
        """Disconnect it."""
        self.is_live = False
        if not self.dropped.done():
            self.dropped.set_result(reason)


class PatternSocket:
    """All clients of one gateway.

    Parameters
    ----------
    redis_url : a secret
    """

    def __init__(self, redis_url: str, measures: GatewayMeasures, limits: SocketLimits | None = None) -> None:
        self._limits = limits or SocketLimits()
        self._measures = measures
        self._clients: set[Client] = set()
        self.feed = PatternFeed(redis_url, self._deliver, measures)
        measures.clients.set_function(lambda: len(self._clients))
        measures.longest_queue.set_function(
            lambda: max((len(client.queue) for client in tuple(self._clients)), default=0)
        )

    def route(self) -> WebSocketRoute:
        """Where clients find it."""
        return WebSocketRoute(PATH, self.serve)

    async def serve(self, socket: WebSocket) -> None:
        """One client, from its first message to its end."""
        await socket.accept(chosen_subprotocol(socket.scope["subprotocols"]))
        if refusal := await self._refusal():
            self._measures.dropped.labels(refusal).inc()
            await self._close(socket, refusal)
            return
        client = Client(self._limits)
        self._clients.add(client)
        try:
            reason = await self._talk(socket, client)
        finally:
            self._clients.discard(client)
        if reason is not None:
            _logger.info("client dropped reason=%s waiting=%d", reason, len(client.queue))
            self._measures.dropped.labels(reason.partition(":")[0]).inc()
            await self._close(socket, reason)

    async def _refusal(self) -> str | None:
        try:
            async with asyncio.timeout(self._limits.begin_s):
                await self.feed.has_begun.wait()
        except TimeoutError:
            return "Redis has not been reached"
        return "too many clients" if len(self._clients) >= self._limits.clients else None

    def _deliver(self, events: Sequence[PublishedEvent]) -> None:
        self._measures.saw_events(events, time.time())
        received_at = time.monotonic()
        items = [Outgoing(event.text, received_at) for event in events]
        for client in self._clients:
            if client.is_live:
                for event, item in zip(events, items, strict=True):
                    if event.id > client.after and client.subscription.wants(event.traits):
                        client.offer(item)

    async def _talk(self, socket: WebSocket, client: Client) -> str | None:
        """Serve a client until it leaves (None) or is to be dropped (why)."""
        tasks: set[asyncio.Future[Any]] = {
            asyncio.create_task(self._listen(socket, client)),
            asyncio.create_task(self._send(socket, client)),
            asyncio.create_task(self._replay(client)),
            client.dropped,
        }
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done - {client.dropped}:
                with suppress(WebSocketDisconnect):
                    task.result()
            return client.dropped.result() if client.dropped.done() else None
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self, socket: WebSocket, client: Client) -> None:
        for count in itertools.count():
            item = await client.queue.take()
            try:
                async with asyncio.timeout(self._limits.send_s):
                    await socket.send_text(item.text)
            except TimeoutError:
                client.drop("too slow: a message was not taken in time")
                return
            self._measures.sent.inc()
            if item.received_at is not None:
                self._measures.socket_latency.observe(time.monotonic() - item.received_at)
            if count % _SENT_IN_A_ROW == 0:
                await asyncio.sleep(0)

    async def _listen(self, socket: WebSocket, client: Client) -> None:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            try:
                request = _request(message.get("text"))
                self._obey(client, request)
            except SubscriptionError as error:
                client.offer(_told("error", {"message": error.message, "advice": error.advice}))
                continue
            if request.request_id is not None or request.action == "ping":
                client.offer(self._answer(client, request))

    def _obey(self, client: Client, request: Request) -> None:
        if request.action == "unsubscribe":
            client.subscription.unsubscribe(request.symbols)
        elif request.action == "subscribe":
            after = request.last_event_id
            if after is not None and (len(client.subscription) or not client.is_live):
                raise SubscriptionError(
                    "last_event_id comes with the first subscription of a connection",
                    advice="Open another connection, or take back all subscriptions first.",
                )
            client.subscription.subscribe(request.symbols, request.filter)
            if after is not None:
                client.is_live = False
                client.missed.put_nowait(after)

    async def _replay(self, client: Client) -> None:
        while True:
            await self._replay_from(client, await client.missed.get())

    async def _replay_from(self, client: Client, after: EntryId) -> None:
        """Give a client what it has missed, and make it live."""
        is_told = False
        while True:
            portion = await self.feed.portion(after)
            if portion.has_gap and not is_told:
                is_told = True
                first = portion.events[0].id if portion.events else portion.end
                gap = {"last_event_id": entry_id_text(after), "continues_at": entry_id_text(first)}
                await client.queue.put(_told("events_missing", gap))
            for event in portion.events:
                if client.subscription.wants(event.traits):
                    await client.queue.put(Outgoing(event.text))
            after = portion.end
            if portion.is_last:
                client.after, client.is_live = after, True
                return
            if not portion.events:
                await asyncio.sleep(_NOT_YET_S)

    def _answer(self, client: Client, request: Request) -> Outgoing:
        position = self.feed.position
        data: dict[str, Any] = {
            "action": request.action,
            "symbols": len(client.subscription),
            "is_live": client.is_live,
            EVENT_ID: entry_id_text(position) if client.is_live and position is not None else None,
        }
        if request.request_id is not None:
            data["request_id"] = request.request_id
        return _told("pong" if request.action == "ping" else "acknowledged", data)

    async def _close(self, socket: WebSocket, reason: str) -> None:
        # who does not read does not learn it: the connection is cut soon after
        with suppress(TimeoutError, WebSocketDisconnect):
            async with asyncio.timeout(self._limits.close_s):
                await socket.close(TRY_AGAIN_LATER, reason)


def _request(text: str | None) -> Request:
    if text is None:
        raise SubscriptionError("the message is not text")
    return parse_request(text)


def _told(event_type: str, data: dict[str, Any]) -> Outgoing:
    return Outgoing(json.dumps({"event_type": event_type, "source": SOURCE, "timestamp": time.time(), "data": data}))
