"""The embedded PostgreSQL server: started on this machine's loopback address only, never twice on the same files."""

import logging
import signal
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import quote

import psycopg2

from tickstock_pipeline.errors import DatabaseLoginError, DatabaseUnreachableError, ServiceError
from tickstock_pipeline.runtime.binaries import find_postgres
from tickstock_pipeline.runtime.cluster import SUPERUSER, Cluster, open_cluster, server_environment
from tickstock_pipeline.runtime.connections import check_database
from tickstock_pipeline.runtime.disk import require_free_space
from tickstock_pipeline.runtime.identity import Identity, IdentityMethod, server_identity
from tickstock_pipeline.runtime.ports import LOOPBACK, remember_port, remembered_port
from tickstock_pipeline.runtime.process import ServiceProcess
from tickstock_pipeline.runtime.process_tree import end_processes, servers_in

DATABASE = "tickstock"

# For a laptop of two cores that also runs Dagster. JIT costs more than it gains on our short statements; a WAL of 2 GB
# lets a bulk import run without a checkpoint every few seconds.
_SERVER_SETTINGS: Mapping[str, str] = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "wal_compression": "on",
    "checkpoint_timeout": "15min",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
}
_logger = logging.getLogger(__name__)
_START_ATTEMPTS = 3
# Recovery after a power cut replays up to max_wal_size.
_READY_TIMEOUT_S = 180.0
_STOP_TIMEOUT_S = 60.0


class EmbeddedPostgres:
    """A PostgreSQL server whose files are under ``<home>/postgres``.

    Parameters
    ----------
    home : state directory; the caller holds its instance lock
    postgres_bin : folder with the programs; by default found by :func:`find_postgres`
    server_settings : added to, or instead of, ours (``{"fsync": "off"}`` in tests)
    identity_method : how to avoid running as root; by default whatever works
    """

    def __init__(
        self,
        home: Path,
        *,
        postgres_bin: Path | None = None,
        server_settings: Mapping[str, str] | None = None,
        identity_method: IdentityMethod | None = None,
    ) -> None:
        self._home = home.absolute()
        self._folder = self._home / "postgres"
        self._postgres_bin = postgres_bin
        self._server_settings = {**_SERVER_SETTINGS, **(server_settings or {})}
        self._identity_method = identity_method
        self._process: ServiceProcess | None = None
        self._port = 0

    @property
    def process(self) -> ServiceProcess:
        """The server's process, for a supervisor."""
        if self._process is None:
            raise ServiceError("PostgreSQL was not started.")
        return self._process

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        return self._port

    def start(self) -> str:
        """Start the server, creating the cluster and the database the first time.

        Returns
        -------
        ``postgresql://user:password@127.0.0.1:port/tickstock``; a secret.

        Raises
        ------
        BinaryNotFoundError, DiskFullError, ServiceError
            See :func:`find_postgres`, :func:`require_free_space`, :func:`open_cluster`; or the server ended at its
            start, with the last lines of its log.
        """
        binaries = find_postgres(self._postgres_bin)
        self._folder.mkdir(parents=True, exist_ok=True)
        require_free_space(self._folder)
        identity = server_identity(binaries.postgres, self._identity_method)
        cluster = open_cluster(self._folder, binaries, identity)
        end_servers_of_earlier_runs(cluster.data)
        self._start_server(binaries.postgres, cluster, identity)
        try:
            _create_database(self._url(cluster, "postgres"))
        except psycopg2.Error as error:
            self.stop()
            raise ServiceError(
                f"PostgreSQL does not create the database: {error}".strip(),
                advice=f"Its whole log is {self._home / 'logs' / 'postgres.log'}.",
            ) from None
        except BaseException:
            self.stop()
            raise
        return self._url(cluster, DATABASE)

    def stop(self) -> None:
        """Fast shutdown: open transactions are rolled back, everything committed is on disk."""
        if self._process is not None:
            self._process.stop()

    def _start_server(self, program: Path, cluster: Cluster, identity: Identity) -> None:
        port_file = self._folder / "port"
        for attempt in range(1, _START_ATTEMPTS + 1):
            self._port = remembered_port(port_file)
            settings = {**self._server_settings, "port": str(self._port)}
            self._process = ServiceProcess(
                "postgres",
                [program, "-D", cluster.data, *(f"--{name}={value}" for name, value in settings.items())],
                log_file=self._home / "logs" / "postgres.log",
                environment=server_environment(),
                working_folder=cluster.data,
                identity=identity,
                stop_signal=signal.SIGINT,
                stop_timeout=_STOP_TIMEOUT_S,
            )
            self._process.start()
            url = self._url(cluster, "postgres")
            try:
                self._process.wait_until_ready(partial(_is_accepting, url), timeout=_READY_TIMEOUT_S)
            except DatabaseLoginError as error:
                self._process.stop()
                raise ServiceError(
                    f"The database in {cluster.data} does not take the password in {self._folder / 'password'}.",
                    advice=f"Restore that file from a backup; or delete {self._folder} to begin empty.",
                ) from error
            except BaseException:
                # Another program may have taken the port between our look and the server's bind.
                lost_port = any("could not bind" in line for line in self._process.log_tail(50))
                self._process.stop()
                if lost_port and attempt < _START_ATTEMPTS:
                    continue
                raise
            remember_port(port_file, self._port)
            return

    def _url(self, cluster: Cluster, database: str) -> str:
        return f"postgresql://{SUPERUSER}:{quote(cluster.password)}@{LOOPBACK}:{self._port}/{database}"


def end_servers_of_earlier_runs(data: Path) -> None:
    """Stop a server that outlived its supervisor, and remove a process number that is not a server's of these files.

    PostgreSQL itself refuses to start while *any* process has the number in ``postmaster.pid``.
    """
    pid_file = data / "postmaster.pid"
    orphans = servers_in(data, {"postgres"})
    postmaster = [process for process in orphans if process.pid == _number_in(pid_file)]
    if orphans:
        _logger.warning("Stopping a PostgreSQL server that an earlier run left behind in %s.", data)
    end_processes(postmaster, first=signal.SIGINT, timeout=_STOP_TIMEOUT_S)
    # Without their postmaster, they hold the shared memory that the next server needs to itself.
    end_processes(servers_in(data, {"postgres"}))
    pid_file.unlink(missing_ok=True)


def _number_in(pid_file: Path) -> int | None:
    with suppress(FileNotFoundError, ValueError, IndexError):
        return int(pid_file.read_text(encoding="utf-8", errors="replace").splitlines()[0])
    return None


def _is_accepting(url: str) -> bool:
    try:
        check_database(url)
    except DatabaseUnreachableError:
        return False
    return True


def _create_database(url: str) -> None:
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT FROM pg_database WHERE datname = %s", (DATABASE,))
            if cursor.fetchone() is None:
                cursor.execute(f'CREATE DATABASE "{DATABASE}"')
    finally:
        connection.close()
