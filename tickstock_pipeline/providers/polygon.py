"""Provider ``polygon``: raw daily bars and minutes, splits and dividends from Polygon, now called Massive.

1. Bars are asked for as traded, a day or a minute each, oldest first, in as large pages as there are. An answer says
   what it is about: symbol, count, adjusted or not. If one thing is not as asked, all of it is refused.
2. The rows become arrays straight from the JSON; with the client's own object for each bar it takes twice as long.
3. A symbol without bars and an unknown symbol are the same answer; the list of tickers tells them apart.
4. The free plan has the bars of a day once it is over; until then a range that ends today is asked for up to yesterday.
5. Splits and dividends that are announced and have not happened yet are left out: they must not adjust anything.

Requests and refusals are :mod:`tickstock_pipeline.providers.polygon_client`, rows
:mod:`tickstock_pipeline.providers.polygon_rows`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import quote

import numpy as np
from pydantic import SecretStr

from tickstock_pipeline.errors import ProviderError, UnknownSymbolError
from tickstock_pipeline.market.adjustment import Dividend, Split
from tickstock_pipeline.market.bar import FloatArray, RefusedBar, empty_bars
from tickstock_pipeline.market.calendar import exchange_date, trading_calendar
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.base import FetchedBars, Listing, validated
from tickstock_pipeline.providers.corporate_actions import dividends_by_day, splits_by_day
from tickstock_pipeline.providers.limits import RequestBudget
from tickstock_pipeline.providers.polygon_client import PolygonClient, TooSoonError, unknown_symbol, untrusted
from tickstock_pipeline.providers.polygon_rows import check_range, numbers, results, times

_TIMESPANS = {Timeframe.MINUTE: "minute", Timeframe.DAILY: "day"}
_LARGEST_PAGE = 50_000
_LARGEST_REFERENCE_PAGE = 1_000

# What plans include: https://massive.com/pricing. The free one allows 5 requests a minute, the others any number.
_FIRST_DAY = date(2003, 9, 10)
_FREE_YEARS = 2
_FREE_CALLS_PER_MINUTE = 5

_CONCURRENCY = 8
_CONCURRENCY_UNDER_A_LIMIT = 2


class PolygonProvider:
    """Daily bars and minutes from Polygon.

    Parameters
    ----------
    base_url : without a slash at its end
    api_key : of the account
    budget : asked before each request
    timeout : seconds of silence after which a request has failed
    now : the time in UTC
    """

    name = "polygon"
    timeframes = frozenset(_TIMESPANS)

    def __init__(
        self,
        base_url: str,
        api_key: SecretStr,
        budget: RequestBudget,
        timeout: float,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._budget = budget
        self._client = PolygonClient(base_url, api_key, budget, timeout, self.concurrency)
        self._now = now
        self._calendar = trading_calendar()
        self._known: set[str] = set()
        # the last day of which this plan has had nothing on the day itself
        self._too_soon: date | None = None

    @property
    def concurrency(self) -> int:
        """Few where each has to wait for its turn anyway."""
        return _CONCURRENCY_UNDER_A_LIMIT if self._budget.is_limited else _CONCURRENCY

    def earliest(self, timeframe: Timeframe, today: date) -> date | None:
        """Two years back on the free plan, which its limit shows; else the beginning of Polygon's history.

        Another server than Polygon's own has whatever it has.
        """
        if not self._client.is_official:
            return None
        per_minute = self._budget.per_minute
        if per_minute is None or per_minute > _FREE_CALLS_PER_MINUTE:
            return _FIRST_DAY
        is_leap_day = (today.month, today.day) == (2, 29)
        return today.replace(year=today.year - _FREE_YEARS, day=28 if is_leap_day else today.day)

    def fetch_bars(self, symbol: str, timeframe: Timeframe, first: date, last: date) -> FetchedBars:
        """See :meth:`HistoricalProvider.fetch_bars`."""
        timespan = _TIMESPANS.get(timeframe)
        if timespan is None:
            raise ProviderError(
                f"Provider polygon has no {timeframe.value} bars here.",
                advice="Ask it for 1min or daily bars; the others are rolled up from them.",
            )
        # a question about the future is refused as one that the plan does not include
        today = self._today()
        last = min(last, today)
        if last == today and self._too_soon != today:
            try:
                return self._fetch(symbol, timeframe, timespan, first, last)
            except TooSoonError:
                self._too_soon = today
        if last < today:
            return self._fetch(symbol, timeframe, timespan, first, last)
        yesterday = today - timedelta(days=1)
        return replace(
            self._fetch(symbol, timeframe, timespan, first, yesterday),
            ends=yesterday,
            reason=f"the account's plan at polygon has the bars of {today} once it is over in New York",
        )

    def _fetch(self, symbol: str, timeframe: Timeframe, timespan: str, first: date, last: date) -> FetchedBars:
        # a range without a session is not worth a request
        if not len(self._calendar.sessions(first, last)):
            return FetchedBars(empty_bars(symbol, timeframe))
        ticker = spelled(symbol)
        what = f"{timeframe.value} bars of {symbol}"
        pages = self._client.pages(
            what,
            symbol,
            lambda rest: rest.list_aggs(
                quote(ticker, safe=""),
                1,
                timespan,
                first,
                last,
                adjusted=False,
                sort="asc",
                limit=_LARGEST_PAGE,
                raw=True,
            ),
        )
        columns: list[FloatArray] = []
        unreadable: list[RefusedBar] = []
        newest = -math.inf
        for page in pages:
            rows, broken = numbers(results(what, ticker, page), symbol, timeframe)
            columns.append(rows)
            unreadable += broken
            moment = float(np.nanmax(rows[0], initial=-math.inf))
            if rows.shape[1] and moment <= newest:
                raise untrusted(what, "a page does not go on from the one before it")
            newest = max(newest, moment)
        milliseconds, open_, high, low, close, volume = np.concatenate(columns, axis=1)
        time = times(timeframe, milliseconds)
        check_range(what, timeframe, time, first, last)
        if len(time) or unreadable:
            self._known.add(symbol)
        else:
            self._check_known(symbol)
        return validated(
            symbol,
            timeframe,
            time=time,
            open_=open_,
            high=high,
            low=low,
            close=close,
            volume=volume,
            calendar=self._calendar,
            unreadable=unreadable,
        )

    def fetch_splits(self, symbol: str) -> tuple[Split, ...]:
        """See :meth:`HistoricalProvider.fetch_splits`."""
        what = f"splits of {symbol}"
        ticker = spelled(symbol)
        rows = self._reference_rows(
            what,
            symbol,
            lambda rest: rest.list_splits(
                ticker=ticker, order="asc", sort="execution_date", limit=_LARGEST_REFERENCE_PAGE, raw=True
            ),
        )
        try:
            splits = splits_by_day(
                symbol,
                [(date.fromisoformat(row["execution_date"]), row["split_to"] / row["split_from"]) for row in rows],
            )
        except (KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError):
            # a bar can be left out; a split that is left out makes every price before it wrong
            raise untrusted(what, "one of them has no date or no ratio") from None
        return tuple(split for split in splits if split.ex_date <= self._today())

    def fetch_dividends(self, symbol: str) -> tuple[Dividend, ...]:
        """See :meth:`HistoricalProvider.fetch_dividends`; those of one day are added up, other currencies left out."""
        what = f"dividends of {symbol}"
        ticker = spelled(symbol)
        rows = self._reference_rows(
            what,
            symbol,
            lambda rest: rest.list_dividends(
                ticker=ticker, order="asc", sort="ex_dividend_date", limit=_LARGEST_REFERENCE_PAGE, raw=True
            ),
        )
        try:
            dividends = dividends_by_day(
                symbol,
                [
                    (
                        date.fromisoformat(row["ex_dividend_date"]),
                        float(row["cash_amount"]),
                        str(row.get("dividend_type", "")),
                    )
                    for row in rows
                    if row.get("currency", "USD") == "USD"
                ],
            )
        except (KeyError, TypeError, ValueError, OverflowError):
            raise untrusted(what, "one of them has no date or no amount") from None
        return tuple(dividend for dividend in dividends if dividend.ex_date <= self._today())

    def catalogue(self) -> tuple[Listing, ...]:
        """Polygon lists ten thousands of symbols without the range that it has of each."""
        return ()

    def _reference_rows(self, what: str, symbol: str, endpoint: Callable[[Any], Any]) -> Sequence[Mapping[str, Any]]:
        ticker = spelled(symbol)
        rows: list[Mapping[str, Any]] = []
        for page in self._client.pages(what, symbol, endpoint):
            found = page.get("results")
            if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
                raise untrusted(what, "it holds no list")
            if any(row.get("ticker") != ticker for row in found):
                raise untrusted(what, "it is about another symbol")
            rows += found
        if rows:
            self._known.add(symbol)
        else:
            self._check_known(symbol)
        return rows

    def _check_known(self, symbol: str) -> None:
        if symbol in self._known:
            return
        ticker = spelled(symbol)
        what = f"the listing of {symbol}"
        try:
            self._client.ask(what, symbol, lambda rest: rest.get_ticker_details(quote(ticker, safe=""), raw=True))
        except UnknownSymbolError:
            # of those that trade no more, there is only the list
            delisted = self._client.ask(
                what, symbol, lambda rest: rest.list_tickers(ticker=ticker, market="stocks", active=False, raw=True)
            )
            if not delisted.get("results"):
                raise unknown_symbol(symbol) from None
        self._known.add(symbol)

    def _today(self) -> date:
        moment = np.array([self._now().astimezone(UTC).replace(tzinfo=None)], "datetime64[us]")
        return date.fromisoformat(str(exchange_date(moment)[0]))


def spelled(symbol: str) -> str:
    """A symbol as Polygon spells it: share classes with a dot."""
    return symbol.replace("/", ".").replace("-", ".")
