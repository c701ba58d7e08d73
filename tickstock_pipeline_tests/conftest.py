"""Real servers for every test: one PostgreSQL and one Redis per session, a fresh, migrated database per test."""

import logging
import os
import shutil
import signal
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import psycopg2
import pytest
import redis
import sqlalchemy
from pydantic import SecretStr

from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.runtime.postgres import EmbeddedPostgres
from tickstock_pipeline.runtime.redis import EmbeddedRedis
from tickstock_pipeline.settings import Settings
from tickstock_pipeline.storage.engine import create_engine

# A test session's data may be lost in a power cut.
FAST_BUT_UNSAFE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "128MB"}

_TEMPLATE = "tickstock_template"

# A shell's background job ignores Ctrl-C, and so would all processes of ours that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def own_log_level() -> Iterator[None]:
    """Dagster sets the level of the loggers that it manages for a run in this process, and leaves it at that."""
    logger = logging.getLogger("tickstock_pipeline")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Server of the test session; its own database is for administration only."""
    home = tmp_path_factory.mktemp("postgres-home")
    server = EmbeddedPostgres(home, server_settings=FAST_BUT_UNSAFE)
    try:
        yield server.start()
    finally:
        server.stop()
        # pytest keeps the folders of three sessions; the logs are enough.
        shutil.rmtree(home / "postgres")


class DatabaseFactory:
    """Databases of one test each, on the session's server.

    A database is dropped before the next one is made, not at the end of its test: its last connection is just being
    closed then, and DROP DATABASE would look for its end only every 100 ms. The last ones go with the server.
    """

    def __init__(self, server_url: str) -> None:
        self._server_url = server_url
        self._retired: list[str] = []
        self._connection = psycopg2.connect(server_url)
        self._connection.autocommit = True

    def url(self, name: str) -> str:
        """URL for libpq of database ``name``."""
        return f"{self._server_url.rpartition('/')[0]}/{name}"

    def execute(self, statement: str) -> None:
        """Run ``statement`` on the server's own database."""
        with self._connection.cursor() as cursor:
            cursor.execute(statement)

    @contextmanager
    def temporary(self, template: str) -> Iterator[str]:
        """URL of a copy of database ``template``."""
        while self._retired:
            self.execute(f'DROP DATABASE "{self._retired.pop()}" WITH (FORCE)')
        name = f"test_{uuid.uuid4().hex}"
        # Measured with our schema: 13 ms; WAL_LOG took 17 to 30.
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY')
        try:
            yield self.url(name)
        finally:
            self._retired.append(name)

    def close(self) -> None:
        self._connection.close()


@pytest.fixture(scope="session")
def _databases(postgres_url: str) -> Iterator[DatabaseFactory]:
    factory = DatabaseFactory(postgres_url)
    yield factory
    factory.close()


@pytest.fixture(scope="session")
def _migrated_template(_databases: DatabaseFactory) -> str:
    """Name of a database with the newest schema and nothing else in it."""
    # Imported here, so that tests of other parts run while the schema is broken.
    from tickstock_pipeline.storage import schema

    _databases.execute(f'CREATE DATABASE "{_TEMPLATE}"')
    schema.upgrade(_databases.url(_TEMPLATE))
    return _TEMPLATE


@pytest.fixture
def empty_database_url(_databases: DatabaseFactory) -> Iterator[str]:
    """URL for libpq of a database of this test alone, without a schema."""
    with _databases.temporary("template1") as url:
        yield url


@pytest.fixture
def database_url(_databases: DatabaseFactory, _migrated_template: str) -> Iterator[str]:
    """URL for libpq of a database of this test alone, with the newest schema."""
    with _databases.temporary(_migrated_template) as url:
        yield url


@pytest.fixture
def second_database_url(_databases: DatabaseFactory, _migrated_template: str) -> Iterator[str]:
    """Another database like :func:`database_url`, to compare with."""
    with _databases.temporary(_migrated_template) as url:
        yield url


@contextmanager
def _engine_on(database_url: str) -> Iterator[sqlalchemy.Engine]:
    engine = create_engine(database_url)
    try:
        yield engine
    finally:
        engine.dispose()


@pytest.fixture
def engine(database_url: str) -> Iterator[sqlalchemy.Engine]:
    """The product's own engine (``postgresql+psycopg2``) on :func:`database_url`."""
    with _engine_on(database_url) as engine:
        yield engine


@pytest.fixture
def second_engine(second_database_url: str) -> Iterator[sqlalchemy.Engine]:
    """One like :func:`engine` on :func:`second_database_url`."""
    with _engine_on(second_database_url) as engine:
        yield engine


@pytest.fixture(scope="session")
def _redis_server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = EmbeddedRedis(tmp_path_factory.mktemp("redis-home"))
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def redis_url(_redis_server_url: str) -> str:
    """URL of the session's Redis, emptied."""
    with redis.Redis.from_url(_redis_server_url) as client:
        client.flushall()
    return _redis_server_url


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No ``TICKSTOCK_`` variable and no provider's key of the developer's shell reaches the test."""
    for name in list(os.environ):
        if name.startswith("TICKSTOCK_") or name.endswith("_API_KEY"):
            monkeypatch.delenv(name)


@pytest.fixture
def settings(clean_environment: None, database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    """Settings of a running instance: defaults, the test's database and Redis, a state directory of its own."""
    return Settings.load(
        _env_file=None, home=tmp_path, database_url=SecretStr(database_url), redis_url=SecretStr(redis_url)
    )


@pytest.fixture
def write_universe(tmp_path: Path) -> Callable[..., Path]:
    """Write seeded random walks of ``symbols`` over ``years``, rounded to cents, as a sample file."""

    def write(symbols: Sequence[str], years: range, *, name: str = "universe.csv") -> Path:
        sessions = trading_calendar().sessions(np.datetime64(f"{years[0]}-01-01"), np.datetime64(f"{years[-1]}-12-31"))
        frames = []
        for seed, symbol in enumerate(symbols):
            random = np.random.default_rng(seed)
            close = np.round(50 * np.exp(np.cumsum(random.normal(0, 0.02, len(sessions)))), 2)
            open_ = np.round(close * np.exp(random.normal(0, 0.01, len(sessions))), 2)
            spread = np.round(np.abs(random.normal(0, 0.5, (2, len(sessions)))), 2)
            frames.append(
                pd.DataFrame(
                    {
                        "ticker": symbol,
                        "date": np.datetime_as_string(sessions),
                        "open": open_,
                        "high": np.round(np.maximum(open_, close) + spread[0], 2),
                        "low": np.round(np.minimum(open_, close) / (1 + spread[1] / 50), 2),
                        "close": close,
                        "volume": random.integers(1_000, 1_000_000, len(sessions)),
                    }
                )
            )
        path = tmp_path / name
        pd.concat(frames).to_csv(path, index=False)
        return path

    return write
