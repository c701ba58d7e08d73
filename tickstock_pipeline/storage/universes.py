"""Universes by their keys, and membership through time.

A key is looked up in this order, and the first place that has it is asked:

1. a file of the universe folder: what a person put there is what is meant now;
2. the tables: the members of today, or those of a date;
3. a file that ships with this package;
4. where none has it and the key is that of a well known fund: the same again for the index that the fund follows.

Storing a newer version of a list ends the membership of those that left and begins that of those that joined. What was
before stays, and a symbol that left stays registered and active: its history goes on being imported.
"""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import sqlalchemy as sa

from tickstock_pipeline.errors import UniverseError
from tickstock_pipeline.market.universe import (
    FUND_UNIVERSES,
    Universe,
    folded,
    shown,
    split_union,
    union,
    universe_key,
)
from tickstock_pipeline.storage.memberships import (
    begin_version,
    current_members,
    end_memberships,
    read_members,
    read_versions,
    write_members,
)
from tickstock_pipeline.storage.symbols import add_symbols, describe_sectors, describe_symbols, lock_symbols
from tickstock_pipeline.storage.universe_files import (
    file_of_key,
    folder_files,
    is_universe_file,
    key_of_file,
    packaged_files,
    read_universe_file,
)

_MAX_TEXT_LENGTH = 500
_MAX_SHOWN_KEYS = 50


@dataclass(frozen=True, slots=True)
class UniverseChange:
    """What a newer version changed: symbols, in the order of the list; those that left in alphabetical order."""

    joined: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KnownUniverse:
    """A universe that can be looked up.

    Attributes
    ----------
    key : of it
    source : which place has it first: ``folder``, ``database`` or ``package``
    file : name of the file; empty where the source is the database
    n_symbols : members; None if its file cannot be used
    n_problems : lines of the file that are not used
    stored_as_of : date of the newest version in the tables; None: not stored
    funds : the well known funds that stand for it
    fault : why its file cannot be used
    """

    key: str
    source: str
    file: str
    n_symbols: int | None
    n_problems: int
    stored_as_of: date | None
    funds: tuple[str, ...]
    fault: str = ""


def resolve_universe(
    connection: sa.Connection | None, folder: Path, key_or_file: str, *, on: date | None = None
) -> Universe:
    """The universe that a key, a union of keys, or the name of a file stands for.

    Parameters
    ----------
    connection : None where there is no database: files only
    folder : of universe files; it need not exist
    key_or_file : ``sp_500``, ``SP500``, ``SPY``, ``SPY:dow_30``, ``dow_30.csv``; not trusted
    on : the members of that date, of which only the tables know; None: those of now

    Raises
    ------
    UniverseError
        If there is no such universe (the advice lists those that there are), its file cannot be used, or its members
        on that date are not known.
    """
    if len(key_or_file) > _MAX_TEXT_LENGTH:
        raise UniverseError(f"{shown(key_or_file)} is too long for a universe.", advice=_known(connection, folder))
    return union([_resolve_one(connection, folder, part, on) for part in split_union(key_or_file)])


def store_universe(connection: sa.Connection, universe: Universe, as_of: date) -> UniverseChange:
    """Make ``universe`` the newest version of its list; of a union, each part.

    Names of registered symbols, sectors and industries follow the list where it has them; nothing else that is known
    of a symbol is touched. A second version of one date corrects the first. Storing the same again changes no
    membership, and one that comes from the tables is not stored at all.

    Raises
    ------
    UniverseError
        If it has no member, or a version of a later date is stored.
    """
    if universe.is_stored:
        return UniverseChange(unchanged=universe.symbols)
    # the first lock of all, so that two that store cannot wait for each other
    lock_symbols(connection)
    if universe.parts:
        changes = [store_universe(connection, part, as_of) for part in universe.parts]
        return UniverseChange(
            *(
                tuple(dict.fromkeys(symbol for change in changes for symbol in getattr(change, field)))
                for field in ("joined", "left", "unchanged")
            )
        )
    if not universe.members:
        raise UniverseError(f"Universe {universe.key} would have no member.", advice="Store a list with a symbol.")
    key = begin_version(connection, universe, as_of)
    current = current_members(connection, key)
    listed = set(universe.symbols)
    left = sorted(current - listed)
    end_memberships(connection, key, left, as_of)
    write_members(connection, key, universe.members, current, as_of)
    describe_symbols(connection, {member.symbol: member.name for member in universe.members if member.name})
    describe_sectors(connection, universe.members)
    return UniverseChange(
        joined=tuple(symbol for symbol in universe.symbols if symbol not in current),
        left=tuple(left),
        unchanged=tuple(symbol for symbol in universe.symbols if symbol in current),
    )


