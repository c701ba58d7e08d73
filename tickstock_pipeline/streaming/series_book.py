"""The series that a worker follows bar by bar, and the definitions that it follows them with.

A series is warm if it holds exactly the bars that are stored: the ledger's revision of its input is the one that it was
brought to. Anybody else's write makes it cold, and so does a transaction of ours that did not commit. A cold series is
replayed before it is used again.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from tickstock_pipeline.analysis import definition_set
from tickstock_pipeline.errors import DefinitionError
from tickstock_pipeline.live.bar import Bar
from tickstock_pipeline.live.plan import LivePlan
from tickstock_pipeline.live.series import LiveSeries
from tickstock_pipeline.market.adjustment import Split
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.bar_indicators import layout_id
from tickstock_pipeline.storage.definitions import read_definitions
from tickstock_pipeline.streaming.windows import LiveWindow

_logger = logging.getLogger(__name__)

FOLLOWED = (Timeframe.MINUTE, Timeframe.HOURLY, Timeframe.DAILY)
"""A weekly or monthly bar comes so seldom, and its series is so short, that it is analysed from its stored bars."""


@dataclass(slots=True)
class WarmSeries:
    """One followed series.

    Attributes
    ----------
    revision : of the input that ``series`` holds, from the year of the window's anchor on
    n_bars : bars stored of the window's year
    is_covered : all stored bars of that year have analysis under the present definitions
    splits : of the symbol; the series is on the price scale after all of them
    last : the newest bar
    covered_at : ``analysed_at`` of that year's coverage when the series held what is stored; None: there is none
    is_touched : it has taken in bars of a transaction that has not committed yet
    """

    series: LiveSeries
    window: LiveWindow
    revision: int
    n_bars: int
    is_covered: bool
    splits: tuple[Split, ...]
    last: Bar | None
    covered_at: datetime | None
    is_touched: bool = False


@dataclass(frozen=True, slots=True)
class ActivePlan:
    """The definitions of one timeframe in use, and the layout that their values are stored in."""

    plan: LivePlan
    digest: str
    layout: int


class SeriesBook:
    """All followed series of one worker."""

    def __init__(self) -> None:
        self.plans: dict[Timeframe, ActivePlan] = {}
        self._definitions_revision: int | None = None
        self._series: dict[tuple[Timeframe, str], WarmSeries] = {}
        self._waiting: dict[Timeframe, dict[str, None]] = {timeframe: {} for timeframe in Timeframe}

    def __len__(self) -> int:
        return len(self._series)

    def follows(self, definitions_revision: int) -> bool:
        """Whether the plans are of this revision of the definitions."""
        return definitions_revision == self._definitions_revision

    def follow_definitions(self, connection: sa.Connection, revision: int) -> None:
        """Read the definitions; series of a timeframe whose definitions mean something else now are cold.

        Call it in a transaction that is sure to commit: new layouts of values are stored in it.

        Parameters
        ----------
        revision : of the definitions, as read before them
        """
        stored = read_definitions(connection)
        for problem in stored.problems:
            _logger.warning("A definition is left out: %s", problem.message)
        for timeframe in Timeframe:
            try:
                definitions = definition_set(timeframe, stored.indicators, stored.patterns)
            except DefinitionError as problem:
                _logger.error("No analysis of %s bars: %s", timeframe, problem.message)
                self.plans.pop(timeframe, None)
                self._drop_timeframe(timeframe)
                continue
            known = self.plans.get(timeframe)
            if known is None or known.digest != definitions.digest:
                layout = layout_id(connection, definitions)
                self.plans[timeframe] = ActivePlan(LivePlan(definitions), definitions.digest, layout)
                self._drop_timeframe(timeframe)
        self._definitions_revision = revision

    def warm(self, timeframe: Timeframe, symbol: str, window: LiveWindow) -> WarmSeries | None:
        """The symbol's series, if it is warm and of this window."""
        found = self._series.get((timeframe, symbol))
        if found is None:
            return None
        if found.is_touched or found.window != window:
            self.drop(timeframe, [symbol])
            return None
        return found

    def is_followed(self, timeframe: Timeframe, symbol: str) -> bool:
        """Whether there is a series of the symbol."""
        return (timeframe, symbol) in self._series

    def followed_before(self, timeframe: Timeframe, window: LiveWindow, *, since: LiveWindow) -> list[str]:
        """Symbols whose series is of an earlier window, and not of one before ``since``."""
        return [
            symbol
            for (of, symbol), one in self._series.items()
            if of is timeframe and since.first <= one.window.first < window.first
        ]

    def put(self, timeframe: Timeframe, symbol: str, series: WarmSeries) -> None:
        """Follow a series that has been replayed."""
        self._series[timeframe, symbol] = series

    def drop(self, timeframe: Timeframe, symbols: Iterable[str]) -> None:
        """Follow these series no longer: they are cold."""
        for symbol in symbols:
            self._series.pop((timeframe, symbol), None)

    def confirm(self, timeframe: Timeframe, symbols: Iterable[str]) -> None:
        """The transaction whose bars these series have taken in has committed."""
        for symbol in symbols:
            found = self._series.get((timeframe, symbol))
            if found is not None:
                found.is_touched = False

    def wait(self, timeframe: Timeframe, symbols: Iterable[str]) -> None:
        """Ask that these series be analysed from their stored bars, in the order in which they are asked for."""
        for symbol in symbols:
            self._waiting[timeframe][symbol] = None

    def next_waiting(self, at_most: int) -> tuple[Timeframe, list[str]] | None:
        """The series to analyse next, all of one timeframe; finer timeframes first. They wait no longer."""
        for timeframe, symbols in self._waiting.items():
            if symbols:
                chosen = list(symbols)[:at_most]
                for symbol in chosen:
                    del symbols[symbol]
                return timeframe, chosen
        return None

    @property
    def n_waiting(self) -> int:
        """How many series wait."""
        return sum(map(len, self._waiting.values()))

    def forget(self, symbols: Iterable[str]) -> None:
        """Forget all of these symbols: another worker has them now."""
        for symbol in symbols:
            for timeframe in Timeframe:
                self._series.pop((timeframe, symbol), None)
                self._waiting[timeframe].pop(symbol, None)

    @property
    def symbols(self) -> set[str]:
        """Symbols with a series that is followed or waits."""
        return {symbol for _, symbol in self._series} | {s for waiting in self._waiting.values() for s in waiting}

    def _drop_timeframe(self, timeframe: Timeframe) -> None:
        self._series = {key: series for key, series in self._series.items() if key[0] is not timeframe}
