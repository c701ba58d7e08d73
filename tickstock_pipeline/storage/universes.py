"""Universes by their keys, and membership through time.

A key is looked up in this order, and the first place that has it is asked:

1. a file of the universe folder: what a person put there is what is meant now;
2. the tables: the members of today, or those of a date;
3. a file that ships with this package;
4. where none has it and the key is that of a well known fund: the same again for the index that the fund follows.

Storing a newer version of a list ends the membership of those that left and begins that of those that joined. What was
before stays, and a symbol that left stays registered and active: its history goes on being imported.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from tickstock_pipeline.errors import UniverseError
from tickstock_pipeline.market.universe import (
    FUND_UNIVERSES,
    Member,
    Universe,
    folded,
    shown,
    split_union,
    union,
    universe_key,
)
from tickstock_pipeline.storage.symbols import add_symbols, describe_symbols, lock_symbols
from tickstock_pipeline.storage.tables import SECTOR_MAPPING
from tickstock_pipeline.storage.universe_files import (
    file_of_key,
    folder_files,
    is_universe_file,
    packaged_files,
    read_universe_file,
)
from tickstock_pipeline.storage.universe_tables import UNIVERSE_MEMBERS, UNIVERSES

_MAX_TEXT_LENGTH = 500


@dataclass(frozen=True, slots=True)
class UniverseChange:
    """What a newer version changed: symbols, in the order of the list; those that left in alphabetical order."""

    joined: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()


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
    of a symbol is touched. Storing the same again changes nothing. A second version of one date corrects the first.

    Raises
    ------
    UniverseError
        If it has no member, or a version of a later date is stored.
    """
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
    key = _begin_version(connection, universe, as_of)
    current = set(
        connection.scalars(
            sa.select(UNIVERSE_MEMBERS.c.symbol).where(
                UNIVERSE_MEMBERS.c.universe == key, UNIVERSE_MEMBERS.c.left_on.is_(None)
            )
        )
    )
    listed = set(universe.symbols)
    left = sorted(current - listed)
    _end_memberships(connection, key, left, as_of)
    _write_members(connection, key, universe.members, current, as_of)
    describe_symbols(connection, {member.symbol: member.name for member in universe.members if member.name})
    _describe_sectors(connection, universe.members)
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


def read_universe(connection: sa.Connection, key: str, on: date | None = None) -> Universe | None:
    """A stored universe with its members of now, or of a date; None if none of that key is stored.

    Raises
    ------
    UniverseError
        If its list begins after that date: who was a member then is not known.
    """
    found = connection.execute(
        sa.select(UNIVERSES.c.key, UNIVERSES.c.first_as_of).where(UNIVERSES.c.folded_key == folded(key))
    ).one_or_none()
    if found is None:
        return None
    if on is not None and on < found.first_as_of:
        raise UniverseError(
            f"Who was in universe {found.key} on {on} is not known: its first list is of {found.first_as_of}.",
            advice="Ask for a later date.",
        )
    members = UNIVERSE_MEMBERS
    is_member = (
        members.c.left_on.is_(None)
        if on is None
        else sa.and_(members.c.joined_on <= on, sa.or_(members.c.left_on.is_(None), members.c.left_on > on))
    )
    rows = connection.execute(
        sa.select(members.c.symbol, members.c.name, SECTOR_MAPPING.c.sector_name, SECTOR_MAPPING.c.industry)
        .outerjoin_from(members, SECTOR_MAPPING, members.c.symbol == SECTOR_MAPPING.c.symbol)
        .where(members.c.universe == found.key, is_member)
        .order_by(members.c.position, members.c.symbol)
    )
    described = {symbol: Member(symbol, *(text or "" for text in texts)) for symbol, *texts in rows}
    return Universe(found.key, tuple(described.values()))


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
    if connection is not None and (stored := read_universe(connection, key, on)):
        return stored
    if on is None and (name := file_of_key(packaged_files(), key)):
        return read_universe_file(folder, name)
    return None


def known_keys(connection: sa.Connection | None, folder: Path) -> list[str]:
    """Keys that can be looked up, in alphabetical order, without the funds that stand for them."""
    names = [*folder_files(folder), *packaged_files()]
    # of two spellings of one key the stored one, else the first
    keys = {folded(key): key for key in reversed([universe_key(name[: -len(".csv")]) for name in names])}
    if connection is not None:
        keys.update({folded(key): key for key in connection.scalars(sa.select(UNIVERSES.c.key))})
    return sorted(keys.values())


