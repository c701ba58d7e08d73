"""Dagster's three processes: code server, webserver and daemon, on our storage and definitions.

One code server serves both others, so the definitions are loaded once; runs are its children.
"""

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tickstock_pipeline.errors import ServiceError
from tickstock_pipeline.runtime.orchestrator import LOCATION, Orchestrator
from tickstock_pipeline.runtime.ports import LOOPBACK, http_url, is_listening, last_port, remember_port, remembered_port
from tickstock_pipeline.runtime.process import ServiceProcess
from tickstock_pipeline.runtime.process_tree import end_processes, processes_with
from tickstock_pipeline.runtime.supervisor import Supervisor
from tickstock_pipeline.settings import Settings

_READY_TIMEOUT_S = 120.0
_LAST_LINES = 15
# In the environment of what we start and of its children, and of nothing else: `tickstock env` does not print it.
_SUPERVISED = "TICKSTOCK_SUPERVISED_BY"
_PROJECT = Path(__file__).resolve().parents[2]


def dagster_home(settings: Settings) -> Path:
    """Dagster's own state directory within ours."""
    return settings.home.absolute() / "dagster"


def dagster_environment(settings: Settings) -> dict[str, str]:
    """Variables with which Dagster's own commands, and a person's shell, see this instance; no provider's key."""
    return {
        **settings.service_environment(),
        "DAGSTER_HOME": str(dagster_home(settings)),
        # Writing events is the largest part of a backfill's time; measured at 100: 20 ms a partition, at 1: 60.
        "DAGSTER_EVENT_BATCH_SIZE": "100",
    }


@dataclass(frozen=True)
class DagsterStart:
    """The web UI's URL, and how many runs of a killed instance are repeated."""

    url: str
    repeated_runs: int


def start_dagster(
    settings: Settings, supervisor: Supervisor, environment: dict[str, str], job_tags: Mapping[str, str]
) -> DagsterStart:
    """Start the three processes and wait until the webserver has loaded our definitions.

    Runs whose process was killed together with an earlier instance are marked as failed, and so repeated: Dagster
    cannot tell them from runs under way, and they would block its queue and their backfill for ever.

    Parameters
    ----------
    environment : the caller's environment; ours is laid over it
    job_tags : of backfills that the caller launches, and launches again if they were interrupted

    Raises
    ------
    ServiceError
        If one of them ends or is not ready in time, with the last lines of its log.
    """
    home = dagster_home(settings)
    home.mkdir(parents=True, exist_ok=True)
    # A run is a child of the code server's, out of reach of the kernel's signal at our death: a killed instance may
    # have left it behind.
    end_processes(processes_with(_SUPERVISED, str(home)))
    port_file = home / "code-server.port"
    earlier_port, port = last_port(port_file), remembered_port(port_file)
    workspace = _write_configuration(home, port)
    variables = {**environment, **settings.child_environment(), **dagster_environment(settings), _SUPERVISED: str(home)}
    python = [sys.executable, "-m"]
    logs = settings.home.absolute() / "logs"

    def process(name: str, *arguments: str) -> ServiceProcess:
        return ServiceProcess(
            name, [*python, *arguments], log_file=logs / f"{name}.log", environment=variables, stop_timeout=20.0
        )

    code_server = process(
        "code-server", "dagster", "api", "grpc",
        "--module-name", "tickstock_pipeline.definitions", "--location-name", LOCATION,
        "--host", LOOPBACK, "--port", str(port), "--log-level", settings.log_level.lower(),
    )  # fmt: skip
    webserver = process(
        "webserver", "dagster_webserver",
        "--host", settings.web_host, "--port", str(settings.web_port),
        "--workspace", str(workspace), "--log-level", settings.log_level.lower(),
    )  # fmt: skip
    daemon = process(
        "daemon", "dagster._daemon", "run",
        "--workspace", str(workspace), "--log-level", settings.log_level.lower(),
    )  # fmt: skip
    supervisor.start(code_server)
    # It listens once the definitions are loaded; a webserver that asks before would show them as broken.
    code_server.wait_until_ready(lambda: is_listening(LOOPBACK, port), timeout=_READY_TIMEOUT_S)
    supervisor.start(webserver)
    url = http_url(settings.web_host, settings.web_port)
    with Orchestrator(url) as orchestrator:
        webserver.wait_until_ready(orchestrator.is_ready, timeout=_READY_TIMEOUT_S)
        cut_off = orchestrator.clear_away(
            code_servers=[(LOOPBACK, earlier_port)] if earlier_port else [], backfill_tags=job_tags
        )
    if cut_off:
        _end_as_failed(cut_off, variables)
    # Not before: until then, whatever runs on a code server of ours is left over.
    remember_port(port_file, port)
    # Started last: two processes that create Dagster's tables at the same moment get in each other's way.
    supervisor.start(daemon)
    return DagsterStart(url, len(cut_off))


def _end_as_failed(runs: Sequence[str], environment: Mapping[str, str]) -> None:
    """Over GraphQL a run can only be canceled, and a canceled one is not repeated."""
    ended = subprocess.run(
        [sys.executable, "-m", "tickstock_pipeline.defs.cut_off_runs", *runs],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_READY_TIMEOUT_S,
    )
    if ended.returncode:
        last = "".join(f"\n  {line}" for line in ended.stderr.splitlines()[-_LAST_LINES:])
        raise ServiceError(f"{len(runs)} runs of a killed instance could not be ended. The last lines:{last}")


def _write_configuration(home: Path, port: int) -> Path:
    instance = _PROJECT / "dagster.yaml"
    if not instance.is_file():
        raise ServiceError(
            f"{instance} is missing: it configures Dagster's storage and run queue.",
            advice="Run from a checkout of the repository (git checkout dagster.yaml), installed with `make up`.",
        )
    shutil.copyfile(instance, home / "dagster.yaml")
    workspace = home / "workspace.yaml"
    workspace.write_text(
        f"load_from:\n  - grpc_server:\n      host: {LOOPBACK}\n      port: {port}\n      location_name: {LOCATION}\n",
        encoding="utf-8",
    )
    return workspace
