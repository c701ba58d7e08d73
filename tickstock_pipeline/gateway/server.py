"""The gateway as a process: serves the application until it is told to end."""

import logging

import uvicorn

from tickstock_pipeline.gateway.app import gateway_app
from tickstock_pipeline.settings import Settings

_SHUTDOWN_SECONDS = 5
_LARGEST_HEADERS = 32 * 1024


def gateway_server(settings: Settings) -> uvicorn.Server:
    """The server of the application; its ``run`` returns at SIGINT or SIGTERM, or once ``should_exit`` is set.

    Parameters
    ----------
    settings : with the URLs of a database and of Redis
    """
    return uvicorn.Server(
        uvicorn.Config(
            gateway_app(settings),
            host=settings.gateway_host,
            port=settings.gateway_port,
            log_config=None,
            log_level=settings.log_level.lower(),
            access_log=False,
            h11_max_incomplete_event_size=_LARGEST_HEADERS,
            timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
            server_header=False,
        )
    )


def serve(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM, and log to stderr.

    Parameters
    ----------
    settings : with the URLs of a database and of Redis; the port is known to be free
    """
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    gateway_server(settings).run()
