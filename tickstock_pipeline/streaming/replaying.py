"""Series read from their stored bars and computed as batch does: the first half of ``catching_up``.

1. Read the revision of the input, then the bars from the anchor on, the backlog, and what the ledger says is covered.
2. Compute each window from the oldest bar without analysis to the newest, fed from its anchor; replay the series.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.analysis import analyse_many
from tickstock_pipeline.batch.series import Series, read_series
from tickstock_pipeline.live.series import LiveSeries
from tickstock_pipeline.market.adjustment import Split
from tickstock_pipeline.market.bar import empty_bars
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.analysed_window import AnalysedWindow
from tickstock_pipeline.storage.coverage import CoverageState, read_coverage, stale_analysis
from tickstock_pipeline.storage.instants import plain
from tickstock_pipeline.storage.ledger import InputState, LedgerRow, input_states, read_ledger
from tickstock_pipeline.storage.live_work import read_backlog
from tickstock_pipeline.storage.splits import read_splits
from tickstock_pipeline.streaming.desk import Desk
from tickstock_pipeline.streaming.series_book import FOLLOWED, ActivePlan
from tickstock_pipeline.streaming.windows import LiveWindow

RECENT_US = 10 * 86_400 * 1_000_000
"""A series whose newest bar is older does not wait for the market's next bar: old minutes are being replayed."""


@dataclass(slots=True)
class Reading:
    """One series as read from the database, and what was computed from it.

    Attributes
    ----------
    live_window : in which the series is to be followed
    live_state : the state of that window's input
    state : of all the input that was read
    backlog : times of the bars without analysis, and for how many seconds each has been stored
    since : the bar from which on results are to be replaced; None: there is nothing to make up for
    windows : from that of ``since`` to the newest
    is_stale : the year of the live window has bars without analysis
    items : the results that replace what is stored
    followed : past its newest bar; None: it is not followed bar by bar
    """

    symbol: str
    series: Series
    splits: tuple[Split, ...]
    live_window: LiveWindow
    live_state: InputState
    state: InputState
    backlog: Mapping[int, float]
    since: int | None
    windows: Sequence[LiveWindow]
    ledger: Mapping[int, LedgerRow]
    coverage: Mapping[int, CoverageState]
    is_stale: bool
    items: list[AnalysedWindow] = field(default_factory=list)
    followed: LiveSeries | None = None

    @property
    def span(self) -> tuple[int | None, int]:
        """The years of the input that was read."""
        return _span(self.live_window, self.windows)


def read_inputs(
    connection: sa.Connection,
    desk: Desk,
    active: ActivePlan,
    timeframe: Timeframe,
    symbols: Sequence[str],
    upcoming: int,
) -> list[Reading]:
    """Step 1 for some series.

    Parameters
    ----------
    upcoming : the bar to be expected next, microseconds since 1970
    """
    backlogs = read_backlog(connection, timeframe, symbols)
    # Revisions come before all that they are to vouch for, so the years are asked for widely at first.
    plans = {}
    ledger = _ledger_by_year(connection, timeframe, symbols)
    coverage = read_coverage(connection, timeframe, symbols)
    for symbol in symbols:
        of_symbol = {year: state for (name, year), state in coverage.items() if name == symbol}
        plans[symbol] = _planned(
            desk, active, timeframe, ledger.get(symbol, {}), of_symbol, dict(backlogs.get(symbol, ())), upcoming
        )
    readings = []
    for live_window, windows in dict.fromkeys((live, tuple(chosen)) for live, chosen, _ in plans.values()):
        together = [symbol for symbol in symbols if plans[symbol][:2] == (live_window, list(windows))]
        states = input_states(connection, timeframe, together, *_span(live_window, windows))
        live_states = input_states(connection, timeframe, together, *_span(live_window, ()))
        # Again, now that the revisions are known: what follows can only be newer than they say.
        ledger = _ledger_by_year(connection, timeframe, together)
        coverage = read_coverage(connection, timeframe, together)
        backlogs = read_backlog(connection, timeframe, together)
        stale = stale_analysis(connection, timeframe, active.digest, together)
        splits = read_splits(connection, together)
        anchors = [window.anchor for window in (live_window, *windows)]
        first = None if None in anchors else min(anchor for anchor in anchors if anchor is not None)
        series = read_series(connection, desk.calendar, timeframe, together, first, None)
        for symbol in together:
            backlog = dict(backlogs.get(symbol, ()))
            of_symbol = {year: state for (name, year), state in coverage.items() if name == symbol}
            again = _planned(desk, active, timeframe, ledger.get(symbol, {}), of_symbol, backlog, upcoming)
            if again[:2] != (live_window, list(windows)):
                continue  # it has changed meanwhile and comes again
            readings.append(
                Reading(
                    symbol,
                    series.get(symbol) or Series(empty_bars(symbol, timeframe), np.empty(0)),
                    splits[symbol],
                    live_window,
                    live_states[symbol],
                    states[symbol],
                    backlog,
                    again[2],
                    windows,
                    ledger.get(symbol, {}),
                    of_symbol,
                    is_stale=any(one.symbol == symbol and one.year == live_window.year for one in stale),
                )
            )
    return readings


