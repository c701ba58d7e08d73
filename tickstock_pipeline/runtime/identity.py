"""As whom a server runs. PostgreSQL refuses root, so for root another identity is found; others stay who they are.

For root, in order of preference:

``namespace``
    A user namespace in which root has another number. Files stay root's, every folder that root may enter stays
    enterable, and nothing changes when the same state directory is later used by root outside of it.
``switch``
    Where the kernel or a container's profile denies namespaces: become ``postgres`` or ``nobody``. The data then belong
    to that user, who must be able to enter the folder they are in and to read the server's files.
"""

import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tickstock_pipeline.errors import ServiceError
from tickstock_pipeline.runtime import launcher

_PROBE_TIMEOUT_S = 30.0


class IdentityMethod(StrEnum):
    """How a child process becomes another user; the value is the launcher's argument."""

    SAME = "same"
    NAMESPACE = "namespace"
    SWITCH = "switch"


@dataclass(frozen=True)
class Identity:
    """A user, and how to become it.

    ``uid`` and ``gid`` are what the program sees; :attr:`file_owner` is what the file system sees.
    """

    method: IdentityMethod = IdentityMethod.SAME
    uid: int = 0
    gid: int = 0

    @property
    def file_owner(self) -> tuple[int, int]:
        """(uid, gid) that own the files such a process creates."""
        return (self.uid, self.gid) if self.method is IdentityMethod.SWITCH else (os.geteuid(), os.getegid())

    def launch_command(self, command: Sequence[str | Path], *, death_signal: int = signal.SIGKILL) -> list[str]:
        """``command`` run as this identity, ended by ``death_signal`` when the calling thread ends."""
        return [
            *(sys.executable, "-I", "-S", launcher.__file__),
            *(str(os.getpid()), str(int(death_signal)), self.method, str(self.uid), str(self.gid)),
            *map(str, command),
        ]

    def can_enter(self, folder: Path) -> bool:
        """Whether such a process may open files in ``folder``, asked of the system by a process that tries."""
        if self.method is IdentityMethod.SAME:
            return os.access(folder, os.X_OK)
        probe = self.launch_command(["/usr/bin/env", "test", "-x", folder])
        return subprocess.run(probe, capture_output=True, timeout=_PROBE_TIMEOUT_S, check=False).returncode == 0


SAME_USER = Identity()


def server_identity(program: Path, method: IdentityMethod | None = None) -> Identity:
    """The identity under which ``program`` can run although we may be root.

    Parameters
    ----------
    program : answers ``--version``; it is run to see that the identity can read it and its libraries
    method : only this one (to test it); by default ``same`` for an ordinary user, else the first that works

    Raises
    ------
    ServiceError
        If no identity works; says what was tried and why it failed.
    """
    if method is IdentityMethod.SAME or (method is None and os.geteuid() != 0):
        return SAME_USER
    failures = []
    for identity in _candidates(method):
        probe = identity.launch_command([program, "--version"])
        outcome = subprocess.run(probe, capture_output=True, text=True, timeout=_PROBE_TIMEOUT_S, check=False)
        if outcome.returncode == 0:
            return identity
        failures.append(f"{identity.method} (user {identity.uid}): {outcome.stderr.strip() or 'failed'}")
    raise ServiceError(
        f"{program.name} refuses to run as root, and no other user can run {program}:\n" + "\n".join(failures),
        advice="Run as an ordinary user, install into a folder that every user may read, or set "
        "TICKSTOCK_DATABASE_URL to a running server.",
    )


def _candidates(method: IdentityMethod | None) -> Iterator[Identity]:
    accounts = list(_accounts())
    if method in (None, IdentityMethod.NAMESPACE):
        for account in accounts[:1]:
            yield Identity(IdentityMethod.NAMESPACE, account.pw_uid, account.pw_gid)
    if method in (None, IdentityMethod.SWITCH):
        for account in accounts:
            yield Identity(IdentityMethod.SWITCH, account.pw_uid, account.pw_gid)


def _accounts() -> Iterator[pwd.struct_passwd]:
    """Unprivileged users of this system; initdb looks its user up, so a made-up number will not do."""
    for name in ("postgres", "nobody"):
        try:
            yield pwd.getpwnam(name)
        except KeyError:
            continue
