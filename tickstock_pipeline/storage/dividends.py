"""Cash dividends. They adjust returns, never prices, so that a change of one makes no analysis stale."""

import math
from collections.abc import Iterable, Sequence
from datetime import date

import sqlalchemy as sa

from tickstock_pipeline.market.adjustment import Dividend
from tickstock_pipeline.storage.dated_facts import read_facts, write_facts
from tickstock_pipeline.storage.tables import DIVIDENDS


def write_dividends(connection: sa.Connection, dividends: Sequence[Dividend], source: str) -> int:
    """Upsert dividends; several of one symbol and date, such as a regular and a special one, are added up.

    Returns
    -------
    How many were new or had another amount; the others are not written.
    """
    amounts: dict[tuple[str, date], list[float]] = {}
    for dividend in dividends:
        amounts.setdefault((dividend.symbol, dividend.ex_date), []).append(dividend.amount)
    return write_facts(
        connection, DIVIDENDS.c.amount, {key: math.fsum(parts) for key, parts in amounts.items()}, source
    )


def read_dividends(connection: sa.Connection, symbols: Iterable[str]) -> dict[str, tuple[Dividend, ...]]:
    """Each symbol's dividends, oldest first; a symbol without one has an empty tuple."""
    return {
        symbol: tuple(Dividend(symbol, ex_date, amount) for ex_date, amount in facts)
        for symbol, facts in read_facts(connection, DIVIDENDS.c.amount, symbols).items()
    }
