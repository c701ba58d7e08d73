"""Cash dividends. They adjust returns, never prices, so that a change of one makes no analysis stale."""

import math
from collections.abc import Iterable, Sequence
from datetime import date

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from tickstock_pipeline.market.adjustment import Dividend
from tickstock_pipeline.storage.tables import DIVIDENDS


def write_dividends(connection: sa.Connection, dividends: Sequence[Dividend], source: str) -> int:
    """Upsert dividends; several of one symbol and date, such as a regular and a special one, are added up.

    Returns
    -------
    How many were new or had another amount; the others are not written.
    """
    if not dividends:
        return 0
    amounts: dict[tuple[str, date], list[float]] = {}
    for dividend in dividends:
        amounts.setdefault((dividend.symbol, dividend.ex_date), []).append(dividend.amount)
    statement = insert(DIVIDENDS)
    statement = statement.on_conflict_do_update(
        index_elements=["symbol", "ex_date"],
        set_={"amount": statement.excluded.amount, "source": statement.excluded.source},
        where=DIVIDENDS.c.amount.is_distinct_from(statement.excluded.amount),
    )
    written = connection.execute(
        statement.returning(DIVIDENDS.c.symbol),
        [
            {"symbol": symbol, "ex_date": ex_date, "amount": math.fsum(parts), "source": source}
            for (symbol, ex_date), parts in sorted(amounts.items())
        ],
    )
    return len(written.all())


def read_dividends(connection: sa.Connection, symbols: Iterable[str]) -> dict[str, tuple[Dividend, ...]]:
    """Each symbol's dividends, oldest first; a symbol without one has an empty tuple."""
    wanted = sorted(set(symbols))
    found: dict[str, list[Dividend]] = {symbol: [] for symbol in wanted}
    query = (
        sa.select(DIVIDENDS.c.symbol, DIVIDENDS.c.ex_date, DIVIDENDS.c.amount)
        .where(DIVIDENDS.c.symbol == sa.any_(sa.literal(wanted, sa.ARRAY(sa.Text))))
        .order_by(DIVIDENDS.c.symbol, DIVIDENDS.c.ex_date)
    )
    for symbol, ex_date, amount in connection.execute(query):
        found[symbol].append(Dividend(symbol, ex_date, amount))
    return {symbol: tuple(dividends) for symbol, dividends in found.items()}
