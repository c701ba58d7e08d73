"""The gateway as it runs, on a port of its own, in a thread of the test's."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tickstock_pipeline.gateway.patterns_socket import SocketLimits
from tickstock_pipeline.gateway.server import gateway_server
from tickstock_pipeline.runtime.ports import any_free_port
from tickstock_pipeline.settings import Settings


@contextmanager
def running_gateway(settings: Settings, limits: SocketLimits | None = None) -> Iterator[httpx.Client]:
    """A client of a gateway that runs until the context ends."""
    port = any_free_port()
    server = gateway_server(settings.model_copy(update={"gateway_port": port}), limits)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            thread.join(0.01)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()
