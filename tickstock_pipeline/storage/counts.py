"""How many rows there are, for people to look at."""

import sqlalchemy as sa

from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.all_tables import METADATA
from tickstock_pipeline.storage.tables import BAR_LEDGER, BARS


def row_counts(connection: sa.Connection) -> dict[str, int]:
    """Rows of each table, by name in alphabetical order; exact. Bars are counted by the ledger, at no cost."""
    counted = connection.execute(
        sa.select(BAR_LEDGER.c.timeframe, sa.func.sum(BAR_LEDGER.c.n_bars)).group_by(BAR_LEDGER.c.timeframe)
    )
    ledger = {timeframe: int(count) for timeframe, count in counted}
    counts = {BARS[timeframe].name: ledger.get(timeframe, 0) for timeframe in Timeframe}
    others = [table for name, table in METADATA.tables.items() if name not in counts]
    query = sa.union_all(*(sa.select(sa.literal(table.name), sa.func.count()).select_from(table) for table in others))
    for name, count in connection.execute(query):
        counts[name] = count
    return dict(sorted(counts.items()))
