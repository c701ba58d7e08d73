"""What ``tickstock up`` says when it cannot start, and that it then leaves nothing running."""

import socket
from urllib.parse import urlsplit

import sqlalchemy as sa

from tickstock_pipeline.runtime.instance import instance_lock
from tickstock_pipeline.runtime.ports import any_free_port


def test_a_taken_port_is_named_with_the_variable_that_changes_it(workplace):
    with socket.create_server(("127.0.0.1", workplace.web_port)):
        up = workplace.up("--once")

        assert up.wait(60) == 1
    assert str(workplace.web_port) in up.output
    assert "TICKSTOCK_WEB_PORT" in up.output
    assert not workplace.leftovers()
    assert not workplace.home.exists()


def test_another_instance_in_the_same_directory_is_named_and_not_its_port(workplace):
    with instance_lock(workplace.home), socket.create_server(("127.0.0.1", workplace.web_port)):
        up = workplace.up("--once")

        assert up.wait(60) == 1
    assert "already runs" in up.output
    assert "TICKSTOCK_HOME" in up.output
    assert not workplace.leftovers()


def test_a_database_that_does_not_answer_is_named_without_its_password(workplace):
    port = any_free_port()

    up = workplace.up("--once", TICKSTOCK_DATABASE_URL=f"postgresql://someone:s3cret@127.0.0.1:{port}/db")

    assert up.wait(60) == 1
    assert f"127.0.0.1:{port}" in up.output
    assert "connection refused" in up.output
    assert "s3cret" not in up.output
    assert "Traceback" not in up.output
    assert not workplace.leftovers()


def test_a_wrong_password_is_told_from_a_missing_server(workplace, database_url, redis_url):
    parts = urlsplit(database_url)
    wrong = parts._replace(netloc=f"{parts.username}:wr0ng@{parts.hostname}:{parts.port}").geturl()

    up = workplace.up("--once", TICKSTOCK_DATABASE_URL=wrong, TICKSTOCK_REDIS_URL=redis_url)

    assert up.wait(60) == 1
    assert "password authentication failed" in up.output
    assert "wr0ng" not in up.output
    assert not workplace.leftovers()


def test_a_redis_that_does_not_answer_is_named(workplace, database_url):
    port = any_free_port()

    up = workplace.up("--once", TICKSTOCK_DATABASE_URL=database_url, TICKSTOCK_REDIS_URL=f"redis://127.0.0.1:{port}")

    assert up.wait(60) == 1
    assert f"127.0.0.1:{port}" in up.output
    assert "TICKSTOCK_REDIS_URL" in up.output
    assert not workplace.leftovers()


def test_a_newer_schema_is_left_alone(workplace, engine, database_url, redis_url):
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))

    up = workplace.up("--once", TICKSTOCK_DATABASE_URL=database_url, TICKSTOCK_REDIS_URL=redis_url)

    assert up.wait(60) == 1
    assert "newer" in up.output
    assert not workplace.leftovers()


def test_an_unusable_setting_is_named(workplace):
    up = workplace.up("--once", TICKSTOCK_FIRST_YEAR="soon")

    assert up.wait(60) == 1
    assert "TICKSTOCK_FIRST_YEAR" in up.output
    assert "Traceback" not in up.output


def test_a_state_directory_that_cannot_be_made_is_named(workplace):
    workplace.home.write_text("a file where the folder should be")

    up = workplace.up("--once")

    assert up.wait(60) == 1
    assert str(workplace.home) in up.output
    assert "Traceback" not in up.output
