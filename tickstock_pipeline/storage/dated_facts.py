"""Tables of one number a symbol and ex date: what ``splits`` and ``dividends`` have in common."""

from collections.abc import Iterable, Mapping
from datetime import date

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert


def write_facts(
    connection: sa.Connection, column: sa.Column[float], facts: Mapping[tuple[str, date], float], source: str
) -> int:
    """Upsert facts.

    Parameters
    ----------
    column : of the number; its table is the one that is written
    facts : symbol and ex date → the number

    Returns
    -------
    How many were new or had another number; the others are not written.
    """
    if not facts:
        return 0
    statement = insert(column.table)
    statement = statement.on_conflict_do_update(
        index_elements=["symbol", "ex_date"],
        set_={column.name: statement.excluded[column.name], "source": statement.excluded.source},
        where=column.is_distinct_from(statement.excluded[column.name]),
    )
    written = connection.execute(
        statement.returning(column.table.c.symbol),
        [
            {"symbol": symbol, "ex_date": ex_date, column.name: number, "source": source}
            for (symbol, ex_date), number in sorted(facts.items())
        ],
    )
    return len(written.all())


def read_facts(
    connection: sa.Connection, column: sa.Column[float], symbols: Iterable[str]
) -> dict[str, list[tuple[date, float]]]:
    """Each symbol's ex dates and numbers, oldest first; a symbol without one has an empty list."""
    wanted = sorted(set(symbols))
    table = column.table.c
    query = (
        sa.select(table.symbol, table.ex_date, column)
        .where(table.symbol == sa.any_(sa.literal(wanted, sa.ARRAY(sa.Text))))
        .order_by(table.symbol, table.ex_date)
    )
    found: dict[str, list[tuple[date, float]]] = {symbol: [] for symbol in wanted}
    for symbol, ex_date, number in connection.execute(query):
        found[symbol].append((ex_date, number))
    return found
