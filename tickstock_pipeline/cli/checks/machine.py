"""Checks of the machine: Python, packages, disk, server programs, the user, ports. Nothing is started or changed."""

import os
import platform
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tickstock_pipeline.cli.checks.finding import Finding, Level
from tickstock_pipeline.errors import TickstockError
from tickstock_pipeline.runtime.binaries import find_postgres, find_redis
from tickstock_pipeline.runtime.disk import require_free_space
from tickstock_pipeline.runtime.identity import IdentityMethod, server_identity
from tickstock_pipeline.runtime.instance import RunningServices, ServiceRecord
from tickstock_pipeline.runtime.ports import is_port_free, require_free_port
from tickstock_pipeline.settings import Settings

_DISTRIBUTION = "tickstock-pipeline"
_CHECKOUT = Path(__file__).resolve().parents[3]
_VERSION_TIMEOUT_S = 30.0
_HOW = {
    IdentityMethod.SAME: "as this user",
    IdentityMethod.NAMESPACE: "for root, in a user namespace",
    IdentityMethod.SWITCH: "for root, as user {uid}: user namespaces are denied here",
}


def check_python() -> Iterator[Finding]:
    """The interpreter's version, and the versions of all packages that are required."""
    requires_python, requirements = _required()
    version = platform.python_version()
    if version in SpecifierSet(requires_python):
        yield Finding("Python", Level.OK, f"{version} ({sys.executable})")
    else:
        yield Finding(
            "Python",
            Level.PROBLEM,
            f"{version} ({sys.executable}) is not {requires_python}.",
            "Install a newer Python, and into a new virtual environment: make clean up PYTHON=python3.12",
        )
    wrong = [problem for requirement in requirements if (problem := _mismatch(requirement))]
    if wrong:
        advice = "Install what is required: `make install`, or pip install --upgrade tickstock-pipeline"
        yield Finding("Packages", Level.PROBLEM, "; ".join(wrong), advice)
    else:
        yield Finding("Packages", Level.OK, f"{len(requirements)} installed in the required versions")


def check_disk(settings: Settings) -> Iterator[Finding]:
    """Whether the state directory can be written to and has room."""
    home = settings.home.absolute()
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        advice = "Set TICKSTOCK_HOME to a folder of yours, or correct its permissions."
        yield Finding("State directory", Level.PROBLEM, f"{existing} cannot be written to.", advice)
    else:
        yield Finding("State directory", Level.OK, f"{home}{'' if existing == home else ' (not created yet)'}")
    try:
        require_free_space(existing)
    except TickstockError as error:
        yield Finding.of_error("Disk", error)
    else:
        yield Finding("Disk", Level.OK, f"{shutil.disk_usage(existing).free / 1024**3:,.1f} GB free")


def check_programs(settings: Settings) -> Iterator[Finding]:
    """The embedded servers' programs, and as whom they can run; not looked for where a URL is configured."""
    if settings.database_url is not None:
        yield Finding("PostgreSQL program", Level.OK, "not needed: TICKSTOCK_DATABASE_URL is set")
    else:
        try:
            program = find_postgres(settings.postgres_bin).postgres
            identity = server_identity(program)
        except TickstockError as error:
            yield Finding.of_error("PostgreSQL program", error)
        else:
            version = _version(identity.launch_command([program, "--version"]))
            how = _HOW[identity.method].format(uid=identity.uid)
            yield Finding("PostgreSQL program", Level.OK, f"{version}, {how} ({program})")
    if settings.redis_url is not None:
        yield Finding("Redis program", Level.OK, "not needed: TICKSTOCK_REDIS_URL is set")
    else:
        try:
            program = find_redis(settings.redis_server)
        except TickstockError as error:
            yield Finding.of_error("Redis program", error)
        else:
            yield Finding("Redis program", Level.OK, f"{_version([str(program), '--version'])} ({program})")


def check_ports(settings: Settings, running: RunningServices | None) -> Iterator[Finding]:
    """The ports that a start needs: free, or held by our own instance. The embedded servers take any free port."""
    yield _port(
        *("Web port", settings.web_host, settings.web_port, "Dagster's web UI", "TICKSTOCK_WEB_PORT"),
        None if running is None else running.processes.get("webserver"),
    )
    yield _port(
        *("Gateway port", settings.gateway_host, settings.gateway_port, "the gateway", "TICKSTOCK_GATEWAY_PORT"),
        None if running is None else running.processes.get("gateway"),
    )


def _port(check: str, host: str, port: int, purpose: str, variable: str, ours: ServiceRecord | None) -> Finding:
    if ours is not None and ours.port is not None and not is_port_free(host, ours.port):
        return Finding(check, Level.OK, f"{ours.port}, held by the running instance (pid {ours.pid})")
    try:
        require_free_port(host, port, purpose, variable)
    except TickstockError as error:
        return Finding.of_error(check, error)
    return Finding(check, Level.OK, f"{port} is free")


def _required() -> tuple[str, list[Requirement]]:
    """From the checkout where there is one: an editable installation's own metadata may be older than it."""
    project = _CHECKOUT / "pyproject.toml"
    if project.is_file():
        content = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
        if content["name"] == _DISTRIBUTION:
            return content["requires-python"], [Requirement(text) for text in content["dependencies"]]
    requirements = [Requirement(text) for text in metadata.requires(_DISTRIBUTION) or ()]
    needed = [found for found in requirements if found.marker is None or found.marker.evaluate({"extra": ""})]
    return metadata.metadata(_DISTRIBUTION)["Requires-Python"], needed


def _mismatch(requirement: Requirement) -> str:
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement.name} is not installed"
    if requirement.specifier.contains(version, prereleases=True):
        return ""
    return f"{requirement.name} is {version}, required is {requirement.specifier}"


def _version(command: list[str]) -> str:
    """What a program says of itself, without the details of its build; its name if it says nothing."""
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=_VERSION_TIMEOUT_S, check=False)
    return next(iter(outcome.stdout.splitlines()), Path(command[-2]).name).partition(" sha=")[0].strip()
