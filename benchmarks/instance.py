"""A whole ``tickstock up`` in a folder of its own: what measurements of the orchestration run against."""

import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tickstock_pipeline.runtime.instance import RunningServices, read_running_services
from tickstock_pipeline.runtime.ports import any_free_port

_READY = "Ctrl-C stops everything"
_MEGABYTE = 1e6


@dataclass(frozen=True)
class Instance:
    """What runs, while it runs.

    Attributes
    ----------
    web_url : of Dagster's webserver
    services : with secrets in its URLs
    """

    web_url: str
    services: RunningServices

    def memory_mb(self, name: str) -> float:
        """Resident memory of one of its processes, without its children."""
        return float(psutil.Process(self.services.processes[name].pid).memory_info().rss) / _MEGABYTE

    def processor_s(self, name: str) -> float:
        """Seconds of a processor that one of its processes has taken, with those of its children that have ended."""
        used = psutil.Process(self.services.processes[name].pid).cpu_times()
        return float(used.user + used.system + used.children_user + used.children_system)


@contextmanager
def running_instance(variables: Mapping[str, str]) -> Iterator[Instance]:
    """An instance without a live path, once it has nothing more to do by itself; all is deleted at the end.

    Parameters
    ----------
    variables : settings
    """
    with tempfile.TemporaryDirectory(prefix="tickstock-benchmark-") as folder:
        home = Path(folder) / "state"
        web_port = any_free_port()
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TICKSTOCK_")},
            "TICKSTOCK_HOME": str(home),
            "TICKSTOCK_WEB_PORT": str(web_port),
            "TICKSTOCK_GATEWAY_PORT": str(any_free_port()),
            "TICKSTOCK_LIVE_SOURCE": "none",
            **variables,
        }
        command = [sys.executable, "-m", "tickstock_pipeline", "up"]
        up = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            assert up.stdout is not None
            lines = []
            for line in up.stdout:
                lines.append(line)
                if re.search(_READY, line):
                    break
            else:
                raise RuntimeError("the instance did not start:\n" + "".join(lines))
            threading.Thread(target=up.stdout.read, daemon=True).start()
            services = read_running_services(home)
            assert services is not None
            yield Instance(f"http://127.0.0.1:{web_port}", services)
        finally:
            # a shell lets its background jobs ignore SIGINT
            up.terminate()
            up.wait(120)
