"""Which services of an instance are up: its own processes, and the servers that it or the settings name."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

import psutil

from tickstock_pipeline.errors import TickstockError
from tickstock_pipeline.runtime.connections import check_database, check_redis
from tickstock_pipeline.runtime.instance import RunningServices, ServiceRecord
from tickstock_pipeline.runtime.ports import http_url, is_port_free
from tickstock_pipeline.settings import Settings

_PROCESSES = {
    "webserver": "Dagster webserver",
    "daemon": "Dagster daemon",
    "code-server": "Dagster code server",
    "gateway": "Gateway",
    "worker": "Live worker",
    "feed": "Live feed",
}


class State(StrEnum):
    """Whether a service does what it is for."""

    UP = "up"
    DOWN = "down"
    NOT_STARTED = "not started here"


@dataclass(frozen=True, slots=True)
class Service:
    """One service; ``pid`` is None where it is not a process of this instance."""

    name: str
    state: State
    pid: int | None = None
    port: int | None = None
    detail: str = ""


def services_of(settings: Settings, running: RunningServices | None) -> list[Service]:
    """PostgreSQL, Redis, Dagster's three processes and the gateway, each asked whether it works.

    Parameters
    ----------
    settings : with the URLs of ``running`` filled in (see ``runtime.attach``)
    running : the instance, or None if none runs
    """
    records = {} if running is None else running.processes
    database = None if settings.database_url is None else settings.database_dsn()
    redis = None if settings.redis_url is None else settings.redis_dsn()
    hosts = {"gateway": settings.gateway_host}
    return [
        _server("PostgreSQL", database, 5432, check_database, records.get("postgres")),
        _server("Redis", redis, 6379, check_redis, records.get("redis")),
        *(_process(title, records.get(name), hosts.get(name, settings.web_host)) for name, title in _PROCESSES.items()),
    ]


def _server(
    name: str, url: str | None, default_port: int, check: Callable[[str], None], record: ServiceRecord | None
) -> Service:
    if url is None:
        return Service(name, State.NOT_STARTED)
    host, port = _address(url, default_port)
    pid = None
    if record is not None and record.port == port:
        pid = record.pid
    try:
        check(url)
    except TickstockError as error:
        return Service(name, State.DOWN, pid, port, error.message)
    return Service(name, State.UP, pid, port, f"at {host}" if pid is None else "")


def _process(title: str, record: ServiceRecord | None, host: str) -> Service:
    if record is None:
        return Service(title, State.NOT_STARTED)
    if not _is_alive(record.pid):
        return Service(title, State.DOWN, record.pid, record.port, "its process has ended; see the logs")
    if record.port is None:
        return Service(title, State.UP, record.pid)
    if is_port_free(host, record.port):
        return Service(title, State.DOWN, record.pid, record.port, "it does not listen")
    return Service(title, State.UP, record.pid, record.port, http_url(host, record.port))


def _is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _address(url: str, default_port: int) -> tuple[str, int | None]:
    """Host and port of a URL, whatever else is wrong with it."""
    try:
        parts = urlsplit(url)
        if parts.scheme == "unix":
            return parts.path, None
        return parts.hostname or "localhost", parts.port or default_port
    except ValueError:
        return "the configured address", None
