"""TCP ports of this machine: is one free, who holds it, which one did we use last time."""

import socket
from pathlib import Path

import psutil

from tickstock_pipeline.errors import PortInUseError
from tickstock_pipeline.runtime.private_files import write_private_file

LOOPBACK = "127.0.0.1"


def is_port_free(host: str, port: int) -> bool:
    """Whether a server could listen on ``port`` now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do: otherwise the closed connections of the last run make the port look taken for a minute.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            # Two sockets may be bound to one port with SO_REUSEADDR, but only one of them may listen.
            probe.listen(1)
        except OSError:
            return False
    return True


def is_listening(host: str, port: int) -> bool:
    """Whether a server takes connections on ``port`` now."""
    try:
        socket.create_connection((host, port), timeout=1.0).close()
    except OSError:
        return False
    return True


def http_url(host: str, port: int) -> str:
    """Where a browser finds a server; an IPv6 address is put in brackets."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def any_free_port(host: str = LOOPBACK) -> int:
    """A port that nothing listens on at this moment."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
    return port


def last_port(file: Path) -> int | None:
    """The port in ``file``, None if there is none."""
    try:
        port = int(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return port if 0 < port < 65536 else None


def remembered_port(file: Path) -> int:
    """The port in ``file`` if it is still free, else any free one.

    Clients that were configured by hand keep working from one start to the next.
    """
    port = last_port(file)
    return port if port is not None and is_port_free(LOOPBACK, port) else any_free_port()


def remember_port(file: Path, port: int) -> None:
    """Keep ``port`` for the next :func:`remembered_port`."""
    write_private_file(file, str(port))


def require_free_port(host: str, port: int, purpose: str, variable: str) -> None:
    """Check a port that the user chose, before a server fails on it with a stack trace.

    Parameters
    ----------
    purpose : who wants to listen, as in "Dagster's web UI"
    variable : the environment variable that sets the port

    Raises
    ------
    PortInUseError
        Names the port, the program that holds it where the system tells, and ``variable``.
    """
    if not is_port_free(host, port):
        raise PortInUseError(
            f"Port {port} on {host}, wanted for {purpose}, is in use{_holder(port)}.",
            advice=f"End that program, or set {variable} to another port.",
        )


def _holder(port: int) -> str:
    """`` by NAME (pid N)``, or nothing where the system does not tell (another user's process, macOS)."""
    try:
        pids = {
            connection.pid
            for connection in psutil.net_connections(kind="tcp")
            if connection.status == psutil.CONN_LISTEN
            and getattr(connection.laddr, "port", None) == port
            and connection.pid
        }
        return "".join(f" by {psutil.Process(pid).name()} (pid {pid})" for pid in sorted(pids)[:1])
    except psutil.Error:
        return ""
