"""The symbols that the product works on, in the order in which they were added."""

from collections.abc import Sequence

import sqlalchemy as sa

from tickstock_pipeline.storage.tables import SYMBOLS


def add_symbols(connection: sa.Connection, symbols: Sequence[str]) -> list[str]:
    """Add symbols, or make them active again.

    Returns
    -------
    Those that were not there, in the order given. Their positions follow all earlier ones.
    """
    # one adder at a time, to the end of its transaction: a position never appears below one already seen
    connection.exec_driver_sql("LOCK TABLE symbols IN SHARE ROW EXCLUSIVE MODE")
    known = set(connection.execute(sa.select(SYMBOLS.c.symbol)).scalars())
    asked = list(dict.fromkeys(symbols))
    new = [symbol for symbol in asked if symbol not in known]
    if new:
        connection.execute(sa.insert(SYMBOLS), [{"symbol": symbol} for symbol in new])
    set_active(connection, [symbol for symbol in asked if symbol in known], True)
    return new


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
