"""A universe that does not exist, of any size: the same symbols and bars for the same seed, for benchmarks."""

from datetime import date
from functools import lru_cache

import numpy as np

from tickstock_pipeline.errors import UnknownSymbolError
from tickstock_pipeline.market.adjustment import Dividend, Split
from tickstock_pipeline.market.bar import Bars, FloatArray, empty_bars
from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.base import Listing
from tickstock_pipeline.replay import eastern
from tickstock_pipeline.replay.source import between

_DAILY_VOLATILITY = 0.018
_GAP_VOLATILITY = 0.006
_SHADOW = 0.008


class SyntheticSource:
    """Daily bars of symbols ``SYN0001``, ``SYN0002`` … whose closes are random walks, in cents.

    Parameters
    ----------
    n_symbols : how many there are, > 0
    first, last : the span of each, both included
    seed : another one gives other bars
    """

    def __init__(self, n_symbols: int, first: date, last: date, *, seed: int = 0) -> None:
        if n_symbols < 1:
            raise ValueError(f"a universe has at least one symbol, not {n_symbols}")
        sessions = trading_calendar().sessions(first, last)
        if not len(sessions):
            raise ValueError(f"no session of the exchange between {first} and {last}")
        self._sessions = sessions
        self._seed = seed
        ends = eastern.as_date(sessions[0]), eastern.as_date(sessions[-1])
        self._listings = tuple(
            Listing(f"SYN{number:04d}", f"Synthetic company {number}", *ends) for number in range(1, n_symbols + 1)
        )
        self._numbers = {listing.symbol: number for number, listing in enumerate(self._listings, 1)}
        self._daily = lru_cache(maxsize=None)(self._made)

    def listings(self) -> tuple[Listing, ...]:
        """All symbols."""
        return self._listings

    def bars(self, symbol: str, timeframe: Timeframe, first: date, last: date) -> Bars:
        """See :meth:`BarSource.bars`."""
        if symbol not in self._numbers:
            raise UnknownSymbolError(f"The synthetic universe has no symbol {symbol!r}.")
        return (
            between(self._daily(symbol), first, last) if timeframe is Timeframe.DAILY else empty_bars(symbol, timeframe)
        )

    def splits(self, symbol: str) -> tuple[Split, ...]:
        """None."""
        return ()

    def dividends(self, symbol: str) -> tuple[Dividend, ...]:
        """None."""
        return ()

    def _made(self, symbol: str) -> Bars:
        draw = np.random.default_rng([self._seed, self._numbers[symbol]])
        n = len(self._sessions)
        close = draw.uniform(20, 400) * np.exp(np.cumsum(draw.normal(0.0002, _DAILY_VOLATILITY, n)))
        open_ = np.concatenate((close[:1], close[:-1])) * np.exp(draw.normal(0.0, _GAP_VOLATILITY, n))
        shadows = np.abs(draw.normal(0.0, _SHADOW, (2, n)))
        high = np.maximum(open_, close) * (1.0 + shadows[0])
        low = np.minimum(open_, close) / (1.0 + shadows[1])
        volume = np.rint(draw.uniform(5e5, 2e7) * np.exp(draw.normal(0.0, 0.35, n))).astype(np.int64)
        return Bars(
            symbol,
            Timeframe.DAILY,
            self._sessions.astype("datetime64[us]"),
            _in_cents(open_),
            _in_cents(high),
            _in_cents(low),
            _in_cents(close),
            volume,
        )


def _in_cents(price: FloatArray) -> FloatArray:
    cents: FloatArray = np.maximum(np.rint(price * 100), 1.0) / 100
    return cents
