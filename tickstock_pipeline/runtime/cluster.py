"""The files of the embedded PostgreSQL: created once, whole or not at all, owned by whoever runs the server.

1. ``initdb`` works in a draft folder; only a finished cluster is renamed to its place. Drafts left by a start that was
   killed are removed by the next one.
2. It runs without syncing; one sync of the finished cluster comes before the rename.
3. Where the server's user cannot enter the state directory, the cluster lives in a temporary folder of the system, and
   the state directory remembers which.
"""

import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tickstock_pipeline.errors import ServiceError
from tickstock_pipeline.runtime.binaries import PostgresBinaries
from tickstock_pipeline.runtime.disk import disk_full_in
from tickstock_pipeline.runtime.identity import Identity
from tickstock_pipeline.runtime.private_files import read_or_create_secret, write_private_file

SUPERUSER = "tickstock"

_logger = logging.getLogger(__name__)
_DRAFT_PREFIX = "initdb-"
_INITDB_TIMEOUT_S = 300.0
_BUILTIN_LOCALES_SINCE = 17
_SCRAM_ITERATIONS_SINCE = 16


@dataclass(frozen=True)
class Cluster:
    """A ready data directory and the password of its superuser."""

    data: Path
    password: str = field(repr=False)


def server_environment() -> dict[str, str]:
    """Our environment without secrets, libpq's variables, and locales that the system may not have."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "TICKSTOCK_"))}
    return {**kept, "LC_ALL": "C"}


def open_cluster(folder: Path, binaries: PostgresBinaries, identity: Identity) -> Cluster:
    """The cluster of state folder ``folder``; the first time it is created.

    The caller makes sure that no other process does the same, and that no server runs on it.

    Raises
    ------
    ServiceError
        If initdb fails, or the files are not those of one cluster.
    DiskFullError
        If initdb ran out of space.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = _data_folder(folder, identity)
    for draft in data.parent.glob(f"{_DRAFT_PREFIX}*"):
        shutil.rmtree(draft)
    secret_file = folder / "password"
    if not (data / "PG_VERSION").exists():
        password = read_or_create_secret(secret_file)
        _create(data, password, binaries, identity)
        return Cluster(data, password)
    if not secret_file.exists():
        raise ServiceError(
            f"The password of the database in {data} is gone: there is no {secret_file}.",
            advice=f"Restore that file from a backup, or delete {folder} to begin with an empty database.",
        )
    _give_to(data, identity)
    return Cluster(data, read_or_create_secret(secret_file))


def _create(data: Path, password: str, binaries: PostgresBinaries, identity: Identity) -> None:
    if data.exists() and any(data.iterdir()):
        raise ServiceError(
            f"{data} holds files, but not a PostgreSQL cluster.", advice="Move them away, or set TICKSTOCK_HOME."
        )
    draft = Path(tempfile.mkdtemp(prefix=_DRAFT_PREFIX, dir=data.parent))
    password_file = draft / "password"
    write_private_file(password_file, password)
    for path in (draft, password_file):
        os.chown(path, *identity.file_owner)
    environment = server_environment()
    major = _major_version(binaries, identity, environment)
    _run(
        [
            *(binaries.initdb, "-D", draft / "data", "-U", SUPERUSER, f"--pwfile={password_file}"),
            *("-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"),
            *(("--locale-provider=builtin", "--builtin-locale=C.UTF-8") if major >= _BUILTIN_LOCALES_SINCE else ()),
            # Stretching protects passwords that can be guessed; ours is random, and every connection pays 7 ms for it.
            *(("-c", "scram_iterations=1") if major >= _SCRAM_ITERATIONS_SINCE else ()),
        ],
        identity,
        environment,
        draft,
    )
    _run([binaries.initdb, "-D", draft / "data", "--sync-only"], identity, environment, draft)
    (draft / "data").rename(data)
    shutil.rmtree(draft)


def _major_version(binaries: PostgresBinaries, identity: Identity, environment: Mapping[str, str]) -> int:
    """From ``postgres (PostgreSQL) 18.6`` or ``... 18beta1``."""
    output = _run([binaries.postgres, "--version"], identity, environment, binaries.folder)
    number = output.split("(PostgreSQL)")[-1].split()[0]
    digits = "".join(character if character.isdigit() else " " for character in number).split()
    return int(digits[0])


def _run(command: list[str | Path], identity: Identity, environment: Mapping[str, str], folder: Path) -> str:
    try:
        outcome = subprocess.run(
            identity.launch_command(command),
            capture_output=True,
            text=True,
            errors="replace",
            env=dict(environment),
            cwd=folder,
            timeout=_INITDB_TIMEOUT_S,
            check=False,
            # Ctrl-C reaches us alone; we end initdb, and the next start removes its draft.
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        raise ServiceError(
            f"{Path(command[0]).name} did not end within {_INITDB_TIMEOUT_S:g} s.",
            advice=f"See whether the disk of {folder} is overloaded.",
        ) from None
    if outcome.returncode != 0:
        lines = (outcome.stdout + outcome.stderr).splitlines()
        disk_full = disk_full_in(lines, folder)
        if disk_full is not None:
            raise disk_full
        raise ServiceError(
            f"{Path(command[0]).name} failed:" + "".join(f"\n  {line}" for line in lines[-10:]),
            advice="Run `tickstock doctor`; or set TICKSTOCK_DATABASE_URL to a running server.",
        )
    return outcome.stdout


def _data_folder(folder: Path, identity: Identity) -> Path:
    """``folder/data`` if the server's user can get there, else a folder made for it elsewhere."""
    remembered = folder / "data-folder"
    if remembered.exists():
        elsewhere = Path(remembered.read_text(encoding="utf-8"))
        if elsewhere.is_dir():
            _claim(elsewhere, folder)
            return elsewhere / "data"
        _logger.warning("The database that was kept in %s is gone: the system cleaned it up.", elsewhere)
    if identity.can_enter(folder):
        return folder / "data"
    if (folder / "data").exists():
        raise ServiceError(
            f"User {identity.uid}, who has to run PostgreSQL here, cannot enter {folder}.",
            advice="Let every user enter the folders above it (chmod o+x), or move the state directory.",
        )
    elsewhere = Path(tempfile.mkdtemp(prefix="tickstock-postgres-"))
    os.chown(elsewhere, *identity.file_owner)
    _claim(elsewhere, folder)
    write_private_file(remembered, str(elsewhere))
    _logger.warning(
        "User %d, who has to run PostgreSQL here, cannot enter %s: the database is kept in %s, "
        "which the system may clean up. Let every user enter the folders above the state directory to avoid this.",
        identity.uid,
        folder,
        elsewhere,
    )
    return elsewhere / "data"


def _claim(elsewhere: Path, folder: Path) -> None:
    """Note whose database ``elsewhere`` holds: a copied state directory must not use its original's."""
    note = elsewhere / "state-folder"
    owner = Path(note.read_text(encoding="utf-8")) if note.exists() else folder
    if owner != folder and owner.exists():
        raise ServiceError(
            f"{folder} is a copy of {owner}, and the database in {elsewhere} belongs to the original.",
            advice=f"Delete {folder} to begin with an empty database, or delete the original.",
        )
    write_private_file(note, str(folder))


def _give_to(data: Path, identity: Identity) -> None:
    """Change the owner of every file, where an earlier start ran the server as another user."""
    owner = identity.file_owner
    if data.stat().st_uid == owner[0] or os.geteuid() != 0:
        return
    for parent, _, files in os.walk(data):
        for path in (parent, *(os.path.join(parent, name) for name in files)):
            os.chown(path, *owner, follow_symlinks=False)
