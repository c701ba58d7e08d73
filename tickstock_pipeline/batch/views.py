"""What a person is shown of analysed partitions: their newest bars, and the detections on them.

Nothing here is needed for a result: a symbol that cannot be shown is left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.batch.isolation import apart
from tickstock_pipeline.batch.outcome import ledger_by_partition
from tickstock_pipeline.batch.series import read_series
from tickstock_pipeline.batch.windows import year_bounds
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.calendar import TradingCalendar
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.instants import plain
from tickstock_pipeline.storage.ledger import LedgerRow, read_ledger
from tickstock_pipeline.storage.marks import count_marks, read_marks

# A year of minutes is a hundred thousand bars and thousands of detections; what is shown of it is the last ones.
_SHOWN_OF_MINUTES = np.timedelta64(4, "D")


@dataclass(frozen=True)
class PartitionView:
    """What a person sees of an analysed partition: its newest bars, split-adjusted, and the detections on them.

    Attributes
    ----------
    n_bars, first, last : of the whole partition
    bars : the newest ones; of other timeframes than minutes all
    marks : (position of the bar, pattern, +1, 0 or -1)
    counts : detections of the whole partition by pattern
    """

    n_bars: int
    first: np.datetime64
    last: np.datetime64
    bars: Bars
    marks: tuple[tuple[int, str, int], ...]
    counts: Mapping[str, int]


def view_partitions(
    engine: sa.Engine, calendar: TradingCalendar, timeframe: Timeframe, partitions: Sequence[Partition]
) -> dict[Partition, PartitionView]:
    """Stored bars and detections of ``partitions``; one without bars, or that cannot be shown, is left out."""
    with engine.connect() as connection:
        ledger = ledger_by_partition(read_ledger(connection, timeframe, sorted({p.symbol for p in partitions})))
    views: dict[Partition, PartitionView] = {}
    for first, last, together in _readings(timeframe, [ledger[one] for one in partitions if one in ledger]):

        def view(some: Sequence[LedgerRow], first: np.datetime64 = first, last: np.datetime64 = last) -> list[_Viewed]:
            return _view(engine, calendar, timeframe, some, first, last)

        views.update(
            apart(
                together,
                view,
                lambda *_: [],
                lambda row: f"showing {row.symbol}, {timeframe} bars of {row.year},",
            )
        )
    return views


_Viewed = tuple[Partition, PartitionView]


def _readings(
    timeframe: Timeframe, stored: Sequence[LedgerRow]
) -> list[tuple[np.datetime64, np.datetime64, list[LedgerRow]]]:
    """What to read, both ends included, and for which partitions."""
    shown = [row for row in stored if row.n_bars and row.last_time is not None]
    if not shown:
        return []
    if timeframe is not Timeframe.MINUTE:
        years = [row.year for row in shown]
        return [(year_bounds(timeframe, min(years))[0], year_bounds(timeframe, max(years))[1], shown)]
    by_end: dict[np.datetime64, list[LedgerRow]] = {}
    for row in shown:
        if row.last_time is not None:
            by_end.setdefault(plain(row.last_time), []).append(row)
    return [(end - _SHOWN_OF_MINUTES, end, rows) for end, rows in by_end.items()]


def _view(
    engine: sa.Engine,
    calendar: TradingCalendar,
    timeframe: Timeframe,
    some: Sequence[LedgerRow],
    first: np.datetime64,
    last: np.datetime64,
) -> list[_Viewed]:
    symbols = sorted({row.symbol for row in some})
    with engine.connect() as connection:
        series = read_series(connection, calendar, timeframe, symbols, first, last)
        marks = read_marks(connection, timeframe, symbols, first, last)
        counts = {
            year: count_marks(connection, timeframe, symbols, *year_bounds(timeframe, year))
            for year in {row.year for row in some}
        }
    found: list[_Viewed] = []
    for row in some:
        if row.symbol not in series or row.first_time is None or row.last_time is None:
            continue
        year_first, year_last = year_bounds(timeframe, row.year)
        bars = series[row.symbol].bars.since(year_first).until(year_last)
        stored = marks.get(row.symbol, [])
        times = np.array([mark.bar_time for mark in stored], "datetime64[us]")
        # a bar may have gone since its detection was stored
        has_bar = np.isin(times, bars.time)
        kept = [mark for mark, is_kept in zip(stored, has_bar, strict=True) if is_kept]
        positions = np.searchsorted(bars.time, times[has_bar])
        found.append(
            (
                Partition(row.symbol, row.year),
                PartitionView(
                    row.n_bars,
                    plain(row.first_time),
                    plain(row.last_time),
                    bars,
                    tuple((int(at), mark.pattern, mark.direction) for at, mark in zip(positions, kept, strict=True)),
                    counts[row.year].get(row.symbol, {}),
                ),
            )
        )
    return found
