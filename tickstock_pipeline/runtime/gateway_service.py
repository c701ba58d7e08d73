"""The gateway as a supervised process of an instance."""

import sys
from collections.abc import Mapping

from tickstock_pipeline.runtime.ports import is_listening
from tickstock_pipeline.runtime.process import ServiceProcess
from tickstock_pipeline.runtime.supervisor import Supervisor
from tickstock_pipeline.settings import Settings

NAME = "gateway"

_READY_TIMEOUT_S = 60.0


def start_gateway(settings: Settings, supervisor: Supervisor, environment: Mapping[str, str]) -> None:
    """Start it and wait until it listens.

    Parameters
    ----------
    settings : with the URLs of running services, on a migrated database
    environment : the caller's environment; ours is laid over it

    Raises
    ------
    ServiceError
        If it ends or is not ready in time, with the last lines of its log.
    """
    process = ServiceProcess(
        NAME,
        [sys.executable, "-m", "tickstock_pipeline", "gateway"],
        log_file=settings.home.absolute() / "logs" / f"{NAME}.log",
        environment={**environment, **settings.child_environment()},
        stop_timeout=20.0,
    )
    supervisor.start(process)
    process.wait_until_ready(
        lambda: is_listening(settings.gateway_host, settings.gateway_port), timeout=_READY_TIMEOUT_S
    )
