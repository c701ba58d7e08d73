"""The gateway as a process: serves the application until it is told to end."""

import logging
from contextlib import suppress

import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from tickstock_pipeline.errors import ServiceError
from tickstock_pipeline.gateway.app import gateway_app
from tickstock_pipeline.gateway.patterns_socket import SocketLimits
from tickstock_pipeline.settings import Settings

_SHUTDOWN_SECONDS = 5
_LARGEST_HEADERS = 32 * 1024
_LARGEST_MESSAGE = 64 * 1024
_PING_SECONDS = 20.0
# the WebSocket library logs the headers of each client at DEBUG, and one of them holds the token
_MOST_TALKATIVE = logging.INFO


class CuttingProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, which lets go of clients that do not read.

    uvicorn closes a connection once all that was written to it has been taken; a client that never reads would keep it
    open for ever.

    Attributes
    ----------
    last_word_s : seconds from the application's end to the cut
    """

    last_word_s = 10.0

    async def run_asgi(self) -> None:
        """Serve the connection, and cut it if it is still there a while after the application is done with it."""
        await super().run_asgi()
        self.loop.call_later(self.last_word_s, self.transport.abort)

    def keepalive_timeout(self) -> None:
        """Cut the connection of a client that answers no ping."""
        self.stop_keepalive()
        self.transport.abort()


def gateway_server(settings: Settings, limits: SocketLimits | None = None) -> uvicorn.Server:
    """The server of the application; its ``run`` returns at SIGINT or SIGTERM, or once ``should_exit`` is set.

    Parameters
    ----------
    settings : with the URLs of a database and of Redis
    limits : what clients of the pattern socket may cost
    """
    return uvicorn.Server(
        uvicorn.Config(
            gateway_app(settings, limits),
            host=settings.gateway_host,
            port=settings.gateway_port,
            log_config=None,
            log_level=max(logging.getLevelName(settings.log_level), _MOST_TALKATIVE),
            access_log=False,
            h11_max_incomplete_event_size=_LARGEST_HEADERS,
            ws=CuttingProtocol,
            ws_max_size=_LARGEST_MESSAGE,
            ws_ping_interval=_PING_SECONDS,
            ws_ping_timeout=_PING_SECONDS,
            # events are small, and each client's would have to be compressed for itself
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
            server_header=False,
        )
    )


def serve(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM, and log to stderr.

    Parameters
    ----------
    settings : with the URLs of a database and of Redis; the port is known to be free

    Raises
    ------
    ServiceError
        If it could not start.
    """
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    server = gateway_server(settings)
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        raise ServiceError("The gateway did not start.", advice="Its last log lines say why.")
