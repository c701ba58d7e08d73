"""Bars that another program has stored, found as they are stored: which of them have no analysis yet.

An entry of the stream only says where to look. What is stored counts: it may have changed again since, or be gone.

The ledger does not say what a revision changed, but coverage does: from the moment it was stated, ``stale_from`` is the
first bar that changed. If it is the statement that a followed series knows, then the bars stored from there on are all
that the series lacks, and it takes them in like bars of our own. Otherwise the series is cold, and bars whose coverage
is stale go on the backlog.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.live.bar import each_bar
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.storage.bars import read_bars
from tickstock_pipeline.storage.coverage import CoverageState, read_coverage
from tickstock_pipeline.storage.instants import plain
from tickstock_pipeline.storage.ledger import InputState
from tickstock_pipeline.storage.live_rows import BarRow, bar_rows
from tickstock_pipeline.streaming.advance import split_adjusted_rows
from tickstock_pipeline.streaming.desk import Desk
from tickstock_pipeline.streaming.series_book import WarmSeries
from tickstock_pipeline.streaming.windows import LiveWindow

_SOURCE = "external"


@dataclass(slots=True)
class Unanalysed:
    """Stored bars without analysis.

    Attributes
    ----------
    rows : as stored
    before : by symbol, the state of the input before ``rows`` came, where it is known
    """

    rows: list[BarRow] = field(default_factory=list)
    before: dict[str, InputState] = field(default_factory=dict)


def unanalysed_bars(
    connection: sa.Connection,
    desk: Desk,
    window: LiveWindow,
    inserted: Mapping[str, Collection[int]],
    states: Mapping[str, InputState],
) -> Unanalysed:
    """What of ``inserted`` wants analysis, and whatever else a followed series lacks; of series that are locked.

    Parameters
    ----------
    inserted : by symbol, times of bars of the window in microseconds since 1970
    states : of the input now
    """
    timeframe = window.timeframe
    coverage = read_coverage(connection, timeframe, inserted)
    first_of_year = desk.windows.of_year(timeframe, window.year)[0].first
    lacking: dict[str, tuple[WarmSeries, np.datetime64]] = {}
    cold = set()
    for symbol in sorted(inserted):
        one = desk.book.warm(timeframe, symbol, window)
        if one is not None and one.revision == states[symbol].revision:
            continue
        known = coverage.get((symbol, window.year))
        since = None if one is None or known is None else _changed_since(one, known, first_of_year)
        if one is None or since is None:
            cold.add(symbol)
        else:
            lacking[symbol] = one, since
    found = Unanalysed()
    if lacking:
        stored = read_bars(connection, timeframe, sorted(lacking), min(since for _, since in lacking.values()))
        for symbol, (one, since) in lacking.items():
            rows = _lacked(one, stored[symbol].since(since), since) if symbol in stored else []
            if rows:
                found.rows += rows
                found.before[symbol] = _state_before(one, states[symbol])
            else:
                cold.add(symbol)
    _add_cold(connection, desk, window, {symbol: inserted[symbol] for symbol in cold}, states, coverage, found)
    return found


def _changed_since(one: WarmSeries, known: CoverageState, first_of_year: np.datetime64) -> np.datetime64 | None:
    """The first bar that the series does not hold as it is stored; None: not known, or too old to be put in place."""
    if not one.is_covered or known.analysed_at != one.covered_at or known.stale_from is None:
        return None
    since = plain(known.stale_from)
    time = _count(since)
    # What changed in an earlier year, or with a split, is replayed.
    is_near = since >= first_of_year and (time > one.series.newest_time or one.series.can_revise(time))
    return since if is_near else None


def _lacked(one: WarmSeries, stored: Bars, since: np.datetime64) -> list[BarRow]:
    """The bars stored since then that the series does not hold; none if they are not all that differs."""
    rows = bar_rows(stored, _SOURCE)
    held = {bar.time: bar for bar in each_bar(one.series.bars_since(_count(since)))}
    has_lost = bool(held.keys() - {row.time for row in rows})
    if has_lost or not rows or rows[-1].time > _count(one.window.last):
        return []
    adjusted = split_adjusted_rows(rows, one, one.window.timeframe)
    return [row for row, bar in zip(rows, adjusted, strict=True) if held.get(bar.time) != bar]


def _state_before(one: WarmSeries, now: InputState) -> InputState:
    # All changes were of the window's own year, so its revision rose by as much as the sum.
    return InputState(one.revision, now.year_revision - (now.revision - one.revision), one.n_bars)


def _add_cold(
    connection: sa.Connection,
    desk: Desk,
    window: LiveWindow,
    inserted: Mapping[str, Collection[int]],
    states: Mapping[str, InputState],
    coverage: Mapping[tuple[str, int], CoverageState],
    found: Unanalysed,
) -> None:
    active = desk.book.plans.get(window.timeframe)
    digest = None if active is None else active.digest
    wanted = {
        symbol: {time for time in times if not _is_analysed(coverage.get((symbol, window.year)), digest, time)}
        for symbol, times in inserted.items()
    }
    wanted = {symbol: times for symbol, times in wanted.items() if times}
    if not wanted:
        return
    first = min(min(times) for times in wanted.values())
    last = max(max(times) for times in wanted.values())
    span = np.datetime64(first, "us"), np.datetime64(last, "us")
    for symbol, bars in read_bars(connection, window.timeframe, sorted(wanted), *span).items():
        rows = [row for row in bar_rows(bars, _SOURCE) if row.time in wanted[symbol]]
        found.rows += rows
        if len(rows) == states[symbol].n_bars:
            # These are the year's first bars, so what is derived from them follows them from here on.
            found.before[symbol] = replace(states[symbol], year_revision=0)


def _is_analysed(known: CoverageState | None, digest: str | None, time: int) -> bool:
    if known is None or known.definition_digest != digest or known.covered_through is None:
        return False
    is_stale = known.stale_from is not None and _count(plain(known.stale_from)) <= time
    return not is_stale and time <= _count(plain(known.covered_through))


def _count(moment: np.datetime64) -> int:
    return int(moment.astype("datetime64[us]").astype(np.int64))
