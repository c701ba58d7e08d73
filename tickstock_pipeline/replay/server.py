"""The replay server in a thread: started and stopped by a ``with`` statement.

::

    bars = Bars("AAPL", Timeframe.DAILY, time, open, high, low, close, volume)      # as traded
    with ReplayServer(MemorySource([bars], splits=[Split("AAPL", date(2005, 2, 28), 2.0)])) as server:
        server.url              # base URL for Polygon, Alpha Vantage and Yahoo alike: http://127.0.0.1:<port>
        server.websocket_url    # base URL of Polygon's stream: ws://127.0.0.1:<port>, sockets at /stocks
        server.faults.add("429", provider="polygon", path="/v2/aggs", nth=2, retry_after=1)
        server.faults.add("403", symbol="IBM", times=None)
        server.requests.count(provider="polygon", path="/v2/aggs", symbol="AAPL")
        server.requests.all()[0].monotonic
        server.requests.violations
        server.stream.wait_for_subscribers()
        server.stream.send_minutes(minutes)                 # AM events, now
        server.stream.play(date(2013, 2, 25), date(2013, 2, 28), speed=0).wait()
        server.stream.disrupt("cut")                        # close-1000, close-1001, mute, not-json, …

``ReplayServer()`` serves the sample provider's bars. Any key is accepted unless ``api_key`` names one.
"""

import asyncio
import logging
import socket
import threading
from typing import Self

import numpy as np
import uvicorn
from starlette.routing import WebSocketRoute
from starlette.types import Scope

from tickstock_pipeline.errors import PortInUseError, ServiceError
from tickstock_pipeline.replay.application import ReplayApplication
from tickstock_pipeline.replay.control import control_routes
from tickstock_pipeline.replay.faults import FaultPlan
from tickstock_pipeline.replay.live import ReplayStream
from tickstock_pipeline.replay.market import ReplayMarket
from tickstock_pipeline.replay.request_log import RequestLog
from tickstock_pipeline.replay.source import BarSource, ProviderSource
from tickstock_pipeline.replay.stream import StreamHub

HOST = "127.0.0.1"
_START_SECONDS = 20.0
_BACKLOG = 512


class ReplayServer:
    """A provider on this machine, in a thread of this process.

    Parameters
    ----------
    source : what it has; None: the sample provider's bars
    port : to listen on; 0: any free one
    api_key : the only key that Polygon's and Alpha Vantage's endpoints accept; None: any, but not none
    faults : what goes wrong, and may be changed at any time; None: nothing so far
    calls_per_minute, calls_per_day, window_seconds : a quota that is enforced (see :class:`RequestLog`); 0: none
    seed, trading_share : of the minutes made from days (see ``replay.bridge``)
    """

    def __init__(
        self,
        source: BarSource | None = None,
        *,
        port: int = 0,
        api_key: str | None = None,
        faults: FaultPlan | None = None,
        calls_per_minute: int = 0,
        calls_per_day: int = 0,
        window_seconds: float = 60.0,
        seed: int = 0,
        trading_share: float = 1.0,
    ) -> None:
        self.faults = FaultPlan(seed=seed) if faults is None else faults
        self.requests = RequestLog(
            calls_per_minute=calls_per_minute, calls_per_day=calls_per_day, window_seconds=window_seconds
        )
        self.market = ReplayMarket(
            ProviderSource() if source is None else source,
            seed=seed,
            trading_share=trading_share,
            now=lambda: self._now,
        )
        self._api_key = api_key
        self._port = port
        self._now: np.datetime64 | None = None
        self._stream: ReplayStream | None = None
        self._socket: socket.socket | None = None
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._port

    @property
    def url(self) -> str:
        """Base URL of all three providers' HTTP endpoints."""
        return f"http://{HOST}:{self._port}"

    @property
    def websocket_url(self) -> str:
        """Base URL of Polygon's stream."""
        return f"ws://{HOST}:{self._port}"

    @property
    def stream(self) -> ReplayStream:
        """Polygon's stream, to play and to disturb.

        Raises
        ------
        ServiceError
            If the server does not run.
        """
        if self._stream is None:
            raise ServiceError("The replay server does not run.", advice="Start it first.")
        return self._stream

    def start(self) -> None:
        """Listen; returns once connections are taken.

        Raises
        ------
        PortInUseError
            If the port is taken.
        ServiceError
            If the server does not come up.
        """
        self._socket = self._bound_socket()
        self._port = self._socket.getsockname()[1]
        application = ReplayApplication(self.market, self.faults, self.requests, self._api_key, self._cut)
        hub = StreamHub(self.faults, application.is_accepted, self._cut)
        config = uvicorn.Config(
            application.starlette(
                WebSocketRoute("/{market}", hub.serve), *control_routes(self.faults, self.requests, hub)
            ),
            http="h11",
            ws="websockets-sansio",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=1,
        )
        server = self._server = uvicorn.Server(config)
        # its complaints are about clients that were cut off on purpose
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        started = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(server, hub, started), name="replay-server", daemon=True
        )
        self._thread.start()
        if not started.wait(_START_SECONDS) or not server.started:
            self.stop()
            raise ServiceError("The replay server did not start.", advice="Look at the error printed by its thread.")

    def stop(self) -> None:
        """End all connections and stop listening; does nothing if it does not run."""
        if self._server is not None:
            self._server.should_exit = True
            self._server.force_exit = True
        if self._thread is not None:
            self._thread.join()
        if self._socket is not None:
            self._socket.close()
        self._server = self._thread = self._socket = self._stream = None

    def _set_now(self, now: np.datetime64) -> None:
        self._now = now

    def _run(self, server: uvicorn.Server, hub: StreamHub, started: threading.Event) -> None:
        listening = self._socket

        async def serve() -> None:
            self._stream = ReplayStream(hub, asyncio.get_running_loop(), self.market, self._set_now)
            task = asyncio.create_task(server.serve(sockets=None if listening is None else [listening]))
            while not server.started and not task.done():
                await asyncio.sleep(0.005)
            started.set()
            await task

        try:
            asyncio.run(serve())
        finally:
            started.set()

    def _bound_socket(self) -> socket.socket:
        found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((HOST, self._port))
            found.listen(_BACKLOG)
        except OSError:
            found.close()
            raise PortInUseError(
                f"Port {self._port} on {HOST}, wanted for the replay server, is in use.",
                advice="End the program that listens there, or choose another port.",
            ) from None
        return found

    def _cut(self, scope: Scope) -> None:
        connections = () if self._server is None else tuple(self._server.server_state.connections)
        for connection in connections:
            transport = getattr(connection, "transport", None)
            if transport is not None and getattr(connection, "client", None) == tuple(scope["client"]):
                transport.close()
