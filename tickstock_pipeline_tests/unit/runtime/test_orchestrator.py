"""What the client of Dagster's API makes of answers, given by a real server on this machine."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from tickstock_pipeline.errors import ServiceError
from tickstock_pipeline.runtime.orchestrator import Orchestrator

Answering = Callable[[dict[str, Any]], Orchestrator]


@pytest.fixture
def answering() -> Iterator[Answering]:
    """A client whose webserver gives the same answer to everything."""
    answer: dict[str, Any] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps({"data": answer}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def client(data: dict[str, Any]) -> Orchestrator:
            answer.update(data)
            return Orchestrator(f"http://127.0.0.1:{server.server_port}")

        yield client
        server.shutdown()


@pytest.mark.parametrize("kind", ["PythonError", "UnauthorizedError"])
def test_a_failed_query_is_not_taken_for_nothing_under_way(answering: Answering, kind: str) -> None:
    failed = {"partitionBackfillsOrError": {"__typename": kind, "message": "the storage does not answer"}}

    with answering(failed) as orchestrator, pytest.raises(ServiceError, match="the storage does not answer"):
        orchestrator.under_way()


def test_runs_left_over_that_cannot_be_listed_end_the_start(answering: Answering) -> None:
    answers = {
        "partitionBackfillsOrError": {"__typename": "PartitionBackfills", "results": []},
        "runsOrError": {"__typename": "PythonError", "message": "the storage does not answer"},
    }

    with answering(answers) as orchestrator, pytest.raises(ServiceError, match="the storage does not answer"):
        orchestrator.clear_away(code_servers=[("127.0.0.1", 4000)], backfill_tags={})
