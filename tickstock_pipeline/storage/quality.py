"""Questions about the stored bars as a whole: is what must hold enforced, which dates are there."""

from collections.abc import Sequence
from datetime import date
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.market.bar import IntArray, TimeArray
from tickstock_pipeline.market.calendar import EXCHANGE_ZONE
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage import binary_copy
from tickstock_pipeline.storage.bars import DERIVED
from tickstock_pipeline.storage.instants import plain
from tickstock_pipeline.storage.tables import BAR_LEDGER, BARS, key_column


def constraints_not_in_force(connection: sa.Connection, timeframe: Timeframe) -> list[str]:
    """Names of the sanity constraints that the table lacks, or that were added without checking its rows."""
    table = BARS[timeframe]
    wanted = {str(found.name) for found in table.constraints if isinstance(found, sa.CheckConstraint)}
    rows = connection.execute(
        sa.text("SELECT conname FROM pg_constraint WHERE conrelid = CAST(:name AS regclass) AND convalidated"),
        {"name": f"public.{table.name}"},
    )
    return sorted(wanted - set(rows.scalars()))


def insane_bars(
    connection: sa.Connection, timeframe: Timeframe, symbols: Sequence[str] | None = None
) -> dict[Partition, int]:
    """Bars that break a sanity constraint, by partition; found by reading all bars of ``symbols``, None: of all."""
    table, key = BARS[timeframe], key_column(timeframe)
    rules = [found.sqltext for found in table.constraints if isinstance(found, sa.CheckConstraint)]
    day = sa.func.timezone(str(EXCHANGE_ZONE), key) if timeframe.is_intraday else key
    year = sa.cast(sa.extract("year", day), sa.Integer)
    query = (
        sa.select(table.c.symbol, year, sa.func.count())
        .where(sa.not_(sa.and_(*rules)))
        .group_by(table.c.symbol, year)
        .order_by(table.c.symbol, year)
    )
    if symbols is not None:
        query = query.where(table.c.symbol == sa.any_(sa.literal(list(symbols), sa.ARRAY(sa.Text))))
    return {Partition(symbol, of_year): int(count) for symbol, of_year, count in connection.execute(query)}


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
    return {symbol: (int(count), plain(first), plain(last)) for symbol, count, first, last in rows}


class Span(NamedTuple):
    """One symbol's dates, both included; of intraday bars the exchange's."""

    symbol: str
    first: date
    last: date


def count_bars_by_date(
    connection: sa.Connection, timeframe: Timeframe, spans: Sequence[Span]
) -> list[tuple[TimeArray, IntArray]]:
    """Bars stored on each date of ``spans``, all in one query.

    Returns
    -------
    For each span the dates that have any, (n,) datetime64[D], in no order, and how many.
    """
    if not spans:
        return []
    table, key = BARS[timeframe].name, f'bar."{key_column(timeframe).name}"'
    # the year and the day of a bar are those of the exchange's clock
    zone = "'America/New_York'"
    day = f"({key} AT TIME ZONE {zone})::date" if timeframe.is_intraday else key
    within = (
        f"{key} >= span.first::timestamp AT TIME ZONE {zone} AND {key} < (span.last + 1)::timestamp AT TIME ZONE {zone}"
        if timeframe.is_intraday
        else f"{key} BETWEEN span.first AND span.last"
    )
    rows = binary_copy.copy_out(
        connection,
        f"""
        SELECT span.position::int4 - 1, {day}, count(*)
        FROM unnest(%s::text[], %s::date[], %s::date[]) WITH ORDINALITY span (symbol, first, last, position)
        JOIN {table} bar ON bar.symbol = span.symbol AND {within}
        GROUP BY 1, 2
        """,
        [[span.symbol for span in spans], [span.first for span in spans], [span.last for span in spans]],
        {"position": binary_copy.INT4, "day": binary_copy.INT4, "count": binary_copy.INT8},
    )
    order = np.argsort(rows["position"], kind="stable")
    position = rows["position"][order].astype(np.int64)
    days = binary_copy.from_days(rows["day"][order]).astype("datetime64[D]")
    counts = rows["count"][order].astype(np.int64)
    bounds = np.searchsorted(position, np.arange(len(spans) + 1))
    return [(days[low:high], counts[low:high]) for low, high in pairwise(bounds)]


def dates_given(connection: sa.Connection, symbols: Sequence[str], first: date, last: date) -> dict[str, TimeArray]:
    """The sessions of which somebody gave a daily bar, one that is not derived.

    Returns
    -------
    symbol -> (n,) datetime64[D], ascending; a symbol without any has an empty array.
    """
    rows = binary_copy.copy_out(
        connection,
        f"""
        SELECT wanted.position::int4 - 1, bar.date
        FROM unnest(%s::text[]) WITH ORDINALITY wanted (symbol, position)
        JOIN {BARS[Timeframe.DAILY].name} bar USING (symbol)
        WHERE bar.date BETWEEN %s::date AND %s::date AND bar.source NOT LIKE '{DERIVED}%%'
        """,
        [list(symbols), first, last],
        {"position": binary_copy.INT4, "date": binary_copy.INT4},
    )
    dates = binary_copy.from_days(rows["date"]).astype("datetime64[D]")
    return {symbol: np.sort(dates[rows["position"] == position]) for position, symbol in enumerate(symbols)}
