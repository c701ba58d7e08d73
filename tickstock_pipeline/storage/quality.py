"""Questions about the stored bars as a whole: is what must hold enforced, what was refused, which dates are there."""

import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.market.bar import TimeArray
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.tables import BAR_LEDGER, BARS, QUARANTINED_BARS, key_column


def constraints_not_in_force(connection: sa.Connection, timeframe: Timeframe) -> list[str]:
    """Names of the sanity constraints that the table lacks, or that were added without checking its rows."""
    table = BARS[timeframe]
    wanted = {str(found.name) for found in table.constraints if isinstance(found, sa.CheckConstraint)}
    rows = connection.execute(
        sa.text("SELECT conname FROM pg_constraint WHERE conrelid = CAST(:name AS regclass) AND convalidated"),
        {"name": f"public.{table.name}"},
    )
    return sorted(wanted - set(rows.scalars()))


def count_insane_bars(connection: sa.Connection, timeframe: Timeframe) -> int:
    """Bars in the table that break a sanity constraint, found by reading all of it."""
    table = BARS[timeframe]
    rules = [found.sqltext for found in table.constraints if isinstance(found, sa.CheckConstraint)]
    count = connection.scalar(sa.select(sa.func.count()).select_from(table).where(sa.not_(sa.and_(*rules))))
    return int(count or 0)


def count_refused_bars(connection: sa.Connection, timeframe: Timeframe) -> dict[str, int]:
    """Quarantined bars by symbol, without those whose key has a good bar by now."""
    table, bars = QUARANTINED_BARS, BARS[timeframe]
    key = key_column(timeframe)
    text = (
        sa.func.to_char(sa.func.timezone("UTC", key), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        if timeframe.is_intraday
        else sa.cast(key, sa.Text)
    )
    is_mended = sa.exists().where(bars.c.symbol == table.c.symbol, text == table.c.bar_time)
    rows = connection.execute(
        sa.select(table.c.symbol, sa.func.count())
        .where(table.c.timeframe == timeframe.value, ~is_mended)
        .group_by(table.c.symbol)
        .order_by(table.c.symbol)
    )
    return {symbol: int(count) for symbol, count in rows}


def series_extents(
    connection: sa.Connection, timeframe: Timeframe
) -> dict[str, tuple[int, np.datetime64, np.datetime64]]:
    """Symbol → number of bars, first and last time (datetime64[us], UTC), from the ledger."""
    table = BAR_LEDGER
    rows = connection.execute(
        sa.select(
            table.c.symbol,
            sa.func.sum(table.c.n_bars),
            sa.func.min(table.c.first_time),
            sa.func.max(table.c.last_time),
        )
        .where(table.c.timeframe == timeframe.value, table.c.n_bars > 0)
        .group_by(table.c.symbol)
        .order_by(table.c.symbol)
    )
    return {
        symbol: (
            int(count),
            np.datetime64(first.replace(tzinfo=None), "us"),
            np.datetime64(last.replace(tzinfo=None), "us"),
        )
        for symbol, count, first, last in rows
    }


def bar_dates(connection: sa.Connection, timeframe: Timeframe, symbol: str) -> TimeArray:
    """The dates on which a symbol has a bar, (n,) datetime64[D], ascending; of an intraday bar the exchange's date."""
    key = key_column(timeframe)
    day = sa.cast(sa.func.timezone("America/New_York", key), sa.Date) if timeframe.is_intraday else key
    rows = connection.execute(sa.select(day).distinct().where(BARS[timeframe].c.symbol == symbol).order_by(day))
    return np.array(rows.scalars().all(), "datetime64[D]")