def funds_of(key: str) -> list[str]:
    """The well known funds that stand for a universe, in upper case, the best known first."""
    return [fund.upper() for fund, index in FUND_UNIVERSES.items() if folded(index) == folded(key)]


def _known(connection: sa.Connection | None, folder: Path) -> str:
    keys = known_keys(connection, folder)
    listed = ", ".join(f"{key} ({', '.join(funds)})" if (funds := funds_of(key)) else key for key in keys)
    return f"Known universes are: {listed}. Put a CSV file into the universe folder to add one."


def _begin_version(connection: sa.Connection, universe: Universe, as_of: date) -> str:
    """Note the newest version; the key is that of the spelling first stored."""
    stored = connection.execute(
        sa.select(UNIVERSES.c.key, UNIVERSES.c.as_of).where(UNIVERSES.c.folded_key == folded(universe.key))
    ).one_or_none()
    if stored is None:
        connection.execute(
            sa.insert(UNIVERSES).values(key=universe.key, source=universe.source, first_as_of=as_of, as_of=as_of)
        )
        return universe.key
    key: str = stored.key
    if stored.as_of > as_of:
        raise UniverseError(
            f"The list of universe {key} is stored as of {stored.as_of}; one of {as_of} comes too late.",
            advice="Store older lists first; a list of the same date corrects the one that is stored.",
        )
    connection.execute(
        sa.update(UNIVERSES)
        .where(UNIVERSES.c.key == key)
        .values(source=universe.source, as_of=as_of, updated_at=sa.func.now())
    )
    return key


def _end_memberships(connection: sa.Connection, key: str, symbols: Sequence[str], as_of: date) -> None:
    members = UNIVERSE_MEMBERS
    ending = sa.and_(
        members.c.universe == key,
        members.c.symbol == sa.any_(sa.literal(list(symbols), sa.ARRAY(sa.Text))),
        members.c.left_on.is_(None),
    )
    # what a list of the same day corrects has not been a member for a single day
    connection.execute(sa.delete(members).where(ending, members.c.joined_on >= as_of))
    connection.execute(sa.update(members).where(ending).values(left_on=as_of))


def _write_members(
    connection: sa.Connection, key: str, members: Sequence[Member], current: set[str], as_of: date
) -> None:
    table = UNIVERSE_MEMBERS
    listed = {
        member.symbol: {"symbol": member.symbol, "name": member.name or None, "position": position}
        for position, member in enumerate(members, start=1)
    }
    joining = sorted(set(listed) - current)
    # one that an earlier list of the same day left out has never left
    returned = set(
        connection.scalars(
            sa.update(table)
            .where(
                table.c.universe == key,
                table.c.symbol == sa.any_(sa.literal(joining, sa.ARRAY(sa.Text))),
                table.c.left_on == as_of,
            )
            .values(left_on=None)
            .returning(table.c.symbol)
        )
    )
    rows = sa.values(
        sa.column("symbol", sa.Text), sa.column("name", sa.Text), sa.column("position", sa.Integer), name="listed"
    ).data([tuple(listed[symbol].values()) for symbol in sorted(listed)])
    connection.execute(
        sa.update(table)
        .where(
            table.c.universe == key,
            table.c.symbol == rows.c.symbol,
            table.c.left_on.is_(None),
            sa.tuple_(table.c.position, table.c.name).is_distinct_from(sa.tuple_(rows.c.position, rows.c.name)),
        )
        .values(position=rows.c.position, name=rows.c.name)
    )
    new = [{"universe": key, "joined_on": as_of, **listed[symbol]} for symbol in joining if symbol not in returned]
    if new:
        connection.execute(sa.insert(table), new)


def _describe_sectors(connection: sa.Connection, members: Sequence[Member]) -> None:
    """What the list says of sectors and industries; relative strength and leadership are another program's."""
    rows = [
        {"symbol": member.symbol, "sector_name": member.sector or None, "industry": member.industry or None}
        for member in sorted(members, key=lambda member: member.symbol)
        if member.sector or member.industry
    ]
    if not rows:
        return
    statement = insert(SECTOR_MAPPING)
    new = {
        name: sa.func.coalesce(statement.excluded[name], SECTOR_MAPPING.c[name]) for name in ("sector_name", "industry")
    }
    statement = statement.on_conflict_do_update(
        index_elements=["symbol"],
        set_={**new, "last_updated": sa.func.now()},
        where=sa.or_(*(SECTOR_MAPPING.c[name].is_distinct_from(value) for name, value in new.items())),
    )
    connection.execute(statement, rows)
