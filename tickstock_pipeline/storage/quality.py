"""Questions about the stored bars as a whole: is what must hold enforced, what was refused, which dates are there."""

import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import date, datetime
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
from tickstock_pipeline.storage.tables import BAR_LEDGER, BARS, QUARANTINED_BARS, key_column

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")
_BEGINS_WITH_A_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T|$)")


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


def count_refused_bars(connection: sa.Connection, timeframe: Timeframe) -> dict[str, int]:
    """Quarantined bars by symbol, without those whose key has a good bar by now."""
    counts = Counter(refused.symbol for refused in _still_refused(connection, timeframe))
    return dict(sorted(counts.items()))


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


def quarantined_dates(
    connection: sa.Connection, timeframe: Timeframe, symbols: Sequence[str]
) -> dict[str, dict[date, str]]:
    """Symbol -> the date of each quarantined bar whose key has no good bar by now, and why it was refused."""
    found: dict[str, dict[date, str]] = {symbol: {} for symbol in symbols}
    for refused in _still_refused(connection, timeframe, symbols):
        # a time that is not one cannot be assigned to a session
        if _BEGINS_WITH_A_DATE.match(refused.bar_time):
            # regular hours of the exchange are on the same date in UTC
            with suppress(ValueError):
                found[refused.symbol][date.fromisoformat(refused.bar_time[:10])] = refused.reason
    return found


class _Refused(NamedTuple):
    symbol: str
    bar_time: str
    reason: str


def _still_refused(
    connection: sa.Connection, timeframe: Timeframe, symbols: Sequence[str] | None = None
) -> list[_Refused]:
    """Quarantined bars whose key has no good bar, in the order in which they came; None: those of all symbols."""
    table = QUARANTINED_BARS.c
    query = sa.select(table.symbol, table.bar_time, table.reason).where(table.timeframe == timeframe.value)
    if symbols is not None:
        query = query.where(table.symbol == sa.any_(sa.literal(list(symbols), sa.ARRAY(sa.Text))))
    refused = [_Refused(*row) for row in connection.execute(query.order_by(table.id))]
    # the key as a provider gave it may be anything, and a cast of what is none would end the query
    keys = {(one.symbol, one.bar_time) for one in refused if _is_key(timeframe, one.bar_time)}
    mended = _stored_keys(connection, timeframe, sorted(keys))
    return [one for one in refused if (one.symbol, one.bar_time) not in mended]


def _stored_keys(
    connection: sa.Connection, timeframe: Timeframe, keys: Sequence[tuple[str, str]]
) -> set[tuple[str, str]]:
    """Those of ``keys``, symbol and time as text, that have a bar."""
    if not keys:
        return set()
    key_type = "timestamptz" if timeframe.is_intraday else "date"
    # a subquery with a limit is looked up in the index key by key, whatever the statistics say
    query = sa.text(f"""
        SELECT symbol, key FROM unnest(cast(:symbols AS text[]), cast(:keys AS text[])) wanted (symbol, key)
        WHERE (
            SELECT true FROM {BARS[timeframe].name} bar
            WHERE bar.symbol = wanted.symbol AND bar."{key_column(timeframe).name}" = wanted.key::{key_type} LIMIT 1
        )
    """)
    symbols, texts = zip(*keys, strict=True)
    return {tuple(row) for row in connection.execute(query, {"symbols": list(symbols), "keys": list(texts)})}


def _is_key(timeframe: Timeframe, text: str) -> bool:
    """Whether the time of a quarantined bar is written as keys of the timeframe are, and is one."""
    if not (_INSTANT if timeframe.is_intraday else _DATE).fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
