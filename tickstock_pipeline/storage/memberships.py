"""Membership of universes through time, in the tables ``universes`` and ``universe_members``.

The steps of reading and of storing a version of a list; ``storage.universes`` puts them together.
"""

from collections.abc import Sequence
from datetime import date

import sqlalchemy as sa

from tickstock_pipeline.errors import UniverseError
from tickstock_pipeline.market.universe import Member, Universe, folded
from tickstock_pipeline.storage.tables import SECTOR_MAPPING
from tickstock_pipeline.storage.universe_tables import UNIVERSE_MEMBERS, UNIVERSES


def read_members(connection: sa.Connection, key: str, on: date | None = None) -> Universe | None:
    """A stored universe with its members of now, or of a date; None if none of that key is stored, or it has none.

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
    return Universe(found.key, tuple(described.values()), is_stored=True) if described else None


def read_versions(connection: sa.Connection) -> list[tuple[str, date]]:
    """The stored universes' keys in alphabetical order, each with the date of its newest version."""
    query = sa.select(UNIVERSES.c.key, UNIVERSES.c.as_of).order_by(UNIVERSES.c.key)
    return [(row.key, row.as_of) for row in connection.execute(query)]


def current_members(connection: sa.Connection, key: str) -> set[str]:
    """The symbols whose membership has not ended; ``key`` as it is stored."""
    return set(
        connection.scalars(
            sa.select(UNIVERSE_MEMBERS.c.symbol).where(
                UNIVERSE_MEMBERS.c.universe == key, UNIVERSE_MEMBERS.c.left_on.is_(None)
            )
        )
    )


def begin_version(connection: sa.Connection, universe: Universe, as_of: date) -> str:
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


def end_memberships(connection: sa.Connection, key: str, symbols: Sequence[str], as_of: date) -> None:
    """End the memberships of ``symbols`` on ``as_of``, their first day outside; ``key`` as it is stored."""
    members = UNIVERSE_MEMBERS
    ending = sa.and_(
        members.c.universe == key,
        members.c.symbol == sa.any_(sa.literal(list(symbols), sa.ARRAY(sa.Text))),
        members.c.left_on.is_(None),
    )
    # what a list of the same day corrects has not been a member for a single day
    connection.execute(sa.delete(members).where(ending, members.c.joined_on >= as_of))
    connection.execute(sa.update(members).where(ending).values(left_on=as_of))


def write_members(
    connection: sa.Connection, key: str, members: Sequence[Member], current: set[str], as_of: date
) -> None:
    """Begin the memberships that are new, and give all of them their name and position in the list.

    Parameters
    ----------
    key : as it is stored
    members : the whole list
    current : symbols whose membership has not ended
    as_of : the first day of those that join
    """
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