def compute(desk: Desk, active: ActivePlan, reading: Reading) -> None:
    """Step 2 for one series.

    Raises
    ------
    Exception
        Whatever a definition's function raises.
    """
    bars, divisors = reading.series.bars, reading.series.divisors
    if reading.since is not None:
        since = np.datetime64(reading.since, "us")
        fed = []
        for window in reading.windows:
            start = 0 if window.anchor is None else int(np.searchsorted(bars.time, window.anchor))
            fed.append(slice(start, int(np.searchsorted(bars.time, window.last, side="right"))))
        analyses = analyse_many([bars[one] for one in fed], active.plan.definitions)
        reading.items = [
            AnalysedWindow(
                analysis,
                divisors[one],
                desk.calendar.instant(bars.timeframe, analysis.bars.time),
                max(window.first, since),
                window.last,
            )
            for analysis, one, window in zip(analyses, fed, reading.windows, strict=True)
        ]
    window = reading.live_window
    # Bars after the window would have to be analysed again with each bar in it: that is not what following is for.
    if bars.timeframe in FOLLOWED and not (len(bars) and bars.time[-1] > window.last):
        reading.followed = LiveSeries.replayed(
            bars if window.anchor is None else bars.since(window.anchor), active.plan
        )


_Plan = tuple[LiveWindow, list[LiveWindow], int | None]


def _planned(
    desk: Desk,
    active: ActivePlan,
    timeframe: Timeframe,
    ledger: Mapping[int, LedgerRow],
    coverage: Mapping[int, CoverageState],
    backlog: Mapping[int, float],
    upcoming: int,
) -> _Plan:
    """The window to follow, the windows to analyse, and since when."""
    stored = [row.last_time for row in ledger.values() if row.last_time is not None]
    newest = max((_count(plain(time)) for time in stored), default=None)
    if newest is None:
        return desk.windows.at(timeframe, upcoming), [], None
    if not backlog:
        is_recent = upcoming - newest <= RECENT_US
        return desk.windows.at(timeframe, max(upcoming, newest) if is_recent else newest), [], None
    since = min(backlog)
    window = desk.windows.at(timeframe, since)
    known = coverage.get(window.year)
    if known is not None and known.definition_digest == active.digest and known.stale_from is not None:
        stale_from = plain(known.stale_from)
        if window.first <= stale_from:
            # What else became stale in the same window is done with it, and the year is covered then.
            since = min(since, _count(stale_from))
    newest = max(newest, since)
    return desk.windows.at(timeframe, newest), desk.windows.between(timeframe, since, newest), since


def _ledger_by_year(
    connection: sa.Connection, timeframe: Timeframe, symbols: Sequence[str]
) -> dict[str, dict[int, LedgerRow]]:
    found: dict[str, dict[int, LedgerRow]] = {}
    for row in read_ledger(connection, timeframe, symbols):
        found.setdefault(row.symbol, {})[row.year] = row
    return found


def _span(live_window: LiveWindow, windows: Sequence[LiveWindow]) -> tuple[int | None, int]:
    years = [window.first_input_year for window in (live_window, *windows)]
    first = None if None in years else min(year for year in years if year is not None)
    return first, max(window.year for window in (live_window, *windows))


def _count(moment: np.datetime64) -> int:
    return int(moment.astype("datetime64[us]").astype(np.int64))