def seed_universe(connection: sa.Connection, universe: Universe, as_of: date) -> tuple[UniverseChange, list[str]]:
    """Store a universe and register its members, without a bar.

    Returns
    -------
    What changed in the list, and the symbols that were not registered before, in the order of the list.

    Raises
    ------
    UniverseError
        As :func:`store_universe`.
    """
    change = store_universe(connection, universe, as_of)
    return change, add_symbols(connection, universe.symbols)


def list_universes(connection: sa.Connection | None, folder: Path) -> list[KnownUniverse]:
    """Every universe that can be looked up, in alphabetical order.

    Parameters
    ----------
    connection : None where there is no database
    folder : of universe files; it need not exist

    Raises
    ------
    UniverseError
        If the folder cannot be read.
    """
    in_folder = {folded(key_of_file(name)): name for name in reversed(folder_files(folder))}
    packaged = {folded(key_of_file(name)): name for name in packaged_files()}
    versions = {} if connection is None else {folded(key): (key, as_of) for key, as_of in read_versions(connection)}
    found = []
    for fold in in_folder | packaged | versions:
        key, as_of = versions.get(fold, (None, None))
        file = in_folder.get(fold) or ("" if key else packaged[fold])
        key = key or key_of_file(file)
        source = "folder" if fold in in_folder else "package" if file else "database"
        funds = tuple(fund.upper() for fund, index in FUND_UNIVERSES.items() if folded(index) == fold)
        try:
            universe = resolve_universe(connection, folder, key)
            n_symbols, n_problems, fault = len(universe.members), len(universe.problems), ""
        except UniverseError as error:
            n_symbols, n_problems, fault = None, 0, error.message
        found.append(KnownUniverse(key, source, file, n_symbols, n_problems, as_of, funds, fault))
    return sorted(found, key=lambda universe: universe.key)


def _resolve_one(connection: sa.Connection | None, folder: Path, text: str, on: date | None) -> Universe:
    if is_universe_file(text):
        if on is None:
            return read_universe_file(folder, text)
        text = text[: -len(".csv")]
    key = universe_key(text)
    for candidate in (key, FUND_UNIVERSES.get(folded(key))):
        found = None if candidate is None else _find(connection, folder, candidate, on)
        if found is not None:
            return found
    raise UniverseError(f"There is no universe {shown(text)}.", advice=_known(connection, folder))


def _find(connection: sa.Connection | None, folder: Path, key: str, on: date | None) -> Universe | None:
    if on is None and (name := file_of_key(folder_files(folder), key)):
        return read_universe_file(folder, name)
    if connection is not None and (stored := read_members(connection, key, on)):
        return stored
    if on is None and (name := file_of_key(packaged_files(), key)):
        return read_universe_file(folder, name)
    return None


def _known(connection: sa.Connection | None, folder: Path) -> str:
    keys = {folded(key_of_file(name)): key_of_file(name) for name in [*packaged_files(), *folder_files(folder)]}
    if connection is not None:
        keys |= {folded(key): key for key, _ in read_versions(connection)}
    funds = {
        fund.upper(): index for fund, index in FUND_UNIVERSES.items() if folded(index) in keys and fund not in keys
    }
    listed = [*sorted(keys.values()), *(f"{fund} (for {index})" for fund, index in funds.items())]
    more = f" and {len(listed) - _MAX_SHOWN_KEYS} others" if len(listed) > _MAX_SHOWN_KEYS else ""
    return (
        f"Known universes are: {', '.join(listed[:_MAX_SHOWN_KEYS])}{more}. "
        "Put a CSV file into the universe folder to add one."
    )
