"""Minutes of a provider's history on their way into the feed: asked for in a thread, closed, as live bars.

For :mod:`gaps <tickstock_pipeline.streaming.feed.gaps>` and for a provider that
:mod:`stands in <tickstock_pipeline.streaming.feed.standby>`.
"""

import threading
from datetime import date, timedelta

import numpy as np

from tickstock_pipeline.errors import ProviderAnswerError, TickstockError
from tickstock_pipeline.live.bar import each_bar
from tickstock_pipeline.market.aggregation import closed
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.calendar import TradingCalendar, exchange_date
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.messaging.bar_event import LiveBar
from tickstock_pipeline.providers.base import HistoricalProvider
from tickstock_pipeline.providers.waiting import ended_by

_FAST_DAYS = timedelta(days=4)


class Minutes:
    """Asks one provider for minutes; for several threads.

    Parameters
    ----------
    provider : of minutes
    """

    def __init__(self, provider: HistoricalProvider, calendar: TradingCalendar) -> None:
        self._provider = provider
        self._calendar = calendar
        self._is_over = threading.Event()

    @property
    def concurrency(self) -> int:
        """How many threads may ask at once."""
        return self._provider.concurrency

    def since(self, symbol: str, since: np.datetime64, now: np.datetime64) -> tuple[Bars, str]:
        """The closed minutes of a symbol, and whose they are.

        Parameters
        ----------
        since : the first one, UTC
        now : the market's time, UTC

        Raises
        ------
        ProviderError
            If there is no answer, or none that can be used; also where a library fails over it.
        WaitEndedError
            If nobody wants it any more.
        """
        first, last = days_of_gap(since, now)
        try:
            with ended_by(self._is_over):
                fetched = self._provider.fetch_bars(symbol, Timeframe.MINUTE, first, last)
        except TickstockError:
            raise
        except Exception as error:
            # a library that stumbles over one answer must not end the feed, which has other symbols and other sources
            raise ProviderAnswerError(
                f"{self._provider.name}: the minutes of {symbol} cannot be read ({type(error).__name__}: {error}).",
                advice="They are asked for again. If it stays so, name another provider in TICKSTOCK_PROVIDER or "
                "TICKSTOCK_LIVE_STAND_IN.",
            ) from error
        bars = closed(fetched.bars, self._calendar, np.datetime64("now", "us")).since(since)
        return bars, fetched.source or self._provider.name

    def end(self) -> None:
        """Nobody wants an answer any more: whoever waits for a turn to ask is told so."""
        self._is_over.set()


def live_bars(bars: Bars, source: str, quality: str) -> list[LiveBar]:
    """Bars of a provider's history as live ones."""
    return [
        LiveBar(
            bars.symbol,
            bars.timeframe,
            *(bar.time, bar.open, bar.high, bar.low, bar.close, float(bar.volume)),
            source=source,
            quality=quality,
        )
        for bar in each_bar(bars)
    ]


def days_of_gap(since: np.datetime64, now: np.datetime64) -> tuple[date, date]:
    """The first and last date to ask for.

    A market that is played again faster than it happened may have gone on by days while nothing was heard of it.
    """
    first = day_of(since)
    last = min(day_of(now) + _FAST_DAYS, day_of(np.datetime64("now", "us")))
    return first, max(first, last)


def day_of(moment: np.datetime64) -> date:
    """The date on the exchange's clock of an instant (UTC)."""
    return date.fromisoformat(str(exchange_date(np.asarray(moment, "datetime64[us]"))))
