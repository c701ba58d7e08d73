"""``tickstock db``: the schema's version, shown and brought up to date."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa

from tickstock_pipeline.runtime.ports import any_free_port
from tickstock_pipeline.storage.engine import create_engine
from tickstock_pipeline.storage.schema import head_revision

Run = Callable[..., Any]


def execute(url: str, *statements: str) -> None:
    engine = create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def test_an_empty_database_is_upgraded_once(tickstock: Run, empty_database_url: str, monkeypatch: Any) -> None:
    monkeypatch.setenv("TICKSTOCK_DATABASE_URL", empty_database_url)

    before = tickstock("db", "revision")
    assert before.exit_code == 1
    assert before.stdout.split() == ["current", "none", "head", head_revision()]
    assert "tickstock db upgrade" in before.stderr

    first = tickstock("db", "upgrade")
    assert (first.exit_code, first.stderr) == (0, "")
    assert first.stdout == f"Schema upgraded from an empty database to {head_revision()}.\n"
    assert tickstock("db", "upgrade").stdout == f"The schema is up to date: {head_revision()}.\n"

    after = tickstock("db", "revision", "--json")
    assert after.exit_code == 0
    assert after.json() == {"current": head_revision(), "head": head_revision()}


def test_a_newer_schema_is_left_alone(configured: Run, database_url: str) -> None:
    execute(database_url, "UPDATE alembic_version SET version_num = '9999'")

    outcome = configured("db", "upgrade")

    assert outcome.exit_code == 1
    assert "schema version 9999, which is newer" in outcome.stderr
    assert "pip install --upgrade" in outcome.stderr
    assert configured("db", "revision").exit_code == 1


def test_a_database_where_nothing_listens(tickstock: Run, monkeypatch: Any) -> None:
    port = any_free_port()
    monkeypatch.setenv("TICKSTOCK_DATABASE_URL", f"postgresql://u:s3cr3t@127.0.0.1:{port}/d")

    outcome = tickstock("db", "upgrade")

    assert (outcome.exit_code, outcome.stdout) == (1, "")
    assert f"127.0.0.1:{port}" in outcome.stderr
    assert "connection refused" in outcome.stderr
    assert "s3cr3t" not in outcome.stderr


def test_a_wrong_password(tickstock: Run, database_url: str, monkeypatch: Any) -> None:
    password = str(urlsplit(database_url).password)
    monkeypatch.setenv("TICKSTOCK_DATABASE_URL", database_url.replace(password, "s3cr3t"))

    outcome = tickstock("db", "upgrade")

    assert outcome.exit_code == 1
    assert "password authentication failed" in outcome.stderr
    assert "Correct the user, password" in outcome.stderr
    assert "s3cr3t" not in outcome.stderr


def test_a_missing_privilege_is_a_message_and_not_a_trace(
    tickstock: Run, empty_database_url: str, monkeypatch: Any
) -> None:
    database = urlsplit(empty_database_url).path[1:]
    role = f"reader_{database}"
    execute(empty_database_url, f"CREATE ROLE {role} LOGIN PASSWORD 's3cr3t'")
    place = empty_database_url.rpartition("@")[2]
    monkeypatch.setenv("TICKSTOCK_DATABASE_URL", f"postgresql://{role}:s3cr3t@{place}")
    try:
        outcome = tickstock("db", "upgrade")
    finally:
        execute(empty_database_url, f"DROP ROLE {role}")

    assert outcome.exit_code == 1
    assert f"PostgreSQL refused a statement: permission denied for database {database}." in outcome.stderr
    assert "s3cr3t" not in outcome.stderr
