"""Where the bars that the replay server gives out come from.

A source has daily bars, minutes or both, as traded. What clients see of them (adjusted, rolled up, minutes made from
days, cut off at the market's time) is decided in :mod:`tickstock_pipeline.replay.market`.
"""

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Protocol

import numpy as np

from tickstock_pipeline.errors import UnknownSymbolError
from tickstock_pipeline.market.adjustment import Dividend, Split
from tickstock_pipeline.market.bar import Bars, empty_bars
from tickstock_pipeline.market.calendar import exchange_date
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.base import HistoricalProvider, Listing
from tickstock_pipeline.providers.sample import SampleProvider


class BarSource(Protocol):
    """Bars as traded, with splits and dividends. Asked from several threads at once."""

    def listings(self) -> tuple[Listing, ...]:
        """The symbols, in a stable order."""
        ...

    def bars(self, symbol: str, timeframe: Timeframe, first: date, last: date) -> Bars:
        """Daily or 1min bars whose date on the exchange is from ``first`` to ``last``, both included.

        Empty where the source has none of that timeframe.

        Raises
        ------
        UnknownSymbolError
            If the symbol is not one of :meth:`listings`.
        """
        ...

    def splits(self, symbol: str) -> tuple[Split, ...]:
        """All splits, oldest first."""
        ...

    def dividends(self, symbol: str) -> tuple[Dividend, ...]:
        """All cash dividends, oldest first."""
        ...


class MemorySource:
    """Bars held in memory.

    Parameters
    ----------
    series : daily and 1min bars, each symbol and timeframe at most once
    splits, dividends : of any of the symbols, in any order
    names : company names; a symbol without one goes by its symbol
    """

    def __init__(
        self,
        series: Iterable[Bars],
        splits: Iterable[Split] = (),
        dividends: Iterable[Dividend] = (),
        names: Mapping[str, str] | None = None,
    ) -> None:
        self._series = {(bars.symbol, bars.timeframe): bars for bars in series}
        self._splits = sorted(splits, key=lambda split: split.ex_date)
        self._dividends = sorted(dividends, key=lambda dividend: dividend.ex_date)
        self._listings = self._listed(names or {})

    def listings(self) -> tuple[Listing, ...]:
        """The symbols, in the order of their series."""
        return self._listings

    def bars(self, symbol: str, timeframe: Timeframe, first: date, last: date) -> Bars:
        """See :meth:`BarSource.bars`."""
        if not any(symbol == known for known, _ in self._series):
            raise UnknownSymbolError(f"The replay server has no symbol {symbol!r}.")
        bars = self._series.get((symbol, timeframe))
        return empty_bars(symbol, timeframe) if bars is None else between(bars, first, last)

    def splits(self, symbol: str) -> tuple[Split, ...]:
        """See :meth:`BarSource.splits`."""
        return tuple(split for split in self._splits if split.symbol == symbol)

    def dividends(self, symbol: str) -> tuple[Dividend, ...]:
        """See :meth:`BarSource.dividends`."""
        return tuple(dividend for dividend in self._dividends if dividend.symbol == symbol)

    def _listed(self, names: Mapping[str, str]) -> tuple[Listing, ...]:
        spans: dict[str, list[date]] = {}
        for (symbol, timeframe), bars in self._series.items():
            spans.setdefault(symbol, []).extend(dates_of(timeframe, bars.time[[0, -1]]) if len(bars) else [])
        return tuple(
            Listing(symbol, names.get(symbol, symbol), min(days), max(days)) for symbol, days in spans.items() if days
        )


class ProviderSource:
    """The daily bars of one of our providers.

    Parameters
    ----------
    provider : by default the sample, whose data ships in a package
    """

    def __init__(self, provider: HistoricalProvider | None = None) -> None:
        self._provider = SampleProvider() if provider is None else provider

    def listings(self) -> tuple[Listing, ...]:
        """The provider's catalogue."""
        return self._provider.catalogue()

    def bars(self, symbol: str, timeframe: Timeframe, first: date, last: date) -> Bars:
        """See :meth:`BarSource.bars`."""
        if timeframe not in self._provider.timeframes:
            return empty_bars(symbol, timeframe)
        return self._provider.fetch_bars(symbol, timeframe, first, last).bars

    def splits(self, symbol: str) -> tuple[Split, ...]:
        """See :meth:`BarSource.splits`."""
        return self._provider.fetch_splits(symbol)

    def dividends(self, symbol: str) -> tuple[Dividend, ...]:
        """See :meth:`BarSource.dividends`."""
        return self._provider.fetch_dividends(symbol)


def between(bars: Bars, first: date, last: date) -> Bars:
    """The bars whose date on the exchange is from ``first`` to ``last``, both included."""
    days = exchange_date(bars.time) if bars.timeframe.is_intraday else bars.time.astype("datetime64[D]")
    low = int(np.searchsorted(days, np.datetime64(first, "D")))
    high = int(np.searchsorted(days, np.datetime64(last, "D"), side="right"))
    return bars[low : max(low, high)]


def dates_of(timeframe: Timeframe, time: np.ndarray) -> list[date]:
    """The dates on the exchange of bars' times."""
    days = exchange_date(time) if timeframe.is_intraday else time.astype("datetime64[D]")
    return [day.item() for day in days]
