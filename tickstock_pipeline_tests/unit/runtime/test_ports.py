"""Free, taken and remembered TCP ports."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tickstock_pipeline.errors import PortInUseError
from tickstock_pipeline.runtime.ports import (
    LOOPBACK,
    any_free_port,
    http_url,
    is_port_free,
    remember_port,
    remembered_port,
    require_free_port,
)


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server((LOOPBACK, 0)) as listener:
        yield listener.getsockname()[1]


def test_a_taken_port_is_an_error_that_names_holder_and_variable(taken_port: int) -> None:
    with pytest.raises(PortInUseError) as caught:
        require_free_port(LOOPBACK, taken_port, "the web UI", "TICKSTOCK_WEB_PORT")

    message = str(caught.value)
    assert f"Port {taken_port}" in message
    assert "the web UI" in message
    assert f"(pid {os.getpid()})" in message
    assert "TICKSTOCK_WEB_PORT" in message


def test_a_free_port_is_no_error() -> None:
    require_free_port(LOOPBACK, any_free_port(), "the web UI", "TICKSTOCK_WEB_PORT")


def test_a_port_whose_last_connection_was_just_closed_is_free() -> None:
    with socket.create_server((LOOPBACK, 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection((LOOPBACK, port)):
            # The side that closes first keeps the connection in TIME_WAIT.
            listener.accept()[0].close()

    assert is_port_free(LOOPBACK, port)


def test_the_remembered_port_is_used_again_while_it_is_free(tmp_path: Path) -> None:
    port = any_free_port()
    remember_port(tmp_path / "port", port)

    assert remembered_port(tmp_path / "port") == port


def test_a_remembered_port_that_another_program_took_is_replaced(tmp_path: Path, taken_port: int) -> None:
    remember_port(tmp_path / "port", taken_port)

    assert remembered_port(tmp_path / "port") != taken_port


@pytest.mark.parametrize("content", ["", "none", "0", "70000", "-1"])
def test_a_damaged_memory_of_the_port_is_ignored(tmp_path: Path, content: str) -> None:
    (tmp_path / "port").write_text(content, encoding="utf-8")

    assert 0 < remembered_port(tmp_path / "port") < 65536


@pytest.mark.parametrize(("host", "url"), [(LOOPBACK, "http://127.0.0.1:80"), ("::1", "http://[::1]:80")])
def test_a_url_tells_an_ipv6_address_from_a_port(host: str, url: str) -> None:
    assert http_url(host, 80) == url
