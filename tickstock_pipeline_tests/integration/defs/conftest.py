"""An orchestra for tests that follow a job through Dagster."""

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from tickstock_pipeline.settings import Settings
from tickstock_pipeline_tests.integration.defs.orchestra import Orchestra


@pytest.fixture
def orchestra(
    settings: Settings,
    engine: sa.Engine,
    redis_url: str,
    write_universe: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Orchestra]:
    """On the test's database and Redis, with a provider that has last year's bars of AAA, BBB and CCC."""
    last_year = date.today().year - 1
    sample = write_universe(["AAA", "BBB", "CCC"], range(last_year, last_year + 1))
    for name, value in settings.model_copy(update={"sample_file": sample}).child_environment().items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "dagster"
    folder.mkdir()
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        orchestra = Orchestra(instance, engine, redis_url)
        yield orchestra
        orchestra.redis.close()
