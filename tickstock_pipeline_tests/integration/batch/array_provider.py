"""A provider that serves arrays, counts what it is asked, and fails on demand."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import date

import numpy as np

from tickstock_pipeline.errors import NotInPlanError, ProviderError, UnknownSymbolError
from tickstock_pipeline.market.adjustment import Dividend, Split
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.calendar import TradingCalendar, trading_calendar
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.base import FetchedBars, Listing, validated

CALENDAR = trading_calendar()


def days(symbol: str, first: date, last: date, *, seed: int = 0, base: float = 100.0) -> Bars:
    """One daily bar for each session."""
    return walk(symbol, Timeframe.DAILY, CALENDAR.sessions(first, last), seed, base)


def minutes(symbol: str, first: date, last: date, *, seed: int = 0, base: float = 100.0) -> Bars:
    """One bar for each minute of each session."""
    return walk(symbol, Timeframe.MINUTE, session_minutes(CALENDAR, first, last), seed, base)


def session_minutes(calendar: TradingCalendar, first: date, last: date) -> np.ndarray:
    """The start of every minute of the regular sessions, (n,) datetime64[us]."""
    sessions = calendar.sessions(first, last)
    spans = zip(calendar.opening(sessions), calendar.closing(sessions), strict=True)
    return np.concatenate([np.arange(opening, closing, np.timedelta64(1, "m")) for opening, closing in spans])


def walk(symbol: str, timeframe: Timeframe, time_: np.ndarray, seed: int = 0, base: float = 100.0) -> Bars:
    """Seeded bars at these times."""
    random = np.random.default_rng(seed)
    close = np.round(base * np.exp(np.cumsum(random.normal(0, 0.001, len(time_)))), 4)
    open_ = np.round(close * np.exp(random.normal(0, 0.001, len(time_))), 4)
    return Bars(
        symbol,
        timeframe,
        time_.astype("datetime64[us]"),
        open_,
        np.maximum(open_, close) + 0.01,
        np.minimum(open_, close) - 0.01,
        close,
        random.integers(100, 100_000, len(time_)),
    )


class ArrayProvider:
    """Serves the series given; everything else about it can be set.

    Attributes
    ----------
    asked : (symbol, timeframe, first, last) of each call of ``fetch_bars``, in order of arrival
    most_at_once : how many calls were under way at the same time
    plan_begins : ranges that begin earlier are refused
    before_answer : called with the symbol within each call; raises what the provider is to fail with
    """

    name = "array"

    def __init__(self, series: Iterable[Bars], *, concurrency: int = 1, source: str = "", reason: str = "") -> None:
        self.series: Mapping[tuple[str, Timeframe], Bars] = {(bars.symbol, bars.timeframe): bars for bars in series}
        self.timeframes = frozenset({Timeframe.MINUTE, Timeframe.DAILY})
        self.concurrency = concurrency
        self.source, self.reason = source, reason
        self.begins: date | None = None
        self.ends: date | None = None
        self.plan_begins = date.min
        self.splits: list[Split] = []
        self.dividends: list[Dividend] = []
        self.asked: list[tuple[str, Timeframe, date, date]] = []
        self.asked_facts: list[tuple[str, str]] = []
        self.fail_facts: Mapping[str, ProviderError] = {}
        self.before_answer: Callable[[str], None] = lambda symbol: None
        self.most_at_once = 0
        self._under_way = 0
        self._lock = threading.Lock()

    def fetch_bars(self, symbol: str, timeframe: Timeframe, first: date, last: date) -> FetchedBars:
        with self._lock:
            self.asked.append((symbol, timeframe, first, last))
            self._under_way += 1
            self.most_at_once = max(self.most_at_once, self._under_way)
        try:
            time.sleep(0)  # lets another thread in
            self.before_answer(symbol)
            if first < self.plan_begins:
                raise NotInPlanError("array refuses: not in the plan.")
            if all(known != symbol for known, _ in self.series):
                raise UnknownSymbolError(f"array has no symbol {symbol!r}.")
            bars = self.series.get((symbol, timeframe))
            if bars is None:
                bars = walk(symbol, timeframe, np.empty(0, "datetime64[us]"))
            of_range = bars.since(np.datetime64(first, "us")).until(
                np.datetime64(last, "us") + np.timedelta64(1_439, "m") + np.timedelta64(5, "h")
            )
            found = validated(
                symbol,
                timeframe,
                time=of_range.time,
                open_=of_range.open,
                high=of_range.high,
                low=of_range.low,
                close=of_range.close,
                volume=of_range.volume.astype(np.float64),
                calendar=CALENDAR,
            )
            bars = found.bars if self.ends is None else found.bars.until(np.datetime64(self.ends, "us"))
            return FetchedBars(bars, found.refused, found.outside_session, self.source, self.reason, ends=self.ends)
        finally:
            with self._lock:
                self._under_way -= 1

    def fetch_splits(self, symbol: str) -> tuple[Split, ...]:
        self._facts(symbol, "splits")
        return tuple(split for split in self.splits if split.symbol == symbol)

    def fetch_dividends(self, symbol: str) -> tuple[Dividend, ...]:
        self._facts(symbol, "dividends")
        return tuple(dividend for dividend in self.dividends if dividend.symbol == symbol)

    def _facts(self, symbol: str, kind: str) -> None:
        with self._lock:
            self.asked_facts.append((symbol, kind))
        if kind in self.fail_facts:
            raise self.fail_facts[kind]

    def earliest(self, timeframe: Timeframe, today: date) -> date | None:
        return self.begins

    def catalogue(self) -> tuple[Listing, ...]:
        return ()
