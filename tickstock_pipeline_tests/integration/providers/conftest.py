"""Servers on this machine in a provider's place: the replay server, and one that gives whatever a test wants."""

from collections.abc import Iterator

import pytest
import stamina
from pydantic import SecretStr

from tickstock_pipeline.providers.polygon import PolygonProvider
from tickstock_pipeline.providers.retries import ATTEMPTS
from tickstock_pipeline.replay.server import ReplayServer
from tickstock_pipeline_tests.integration.providers.canned_server import CannedServer, CountingBudget, canned_server
from tickstock_pipeline_tests.integration.providers.polygon_answers import KEY


@pytest.fixture(autouse=True)
def _without_pauses() -> Iterator[None]:
    """As many attempts as in production, one right after the other."""
    with stamina.set_testing(True, attempts=ATTEMPTS, cap=True):
        yield


@pytest.fixture(scope="module")
def _server(request: pytest.FixtureRequest) -> Iterator[ReplayServer]:
    with ReplayServer(api_key=getattr(request.module, "KEY", None)) as server:
        yield server


@pytest.fixture
def server(_server: ReplayServer) -> ReplayServer:
    """The replay server of the module as new; it wants the module's ``KEY``, if there is one."""
    _server.faults.clear()
    _server.requests.clear()
    return _server


@pytest.fixture
def canned() -> Iterator[CannedServer]:
    """A server whose answers the test sets."""
    with canned_server() as server:
        yield server


@pytest.fixture
def budget() -> CountingBudget:
    """Of a provider without a limit; counts the requests."""
    return CountingBudget()


@pytest.fixture
def polygon(server: ReplayServer, budget: CountingBudget) -> PolygonProvider:
    """Polygon's provider at the replay server."""
    return PolygonProvider(base_url=server.url, api_key=SecretStr(KEY), budget=budget, timeout=5.0)
