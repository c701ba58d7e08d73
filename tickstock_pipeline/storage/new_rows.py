"""Straight COPY into a table, for what has no row there yet: the first import of bars, their first analysis.

It skips the staging table and the upsert, which is most of what a row costs.
"""

from collections.abc import Callable, Sequence

import psycopg2.errors
import sqlalchemy as sa

from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.analysed_window import WINDOWS, AnalysedWindow, window_parameters


def new_and_known(
    connection: sa.Connection, timeframe: Timeframe, items: Sequence[AnalysedWindow], table: str, in_window: str
) -> tuple[list[AnalysedWindow], list[AnalysedWindow]]:
    """The items of symbols without a row in their windows, and the others; both in the order given.

    Parameters
    ----------
    table : with the columns ``symbol`` and ``timeframe``
    in_window : the condition that a row ``stored`` lies in the window ``replaced``
    """
    # a subquery with a limit is looked up in the index window by window, whatever the statistics say
    query = sa.text(f"""
        SELECT DISTINCT replaced.symbol FROM ({WINDOWS}) replaced
        WHERE (
            SELECT true FROM {table} stored
            WHERE stored.symbol = replaced.symbol AND stored.timeframe = :timeframe AND {in_window} LIMIT 1
        )
    """)
    known = set(connection.scalars(query, {"timeframe": str(timeframe), **window_parameters(items)}))
    return [item for item in items if item.symbol not in known], [item for item in items if item.symbol in known]


def copied(connection: sa.Connection, copy: Callable[[], int]) -> int | None:
    """Run ``copy``; None, and nothing has happened, if one of its rows is there after all.

    Parameters
    ----------
    copy : writes rows on the connection and says how many. The caller has looked that none is there, but a program
        that does not take our locks may have inserted one of them since
    """
    savepoint = connection.begin_nested()
    try:
        n_rows = copy()
    except psycopg2.errors.UniqueViolation:
        savepoint.rollback()
        return None
    savepoint.commit()
    return n_rows
