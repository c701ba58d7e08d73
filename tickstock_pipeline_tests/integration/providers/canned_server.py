"""A local HTTP server that gives whatever a test wants, and a request budget that waits on a clock of its own."""

import contextlib
import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tickstock_pipeline.providers.limits import RequestBudget
from tickstock_pipeline.providers.windows import LocalWindows


@dataclass(frozen=True)
class Canned:
    """One answer; ``length`` is what its header claims, where that is not the truth."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None

    @classmethod
    def of(cls, value: Any, status: int = 200) -> "Canned":
        return cls(json.dumps(value).encode(), status)


@dataclass(frozen=True)
class Request:
    path: str
    query: dict[str, str]


@dataclass
class CannedServer:
    url: str
    answer: Callable[[Request], Canned]
    requests: list[Request] = field(default_factory=list)


@contextmanager
def canned_server() -> Iterator[CannedServer]:
    """Serves ``server.answer(request)``; what a test does not set is a failure of that test."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            request = Request(parts.path, dict(parse_qsl(parts.query)))
            served.requests.append(request)
            canned = served.answer(request)
            self.send_response(canned.status)
            for name, value in canned.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(canned.body) if canned.length is None else canned.length))
            self.end_headers()
            self.wfile.write(canned.body)
            self.close_connection = True

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        served = CannedServer(f"http://127.0.0.1:{server.server_address[1]}", lambda request: Canned(b"", 500))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def trickling_server() -> Iterator[str]:
    """URL of a server that is never silent for long and never done."""

    class Trickle(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            with contextlib.suppress(OSError):
                self.request.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                while not is_over.wait(0.02):
                    self.request.sendall(b" ")

    is_over = threading.Event()
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Trickle) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            is_over.set()
            server.shutdown()
            thread.join()


class CountingBudget(RequestBudget):
    """No limit; counts who asks, and remembers for how long the provider wanted everybody to wait."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(
            "test",
            [],
            None,
            LocalWindows([], lambda: self.now),
            longest_wait=1e9,
            clock=lambda: self.now,
            sleep=self._sleep,
        )
        self.acquired = 0
        self.penalties: list[float | None] = []

    def acquire(self) -> None:
        super().acquire()
        self.acquired += 1

    def penalise(self, seconds: float | None) -> None:
        self.penalties.append(seconds)
        super().penalise(seconds)

    def _sleep(self, seconds: float) -> None:
        self.now += seconds
