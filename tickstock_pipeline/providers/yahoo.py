"""Provider ``yahoo``: daily bars of all years and minutes of the last 30 days, without an account.

1. A symbol's whole daily history is one request. It answers for bars of any range, splits and dividends together, so
   the splits that are undone are those that the prices were adjusted by. It is kept for a minute, as bars and splits
   of a symbol are asked for one after the other.
2. Minutes come in requests of seven days. The splits to undo are those of the daily history.
3. Rows of a session, or minute, that had not ended when the request was sent are quotes, not bars, and are left out.

Reading the answers is :mod:`tickstock_pipeline.providers.yahoo_chart`, undoing Yahoo's adjustment
:mod:`tickstock_pipeline.providers.yahoo_adjustment`.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np

from tickstock_pipeline.errors import ProviderAnswerError, ProviderError
from tickstock_pipeline.market.adjustment import Dividend, Split, price_divisors
from tickstock_pipeline.market.bar import BoolArray, empty_bars
from tickstock_pipeline.market.calendar import EXCHANGE_ZONE, exchange_date, trading_calendar
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.base import FetchedBars, Listing, validated
from tickstock_pipeline.providers.limits import RequestBudget
from tickstock_pipeline.providers.yahoo_adjustment import (
    as_traded,
    unadjusted_split,
    undecided_split,
    volume_as_traded,
)
from tickstock_pipeline.providers.yahoo_chart import Chart, ChartClient

# Yahoo refuses 100
_YEARS_A_REQUEST = 98
_DAYS_OF_MINUTES = 29
_DAYS_A_REQUEST = 7
_KEPT_SECONDS = 60.0
_KEPT_SYMBOLS = 16


@dataclass(frozen=True, slots=True)
class _Asked:
    """A chart, and when it was asked for: what had not ended by then is not final."""

    at: datetime
    chart: Chart


class YahooProvider:
    """Daily bars and minutes from Yahoo's chart API.

    Parameters
    ----------
    base_url : of the chart API, without a slash at its end
    budget : asked before each request
    timeout : seconds for one request
    now : the time in UTC
    """

    name = "yahoo"
    timeframes = frozenset({Timeframe.MINUTE, Timeframe.DAILY})
    concurrency = 4

    def __init__(
        self,
        base_url: str,
        budget: RequestBudget,
        timeout: float,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = ChartClient(base_url, budget, timeout)
        self._now = now
        self._calendar = trading_calendar()
        self._kept: OrderedDict[str, _Asked] = OrderedDict()
        self._lock = threading.Lock()

    def earliest(self, timeframe: Timeframe, today: date) -> date | None:
        """Of minutes, 29 days ago: at the border of 30 days Yahoo refuses."""
        return today - timedelta(days=_DAYS_OF_MINUTES) if timeframe is Timeframe.MINUTE else None

    def fetch_bars(self, symbol: str, timeframe: Timeframe, first: date, last: date) -> FetchedBars:
        """See :meth:`HistoricalProvider.fetch_bars`."""
        if timeframe not in self.timeframes:
            raise ProviderError(
                f"Provider yahoo has no {timeframe.value} bars.",
                advice="Ask it for 1min or daily bars; the others are rolled up from them.",
            )
        history = self._history(symbol)
        pieces = [history] if timeframe is Timeframe.DAILY else self._minutes(symbol, first, last)
        if not pieces:
            return FetchedBars(empty_bars(symbol, timeframe))
        _check_adjusted(symbol, history, first)
        return self._bars(symbol, timeframe, pieces, history.chart.splits, first, last)

    def fetch_splits(self, symbol: str) -> tuple[Split, ...]:
        """See :meth:`HistoricalProvider.fetch_splits`. Yahoo lists a spin-off as a split of an odd ratio."""
        return self._history(symbol).chart.splits

    def fetch_dividends(self, symbol: str) -> tuple[Dividend, ...]:
        """See :meth:`HistoricalProvider.fetch_dividends`."""
        chart = self._history(symbol).chart
        days = np.array([dividend.ex_date for dividend in chart.dividends], "datetime64[D]")
        amounts = as_traded(
            np.array([dividend.amount for dividend in chart.dividends], np.float64), price_divisors(days, chart.splits)
        )
        return tuple(
            Dividend(symbol, dividend.ex_date, float(amount))
            for dividend, amount in zip(chart.dividends, amounts, strict=True)
        )

    def catalogue(self) -> tuple[Listing, ...]:
        """Yahoo has no list of its symbols."""
        return ()

    def _history(self, symbol: str) -> _Asked:
        """The symbol's whole daily chart, at most a minute old."""
        now = self._now()
        with self._lock:
            kept = self._kept.get(symbol)
        if kept is not None and (now - kept.at).total_seconds() <= _KEPT_SECONDS:
            return kept
        today = now.astimezone(EXCHANGE_ZONE).date()
        asked = _Asked(now, self._client.chart(symbol, "1d", date(today.year - _YEARS_A_REQUEST, 1, 1), today))
        with self._lock:
            self._kept[symbol] = asked
            self._kept.move_to_end(symbol)
            while len(self._kept) > _KEPT_SYMBOLS:
                self._kept.popitem(last=False)
        return asked

    def _minutes(self, symbol: str, first: date, last: date) -> list[_Asked]:
        today = self._now().astimezone(EXCHANGE_ZONE).date()
        day = max(first, today - timedelta(days=_DAYS_OF_MINUTES))
        last = min(last, today)
        pieces = []
        while day <= last:
            end = min(day + timedelta(days=_DAYS_A_REQUEST - 1), last)
            pieces.append(_Asked(self._now(), self._client.chart(symbol, "1m", day, end)))
            day = end + timedelta(days=1)
        return pieces

    def _bars(
        self,
        symbol: str,
        timeframe: Timeframe,
        pieces: list[_Asked],
        splits: tuple[Split, ...],
        first: date,
        last: date,
    ) -> FetchedBars:
        charts = [piece.chart for piece in pieces]
        time = np.concatenate([chart.time for chart in charts])
        open_, high, low, close, volume = (
            np.concatenate([getattr(chart, name) for chart in charts])
            for name in ("open", "high", "low", "close", "volume")
        )
        days = exchange_date(time) if timeframe.is_intraday else time.astype("datetime64[D]")
        split = unadjusted_split(days, open_, close, [split for split in splits if split.ex_date > first])
        if split is not None:
            raise _unadjusted(symbol, split)
        is_final = np.concatenate([self._is_final(timeframe, piece) for piece in pieces])
        # Yahoo sends a row without a price where nothing was traded
        is_empty = np.isnan(np.stack([open_, high, low, close])).all(axis=0)
        is_inside = (np.datetime64(first, "D") <= days) & (days <= np.datetime64(last, "D"))
        kept = np.flatnonzero(is_final & ~is_empty & is_inside)
        divisors = price_divisors(days[kept], splits)
        return validated(
            symbol,
            timeframe,
            time=time[kept],
            open_=as_traded(open_[kept], divisors),
            high=as_traded(high[kept], divisors),
            low=as_traded(low[kept], divisors),
            close=as_traded(close[kept], divisors),
            volume=volume_as_traded(volume[kept], divisors),
            calendar=self._calendar,
        )

    def _is_final(self, timeframe: Timeframe, piece: _Asked) -> BoolArray:
        """Which rows had ended when they were asked for."""
        time = piece.chart.time
        asked_at = np.datetime64(piece.at.astimezone(UTC).replace(tzinfo=None), "us")
        if timeframe is Timeframe.DAILY:
            return np.asarray(time.astype("datetime64[D]") <= self._calendar.last_closed(asked_at))
        is_final = np.asarray(time + np.timedelta64(1, "m") <= asked_at)
        # the last trade, where the library found no minute to merge it into
        is_final[-1:] &= time[-1:] == time[-1:].astype("datetime64[m]")
        return is_final


def _check_adjusted(symbol: str, history: _Asked, first: date) -> None:
    """Raise unless Yahoo has adjusted the prices from ``first`` on for each split that it lists."""
    chart = history.chart
    has_traded = ~np.isnan(chart.close)
    days = chart.time.astype("datetime64[D]")
    splits = [split for split in chart.splits if split.ex_date > first]
    split = unadjusted_split(days, chart.open, chart.close, splits)
    if split is not None:
        raise _unadjusted(symbol, split)
    split = undecided_split(days[has_traded], splits, history.at.astimezone(EXCHANGE_ZONE).date())
    if split is not None:
        raise ProviderAnswerError(
            f"Provider yahoo lists a split of {symbol} on {split.ex_date} ({split.ratio:g} for 1) and no trade since, "
            "so it cannot be told whether it has adjusted the prices before it.",
            advice="Import again once the symbol has traded, or use another provider for it.",
        )


def _unadjusted(symbol: str, split: Split) -> ProviderAnswerError:
    return ProviderAnswerError(
        f"Provider yahoo lists a split of {symbol} on {split.ex_date} ({split.ratio:g} for 1) and has not adjusted the "
        "prices before it.",
        advice="Yahoo does so within days; import again then, or use another provider for this symbol.",
    )
