"""The embedded Redis through first starts, crashes and leftovers."""

import os
import signal
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import redis

from tickstock_pipeline.errors import BinaryNotFoundError, RedisLoginError, ServiceError
from tickstock_pipeline.runtime.connections import check_redis
from tickstock_pipeline.runtime.ports import LOOPBACK
from tickstock_pipeline.runtime.redis import EmbeddedRedis


@contextmanager
def started(server: EmbeddedRedis) -> Iterator["redis.Redis"]:
    try:
        with redis.Redis.from_url(server.start(), decode_responses=True) as client:
            yield client
    finally:
        server.stop()


def test_the_second_start_finds_the_data_and_the_address_of_the_first(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path)
    with started(server) as client:
        client.set("kept", "yes")
    again = EmbeddedRedis(tmp_path)
    with started(again) as client:
        assert client.get("kept") == "yes"

    assert again.port == server.port


def test_the_server_is_set_up_as_documented(tmp_path: Path) -> None:
    with started(EmbeddedRedis(tmp_path)) as client:
        settings = client.config_get("*")

    expected = {"bind": "127.0.0.1", "appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction"}
    assert {name: settings[name] for name in expected} == expected


def test_the_password_is_needed_and_shows_in_no_log_and_no_argument(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path)
    with started(server):
        password = (tmp_path / "redis/password").read_text(encoding="utf-8")
        arguments = " ".join(psutil.Process(server.process.pid).cmdline())
        with pytest.raises(RedisLoginError):
            check_redis(f"redis://{LOOPBACK}:{server.port}/0")

    assert password not in arguments
    assert password not in (tmp_path / "logs/redis.log").read_text(encoding="utf-8")
    assert stat.S_IMODE((tmp_path / "redis/redis.conf").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "redis").stat().st_mode) == 0o700


def test_a_killed_server_starts_again_with_its_data(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path)
    with started(server) as client:
        client.set("kept", "yes")
        os.kill(server.process.pid, signal.SIGKILL)
        assert server.process.wait(20)

        with started(EmbeddedRedis(tmp_path)) as client_after:
            assert client_after.get("kept") == "yes"


def test_a_server_that_outlived_its_supervisor_is_stopped_before_the_next_start(tmp_path: Path) -> None:
    orphan = EmbeddedRedis(tmp_path)
    with started(orphan) as client:
        client.set("kept", "yes")
        with started(EmbeddedRedis(tmp_path)) as client_after:
            assert orphan.process.wait(20)
            assert orphan.process.exit_code == 0
            assert client_after.get("kept") == "yes"


def test_a_remembered_port_that_was_taken_is_replaced(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path)
    with started(server):
        pass

    with socket.create_server((LOOPBACK, server.port)), started(EmbeddedRedis(tmp_path)) as client:
        assert client.ping()


def test_a_server_that_ends_at_its_start_is_an_error_with_its_last_lines(tmp_path: Path) -> None:
    (tmp_path / "redis/appendonlydir").mkdir(parents=True)
    (tmp_path / "redis/appendonlydir/appendonly.aof.manifest").write_text("damaged\n", encoding="utf-8")
    server = EmbeddedRedis(tmp_path)

    with pytest.raises(ServiceError, match="manifest"):
        server.start()
    assert not server.process.is_alive


def test_a_configured_program_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BinaryNotFoundError):
        EmbeddedRedis(tmp_path, redis_server=tmp_path / "nowhere").start()
