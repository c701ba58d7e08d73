"""The folder of universe files, and the files that ship with this package.

It is in this layer, next to the tables of universes, because a key is looked up in both. A name that comes from
outside, such as a job's ``csv_file``, never reaches the file system before :func:`read_universe_file` has found it to
be a bare name; what it names must then be a regular file inside the folder.
"""

import os
import re
import stat
from importlib.resources import files
from pathlib import Path

from tickstock_pipeline.errors import UniverseError
from tickstock_pipeline.market.universe import Universe, folded, shown, universe_key
from tickstock_pipeline.market.universe_csv import MAX_BYTES, parse_universe

_ENDING = ".csv"
_BARE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.&+ -]{0,63}\.csv", re.IGNORECASE | re.ASCII)
_MAX_SHOWN_FILES = 30
_PACKAGED = files("tickstock_pipeline.storage") / "universe_seeds"


def read_universe_file(folder: Path, csv_file: str) -> Universe:
    """The universe that a file of the folder lists, or, where the folder has none of that name, a packaged one.

    Parameters
    ----------
    folder : of universe files; it need not exist
    csv_file : the bare name of a file; not trusted

    Returns
    -------
    The universe under the key that the file's name gives, with the lines that are not used; it has a member.

    Raises
    ------
    UniverseError
        If it is not a bare name, there is no such file, it is a link that leads out of the folder, no regular file,
        or cannot be read as a list of symbols. The advice lists the files that there are.
    """
    data = _bytes_of_name(folder, csv_file)
    return _with_members(parse_universe(data, key=key_of_file(csv_file), file=csv_file))


def read_universe_path(path: Path, key: str | None = None) -> Universe:
    """The universe that a file anywhere lists, for the person at the terminal; never for a name from outside.

    Parameters
    ----------
    path : of a CSV file
    key : of the universe; None: by the file's name

    Returns
    -------
    The universe; without a single member if every line is a problem.

    Raises
    ------
    UniverseError
        If the file cannot be read as a list of symbols.
    """
    try:
        data = _regular_bytes(Path(os.path.realpath(path, strict=True)))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UniverseError(
            f"{shown(str(path))} cannot be read: {reason}.", advice="Give the path of a CSV file."
        ) from error
    return parse_universe(data, key=universe_key(path.stem if key is None else key), file=path.name)


def read_any_file(folder: Path, path_or_name: str, key: str | None = None) -> Universe:
    """The same, where a bare name that is no file of the current directory is looked for in the folder.

    Raises
    ------
    UniverseError
        If the file cannot be read as a list of symbols.
    """
    path = Path(path_or_name)
    if path.name != path_or_name or path.exists():
        return read_universe_path(path, key)
    data = _bytes_of_name(folder, path_or_name)
    return parse_universe(data, key=universe_key(path.stem if key is None else key), file=path_or_name)


def is_universe_file(text: str) -> bool:
    """Whether a text names a file, not a key."""
    return text.lower().endswith(_ENDING)


def key_of_file(name: str) -> str:
    """The key of the universe that a file of this name lists.

    Raises
    ------
    UniverseError
        If the name gives none.
    """
    return universe_key(name[: -len(_ENDING)])


def folder_files(folder: Path) -> list[str]:
    """Names of the folder's universe files, sorted; none if there is no such folder.

    Raises
    ------
    UniverseError
        If the folder cannot be read.
    """
    try:
        return sorted(
            path.name
            for path in folder.iterdir()
            if _BARE_NAME.fullmatch(path.name) and path.is_file() and _is_inside(folder, path)
        )
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UniverseError(
            f"The universe folder cannot be read: {error.strerror or error}.",
            advice="Set TICKSTOCK_UNIVERSE_DIR to a folder that this user can read.",
        ) from error


def packaged_files() -> list[str]:
    """Names of the universe files that ship with this package, sorted."""
    return sorted(entry.name for entry in _PACKAGED.iterdir() if is_universe_file(entry.name))


def file_of_key(names: list[str], key: str) -> str | None:
    """The file that a key stands for: of that very name, else of one that differs in case and separators only.

    Raises
    ------
    UniverseError
        If several differ so.
    """
    if f"{key}{_ENDING}" in names:
        return f"{key}{_ENDING}"
    found = [name for name in names if folded(name[: -len(_ENDING)]) == folded(key)]
    if len(found) > 1:
        raise UniverseError(
            f"The key {key} fits several universe files: {', '.join(found)}.", advice="Keep one, or name the file."
        )
    return found[0] if found else None


def _bytes_of_name(folder: Path, name: str) -> bytes:
    if not _BARE_NAME.fullmatch(name):
        raise UniverseError(
            f"{shown(name)} is not the name of a universe file: a bare name that ends in {_ENDING} is.",
            advice=_there_are(folder),
        )
    data = _folder_bytes(folder, name)
    if data is None and name in packaged_files():
        data = (_PACKAGED / name).read_bytes()
    if data is None:
        raise UniverseError(f"There is no universe file {shown(name)}.", advice=_there_are(folder))
    return data


def _folder_bytes(folder: Path, name: str) -> bytes | None:
    path = folder / name
    try:
        target = Path(os.path.realpath(path, strict=True))
        if not _is_inside(folder, target):
            raise UniverseError(
                f"The universe file {shown(name)} is a link that leads out of the universe folder.",
                advice="Put the file itself into the folder.",
            )
        return _regular_bytes(target)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UniverseError(
            f"The universe file {shown(name)} cannot be read: {error.strerror or error}.", advice=_there_are(folder)
        ) from error


def _is_inside(folder: Path, path: Path) -> bool:
    # links within the folder are fine: a mounted Kubernetes ConfigMap consists of them
    return Path(os.path.realpath(path, strict=True)).is_relative_to(os.path.realpath(folder, strict=True))


def _regular_bytes(path: Path) -> bytes:
    """The file's content, of one that is too large only as much as shows it; ``path`` is no link.

    A link that has taken the file's place meanwhile is not followed, and a pipe that nobody writes to does not hold up
    the opening for ever.
    """
    more_flags = os.O_NOFOLLOW | os.O_NONBLOCK
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | more_flags)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise UniverseError(f"{shown(path.name)} is no regular file.", advice="Give a CSV file.")
        return file.read(MAX_BYTES + 1)


def _with_members(universe: Universe) -> Universe:
    if not universe.members:
        raise UniverseError(
            f"{universe.source} has no line that can be used; {universe.problems[0]}.",
            advice="`tickstock universe check` lists every line with its reason.",
        )
    return universe


def _there_are(folder: Path) -> str:
    there = list(dict.fromkeys([*folder_files(folder), *packaged_files()]))
    more = f" and {len(there) - _MAX_SHOWN_FILES} others" if len(there) > _MAX_SHOWN_FILES else ""
    return (
        f"The universe files are: {', '.join(there[:_MAX_SHOWN_FILES])}{more}. "
        "Others go into the universe folder (TICKSTOCK_UNIVERSE_DIR)."
    )
