"""Dagster's queries share connections that are kept, and outlive them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa

from tickstock_pipeline.settings import Settings
from tickstock_pipeline.storage.engine import create_engine

CONFIGURATION = Path(__file__).parents[3] / "dagster.yaml"


@pytest.fixture
def open_instance(settings: Settings, tmp_path: Path, monkeypatch) -> Callable[[], dg.DagsterInstance]:
    """Another of Dagster's instances, on the same database."""
    for name, value in settings.child_environment().items():
        monkeypatch.setenv(name, value)
    (tmp_path / "dagster.yaml").write_text(CONFIGURATION.read_text("utf-8"), "utf-8")
    return lambda: dg.DagsterInstance.from_config(str(tmp_path))


@pytest.fixture
def administration(postgres_url: str) -> Iterator[sa.Connection]:
    engine = create_engine(postgres_url)
    with engine.connect() as connection:
        # what others do is seen by the next query
        yield connection.execution_options(isolation_level="AUTOCOMMIT")
    engine.dispose()


def ask_everything(instance: dg.DagsterInstance) -> None:
    """Runs, events and schedules: the three parts of the storage."""
    instance.get_runs(limit=1)
    instance.all_asset_keys()
    instance.all_instigator_state()


def backends(administration: sa.Connection, database: str | None) -> set[int]:
    """Process ids of the server's that work for a database."""
    query = sa.text("SELECT pid FROM pg_stat_activity WHERE datname = :database AND backend_type = 'client backend'")
    return set(administration.scalars(query, {"database": database}))


def test_all_instances_of_a_process_share_one_connection_that_is_kept(
    open_instance: Callable[[], dg.DagsterInstance], administration: sa.Connection, settings: Settings
) -> None:
    database = sa.make_url(settings.database_dsn()).database
    others = backends(administration, database)
    with open_instance() as first:
        ask_everything(first)
        kept = backends(administration, database) - others
        with open_instance() as second:
            for _ in range(3):
                ask_everything(first)
                ask_everything(second)

    assert len(kept) == 1
    assert backends(administration, database) - others == kept


def test_a_connection_that_the_server_has_closed_is_replaced(
    open_instance: Callable[[], dg.DagsterInstance], administration: sa.Connection, settings: Settings
) -> None:
    database = sa.make_url(settings.database_dsn()).database
    others = backends(administration, database)
    with open_instance() as instance:
        ask_everything(instance)
        (closed,) = backends(administration, database) - others
        # waits until it is gone
        assert administration.scalar(sa.text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": closed})
        ask_everything(instance)

    (replaced,) = backends(administration, database) - others
    assert replaced != closed
