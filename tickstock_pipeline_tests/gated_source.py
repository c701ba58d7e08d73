"""A source of a replay server that keeps those waiting who ask for certain symbols, as a slow provider would."""

import threading
from collections.abc import Iterable
from datetime import date

from tickstock_pipeline.market.adjustment import Dividend, Split
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.base import Listing
from tickstock_pipeline.replay.source import BarSource


class GatedSource:
    """Whoever asks for the bars of a symbol that is held waits until it is let go.

    Attributes
    ----------
    new_splits : what the source has learned since, beside the splits that it knew
    """

    def __init__(self, source: BarSource) -> None:
        self.new_splits: list[Split] = []
        self._source = source
        self._changed = threading.Condition()
        self._held: set[str] = set()
        self._asked: set[str] = set()

    def hold(self, symbols: Iterable[str]) -> None:
        """Have whoever asks for one of these wait; those that were held before are no longer."""
        self._held = set(symbols)

    def let_go(self, symbols: Iterable[str]) -> None:
        """Answer for these."""
        with self._changed:
            self._held -= set(symbols)
            self._changed.notify_all()

    def wait_until_asked_for(self, symbols: Iterable[str], seconds: float = 240) -> None:
        """Return once somebody has asked for one of these, ever."""
        with self._changed:
            assert self._changed.wait_for(lambda: not self._asked.isdisjoint(symbols), seconds)

    def listings(self) -> tuple[Listing, ...]:
        """See :meth:`BarSource.listings`."""
        return self._source.listings()

    def splits(self, symbol: str) -> tuple[Split, ...]:
        """See :meth:`BarSource.splits`."""
        return (*self._source.splits(symbol), *(split for split in self.new_splits if split.symbol == symbol))

    def dividends(self, symbol: str) -> tuple[Dividend, ...]:
        """See :meth:`BarSource.dividends`."""
        return self._source.dividends(symbol)

    def bars(self, symbol: str, timeframe: Timeframe, first: date, last: date) -> Bars:
        """See :meth:`BarSource.bars`; waits."""
        with self._changed:
            self._asked.add(symbol)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: symbol not in self._held, 600)
        return self._source.bars(symbol, timeframe, first, last)
