"""An intake that listens on the test's Redis and stores in the test's database."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
import sqlalchemy as sa

from tickstock_pipeline.imports.intake import Intake, listening_client
from tickstock_pipeline.imports.planning import Surroundings
from tickstock_pipeline.imports.status import StatusPublisher, redis_client
from tickstock_pipeline.settings import Settings

Eventually = Callable[[Callable[[], object]], None]


@pytest.fixture
def eventually() -> Eventually:
    """Waits until a condition holds; fails after ten seconds."""

    def wait(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline, "it did not come to pass"
            time.sleep(0.01)

    return wait


@pytest.fixture
def surroundings(tmp_path: Path) -> Surroundings:
    """An empty universe folder, and a grid from 2000 on."""
    return Surroundings(tmp_path / "universes", 2000)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """Another program's connection."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as found:
        yield found


@pytest.fixture
def publisher(engine: sa.Engine, settings: Settings) -> StatusPublisher:
    """Writes status keys."""
    return StatusPublisher(engine, redis_client(settings))


@pytest.fixture
def intake(
    engine: sa.Engine,
    settings: Settings,
    publisher: StatusPublisher,
    surroundings: Surroundings,
    client: redis.Redis,
    eventually: Eventually,
) -> Iterator[Intake]:
    """Listening on all ways in."""
    intake = Intake(engine, listening_client(settings), publisher, surroundings)
    intake.start()
    eventually(lambda: client.pubsub_numsub("tickstock.jobs.data_load")[0][1] == 1)
    yield intake
    intake.stop()
