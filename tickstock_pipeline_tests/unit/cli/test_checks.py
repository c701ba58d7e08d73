"""Checks of the machine that need no server."""

import socket
from pathlib import Path

import pytest

from tickstock_pipeline.cli.checks.finding import Finding, Level
from tickstock_pipeline.cli.checks.machine import check_disk, check_ports, check_programs, check_python
from tickstock_pipeline.errors import PortInUseError
from tickstock_pipeline.runtime.instance import RunningServices, ServiceRecord
from tickstock_pipeline.runtime.ports import any_free_port
from tickstock_pipeline.settings import Settings

pytestmark = pytest.mark.usefixtures("clean_environment")


def one(findings: object, check: str) -> Finding:
    assert hasattr(findings, "__iter__")
    (found,) = [finding for finding in findings if finding.check == check]
    assert isinstance(found, Finding)
    return found


def test_this_interpreter_and_its_packages_are_in_order() -> None:
    assert [finding.level for finding in check_python()] == [Level.OK, Level.OK]


def test_a_finding_speaks_as_the_error_does() -> None:
    error = PortInUseError("Port 1 is in use.", advice="Take another.")

    assert Finding.of_error("Port", error) == Finding("Port", Level.PROBLEM, "Port 1 is in use.", "Take another.")


def test_a_state_directory_that_will_be_created_is_in_order(tmp_path: Path) -> None:
    settings = Settings.load(_env_file=None, home=tmp_path / "a" / "b")

    found = one(check_disk(settings), "State directory")

    assert (found.level, found.text) == (Level.OK, f"{tmp_path / 'a' / 'b'} (not created yet)")
    assert not (tmp_path / "a").exists()


def test_the_programs_found_are_named_with_their_versions() -> None:
    found = list(check_programs(Settings.load(_env_file=None)))

    assert [finding.level for finding in found] == [Level.OK, Level.OK]
    assert "(PostgreSQL)" in found[0].text
    assert "v=" in found[1].text
    assert "sha=" not in found[1].text


@pytest.mark.parametrize(
    ("check", "setting", "process"),
    [("Web port", "web_port", "webserver"), ("Gateway port", "gateway_port", "gateway")],
)
def test_a_port_is_free_until_somebody_listens_on_it(check: str, setting: str, process: str) -> None:
    settings = Settings.load(_env_file=None, **{setting: any_free_port()})
    assert one(check_ports(settings, None), check).level is Level.OK

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", getattr(settings, setting)))
        listener.listen()
        assert one(check_ports(settings, None), check).level is Level.PROBLEM
        ours = RunningServices(1, "", "", {process: ServiceRecord(2, getattr(settings, setting))})
        assert one(check_ports(settings, ours), check).level is Level.OK
