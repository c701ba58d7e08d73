"""The embedded Redis protocol server (Valkey or Redis): loopback only, with a password, keeping its data."""

import logging
from functools import partial
from pathlib import Path
from urllib.parse import quote

from tickstock_pipeline.errors import RedisUnreachableError, ServiceError
from tickstock_pipeline.runtime.binaries import find_redis
from tickstock_pipeline.runtime.connections import check_redis
from tickstock_pipeline.runtime.disk import require_free_space
from tickstock_pipeline.runtime.ports import LOOPBACK, remember_port, remembered_port
from tickstock_pipeline.runtime.private_files import read_or_create_secret, write_private_file
from tickstock_pipeline.runtime.process import ServiceProcess
from tickstock_pipeline.runtime.process_tree import end_processes, servers_in

_logger = logging.getLogger(__name__)
_PROGRAM_NAMES = frozenset({"valkey-server", "redis-server"})
_START_ATTEMPTS = 3
_READY_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 30.0


class EmbeddedRedis:
    """A Redis protocol server whose files are under ``<home>/redis``.

    Parameters
    ----------
    home : state directory; the caller holds its instance lock
    redis_server : the program; by default found by :func:`find_redis`
    """

    def __init__(self, home: Path, *, redis_server: Path | None = None) -> None:
        self._home = home.absolute()
        self._folder = self._home / "redis"
        self._redis_server = redis_server
        self._process: ServiceProcess | None = None
        self._port = 0

    @property
    def process(self) -> ServiceProcess:
        """The server's process, for a supervisor."""
        if self._process is None:
            raise ServiceError("Redis was not started.")
        return self._process

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        return self._port

    def start(self) -> str:
        """Start the server.

        Returns
        -------
        ``redis://:password@127.0.0.1:port/0``; a secret.

        Raises
        ------
        BinaryNotFoundError, DiskFullError, ServiceError
            See :func:`find_redis` and :func:`require_free_space`; or the server ended at its start, with the last
            lines of its log.
        """
        program = find_redis(self._redis_server)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        require_free_space(self._folder)
        orphans = servers_in(self._folder, _PROGRAM_NAMES)
        if orphans:
            _logger.warning("Stopping a Redis server that an earlier run left behind in %s.", self._folder)
        end_processes(orphans, timeout=_STOP_TIMEOUT_S)
        return self._start_server(program, read_or_create_secret(self._folder / "password"))

    def stop(self) -> None:
        """Orderly shutdown: the append-only file is synced."""
        if self._process is not None:
            self._process.stop()

    def _start_server(self, program: Path, password: str) -> str:
        port_file = self._folder / "port"
        for attempt in range(1, _START_ATTEMPTS + 1):
            self._port = remembered_port(port_file)
            # A file, since arguments can be read by everybody.
            configuration = self._folder / "redis.conf"
            write_private_file(configuration, _configuration(self._port, password))
            self._process = ServiceProcess(
                "redis",
                [program, configuration],
                log_file=self._home / "logs" / "redis.log",
                working_folder=self._folder,
                stop_timeout=_STOP_TIMEOUT_S,
            )
            self._process.start()
            url = f"redis://:{quote(password)}@{LOOPBACK}:{self._port}/0"
            try:
                self._process.wait_until_ready(partial(_is_answering, url), timeout=_READY_TIMEOUT_S)
            except BaseException:
                # Another program may have taken the port between our look and the server's bind.
                lost_port = any("bind" in line and "in use" in line for line in self._process.log_tail(50))
                self._process.stop()
                if lost_port and attempt < _START_ATTEMPTS:
                    continue
                raise
            remember_port(port_file, self._port)
            return url
        raise AssertionError("unreachable: the last attempt returns or raises")


def _configuration(port: int, password: str) -> str:
    """Jobs and undelivered events live in Redis: nothing is evicted, and at most a second is lost in a power cut."""
    return "\n".join(
        [
            f"bind {LOOPBACK}",
            f"port {port}",
            f"requirepass {password}",
            "daemonize no",
            # Relative to the working folder, so that no path needs quoting.
            "dir ./",
            "appendonly yes",
            "appendfsync everysec",
            'save ""',
            "maxmemory-policy noeviction",
            "",
        ]
    )


def _is_answering(url: str) -> bool:
    try:
        check_redis(url)
    except RedisUnreachableError:
        return False
    return True
