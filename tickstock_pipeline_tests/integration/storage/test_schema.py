"""Migrations: what they create, how they behave when two run, and what happens on another version."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.dialects.postgresql.base import ischema_names

from tickstock_pipeline.batch.outcome import ledger_facts
from tickstock_pipeline.errors import DatabaseLoginError, DatabaseUnreachableError, SchemaVersionError
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.patterns.defaults import DEFAULT_PATTERNS
from tickstock_pipeline.storage import schema
from tickstock_pipeline.storage.all_tables import METADATA
from tickstock_pipeline.storage.counts import row_counts
from tickstock_pipeline.storage.definitions import read_definitions
from tickstock_pipeline.storage.engine import create_engine
from tickstock_pipeline.storage.ledger import read_ledger
from tickstock_pipeline.storage.quality import series_extents
from tickstock_pipeline.storage.tables import TransactionId


@pytest.fixture
def empty_engine(empty_database_url: str) -> Iterator[sa.Engine]:
    engine = create_engine(empty_database_url)
    yield engine
    engine.dispose()


def _catalogue(engine: sa.Engine) -> dict[str, set[Any]]:
    """Columns, constraints and indexes as PostgreSQL describes them."""
    queries = {
        "columns": """
            SELECT table_name, column_name, data_type, udt_name, is_nullable, column_default, is_identity,
                identity_generation, generation_expression, numeric_precision, numeric_scale
            FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
            WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND table_name <> 'alembic_version'""",
        "constraints": """
            SELECT conrelid::regclass::text, contype, pg_get_constraintdef(oid) FROM pg_constraint
            WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text <> 'alembic_version'
                AND contype <> 'n'""",
        "named": "SELECT conname FROM pg_constraint WHERE contype = 'c' AND connamespace = 'public'::regnamespace",
        "indexes": """
            SELECT tablename, regexp_replace(indexdef, 'INDEX \\S+ ON', 'INDEX ON') FROM pg_indexes
            WHERE schemaname = 'public' AND tablename <> 'alembic_version'""",
    }
    with engine.connect() as connection:
        return {
            name: {tuple(row) for row in connection.execution_options(no_parameters=True).exec_driver_sql(query)}
            for name, query in queries.items()
        }


def test_the_tables_of_the_code_are_those_of_the_migrations(
    engine: sa.Engine, empty_engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    METADATA.create_all(empty_engine)
    from_code, migrated = _catalogue(empty_engine), _catalogue(engine)
    assert {name: from_code[name] ^ migrated[name] for name in migrated} == {name: set() for name in migrated}
    monkeypatch.setitem(ischema_names, "xid8", TransactionId)  # SQLAlchemy does not know it
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_an_upgrade_makes_an_empty_database_ready_and_a_second_one_changes_nothing(empty_database_url: str) -> None:
    engine = create_engine(empty_database_url)
    schema.upgrade(empty_database_url)
    with engine.connect() as connection:
        schema.require_head(connection)
        assert schema.current_revision(connection) == schema.head_revision()
        first = row_counts(connection)
    schema.upgrade(empty_database_url)
    with engine.connect() as connection:
        assert row_counts(connection) == first
        assert connection.scalar(sa.text("SELECT count(*) FROM pg_namespace WHERE nspname = 'dagster'")) == 1
    engine.dispose()


def test_an_upgrade_seeds_definitions_but_leaves_what_people_changed(engine: sa.Engine, database_url: str) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE indicator_definitions SET enabled = false WHERE name = 'rsi'"))
        connection.execute(sa.text("DELETE FROM pattern_definitions WHERE name = 'doji'"))
    schema.upgrade(database_url)
    with engine.connect() as connection:
        stored = read_definitions(connection)
    assert len(stored.indicators) == 18
    assert len(stored.patterns) == len(DEFAULT_PATTERNS)
    assert [row.name for row in stored.indicators if not row.enabled] == ["rsi"]
    assert stored.problems == ()


def test_two_upgrades_at_once_both_succeed(empty_database_url: str) -> None:
    errors: list[Exception] = []
    together = threading.Barrier(2)

    def upgrade() -> None:
        together.wait()
        try:
            schema.upgrade(empty_database_url)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test fails with it
            errors.append(error)

    threads = [threading.Thread(target=upgrade) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_a_failed_migration_leaves_nothing_behind(empty_engine: sa.Engine, empty_database_url: str) -> None:
    with empty_engine.begin() as connection:
        # stands in the way of one of the last tables
        connection.execute(sa.text("CREATE TABLE sector_mapping (other int)"))
    with pytest.raises(sa.exc.ProgrammingError, match="sector_mapping"):
        schema.upgrade(empty_database_url)
    inspector = sa.inspect(empty_engine)
    assert inspector.get_table_names() == ["sector_mapping"]
    assert "dagster" not in inspector.get_schema_names()


def test_an_older_schema_is_refused_with_the_command_that_updates_it(empty_engine: sa.Engine) -> None:
    with empty_engine.connect() as connection, pytest.raises(SchemaVersionError) as refused:
        schema.require_head(connection)
    assert "tickstock db upgrade" in refused.value.advice


def test_a_newer_schema_is_refused_and_left_alone(engine: sa.Engine, database_url: str) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaVersionError, match="newer") as refused:
        schema.upgrade(database_url)
    assert "pip install --upgrade" in refused.value.advice
    with engine.connect() as connection, pytest.raises(SchemaVersionError, match="9999"):
        schema.require_head(connection)


def test_tables_are_created_in_public_whatever_the_search_path(
    empty_engine: sa.Engine, empty_database_url: str
) -> None:
    schema.upgrade(f"{empty_database_url}?options=-csearch_path%3Ddagster")
    inspector = sa.inspect(empty_engine)
    assert "ohlcv_daily" in inspector.get_table_names(schema="public")
    assert inspector.get_table_names(schema="dagster") == []


def test_dates_are_the_same_whatever_the_time_zone_of_the_server(engine: sa.Engine, database_url: str) -> None:
    day, minute = np.datetime64("2013-03-01", "us"), np.datetime64("2013-03-01T14:30", "us")
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO ohlcv_daily VALUES ('A', '2013-03-01', 1, 1, 1, 1, 1)")
        connection.exec_driver_sql("INSERT INTO ohlcv_1min VALUES ('A', '2013-03-01 14:30Z', 1, 1, 1, 1, 1)")
        connection.exec_driver_sql(f"ALTER DATABASE {engine.url.database} SET timezone TO 'America/New_York'")
    elsewhere = create_engine(database_url)
    try:
        with elsewhere.connect() as connection:
            assert series_extents(connection, Timeframe.DAILY) == {"A": (1, day, day)}
            assert series_extents(connection, Timeframe.MINUTE) == {"A": (1, minute, minute)}
            (row,) = read_ledger(connection, Timeframe.DAILY)
            assert ledger_facts(row) == {"bars": 1, "first_bar": "2013-03-01", "last_bar": "2013-03-01"}
            # also after what the pool does between two uses
            connection.rollback()
            assert connection.scalar(sa.text("SHOW timezone")) == "UTC"
    finally:
        elsewhere.dispose()


def test_a_server_that_does_not_answer_is_named_without_the_password() -> None:
    engine = create_engine("postgresql://someone:geheim@127.0.0.1:1/bars")
    with pytest.raises(DatabaseUnreachableError) as refused:
        engine.connect()
    assert "127.0.0.1:1" in str(refused.value)
    assert "'bars'" in str(refused.value)
    assert "geheim" not in str(refused.value)


def test_a_database_that_does_not_exist_is_a_refused_login(database_url: str) -> None:
    engine = create_engine(f"{database_url.rpartition('/')[0]}/no_such_database")
    with pytest.raises(DatabaseLoginError, match="no_such_database"):
        engine.connect()


def test_a_malformed_url_is_not_quoted() -> None:
    with pytest.raises(DatabaseUnreachableError) as refused:
        create_engine("postgresql://someone:geh@im:secret@/")
    assert "secret" not in str(refused.value)


def test_a_connection_that_the_server_ends_raises_our_error(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        pid = connection.scalar(sa.text("SELECT pg_backend_pid()"))
        with engine.begin() as other:
            other.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        with pytest.raises(DatabaseUnreachableError):
            connection.execute(sa.text("SELECT 1"))
