"""The symbols that the product works on, in the order in which they were added, and what is known of them."""

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from tickstock_pipeline.market.universe import Member
from tickstock_pipeline.storage.tables import SECTOR_MAPPING, SYMBOLS
from tickstock_pipeline.storage.universe_tables import UNIVERSE_MEMBERS


def lock_symbols(connection: sa.Connection) -> None:
    """Wait until nobody else adds symbols, and keep others from it to the end of the transaction."""
    connection.exec_driver_sql("LOCK TABLE symbols IN SHARE ROW EXCLUSIVE MODE")


def add_symbols(connection: sa.Connection, symbols: Sequence[str]) -> list[str]:
    """Add symbols, or make them active again; a new one has the name that a universe gives it.

    Returns
    -------
    Those that were not there, in the order given. Their positions follow all earlier ones.
    """
    # one adder at a time, to the end of its transaction: a position never appears below one already seen
    lock_symbols(connection)
    known = set(connection.execute(sa.select(SYMBOLS.c.symbol)).scalars())
    asked = list(dict.fromkeys(symbols))
    new = [symbol for symbol in asked if symbol not in known]
    if new:
        names = _names_in_universes(connection, new)
        connection.execute(sa.insert(SYMBOLS), [{"symbol": symbol, "name": names.get(symbol)} for symbol in new])
    set_active(connection, [symbol for symbol in asked if symbol in known], True)
    return new


def describe_symbols(connection: sa.Connection, names: Mapping[str, str]) -> None:
    """Give registered symbols their names; those that are not registered are left out."""
    given = sa.values(sa.column("symbol", sa.Text), sa.column("name", sa.Text), name="given").data(
        sorted(names.items())
    )
    if names:
        connection.execute(
            sa.update(SYMBOLS)
            .where(SYMBOLS.c.symbol == given.c.symbol, SYMBOLS.c.name.is_distinct_from(given.c.name))
            .values(name=given.c.name)
        )


def describe_sectors(connection: sa.Connection, members: Sequence[Member]) -> None:
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


def set_active(connection: sa.Connection, symbols: Sequence[str], active: bool) -> None:
    """Begin or stop to work on symbols; nothing that is stored of them goes away."""
    connection.execute(
        sa.update(SYMBOLS)
        .where(SYMBOLS.c.symbol == sa.any_(sa.literal(list(symbols), sa.ARRAY(sa.Text))))
        .where(SYMBOLS.c.active != active)
        .values(active=active)
    )


def read_symbols(connection: sa.Connection, *, active: bool | None = True) -> list[str]:
    """The symbols that are worked on (or that are not; None: all), in the order in which they were added."""
    query = sa.select(SYMBOLS.c.symbol).order_by(SYMBOLS.c.position)
    if active is not None:
        query = query.where(SYMBOLS.c.active == active)
    return list(connection.execute(query).scalars())


def _names_in_universes(connection: sa.Connection, symbols: Sequence[str]) -> dict[str, str]:
    """The name in the list that has the symbol now, else in the last one that had it."""
    members = UNIVERSE_MEMBERS
    query = (
        sa.select(members.c.symbol, members.c.name)
        .where(members.c.symbol == sa.any_(sa.literal(list(symbols), sa.ARRAY(sa.Text))), members.c.name.is_not(None))
        # of a symbol's rows the last one counts
        .order_by(members.c.left_on.asc().nulls_last(), members.c.joined_on)
    )
    return {row.symbol: row.name for row in connection.execute(query)}
