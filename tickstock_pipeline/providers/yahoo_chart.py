"""Yahoo's chart API through ``yfinance``: one request, its answer checked, its rows as arrays.

What the prices mean is :mod:`tickstock_pipeline.providers.yahoo`; nothing is undone or stored here.

1. ``yfinance.scrapers.history.PriceHistory``, which ``yfinance.Ticker.history`` hands everything to, builds the
   request and reads the rows: it merges the quote of the running session, which Yahoo appends as a row of its own,
   into its day, and drops rows that belong to another range.
2. It asks an object of ours for the answer, where ``yfinance`` has ``YfData``. So the base URL, the timeout, the
   request budget and the retries are ours, and what ``YfData`` adds is left out: one session for the whole process,
   two requests for a cookie that charts do not need, another for the time zone, a second request after every error,
   a cache that answers the same question from memory for ever, and databases in the user's home.
3. Only a complete answer to the question asked is handed on (:mod:`tickstock_pipeline.providers.yahoo_answer`).

Yahoo answers programs that do not look like a browser with 429, hence ``curl_cffi``, as in ``yfinance`` itself.
"""

import warnings
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from curl_cffi import requests
from yfinance.config import YfConfig
from yfinance.exceptions import YFException, YFPricesMissingError
from yfinance.scrapers.history import PriceHistory

from tickstock_pipeline.errors import ProviderUnavailableError, RateLimitedError
from tickstock_pipeline.market.bar import FloatArray, TimeArray
from tickstock_pipeline.market.calendar import EXCHANGE_ZONE
from tickstock_pipeline.providers.limits import RequestBudget
from tickstock_pipeline.providers.retries import call_with_retries
from tickstock_pipeline.providers.yahoo_answer import (
    Dividends,
    Splits,
    chart_of,
    is_too_many,
    retry_after_of,
    untrusted,
)

_LIBRARY_URL = "https://query2.finance.yahoo.com"
_COLUMNS = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True, slots=True)
class Chart:
    """One answer, prices and amounts as Yahoo adjusted them.

    Attributes
    ----------
    time : (n_rows,) datetime64[us], UTC, ascending; of a daily chart, midnight of its date
    open, high, low, close, volume : (n_rows,) float64
    splits, dividends : those of the chart's range, oldest first
    """

    time: TimeArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray
    splits: Splits
    dividends: Dividends


class ChartClient:
    """Asks Yahoo's chart API; may be used by several threads.

    Parameters
    ----------
    base_url : without a slash at its end
    budget : asked before each request
    timeout : seconds for one request, from connecting to the last byte
    """

    def __init__(self, base_url: str, budget: RequestBudget, timeout: float) -> None:
        self._base_url = base_url
        self._budget = budget
        self._timeout = timeout
        # each thread gets a connection of its own from it
        self._session: requests.Session[requests.Response] = requests.Session(impersonate="chrome")
        # else the library logs what went wrong and gives an empty table
        YfConfig.debug.hide_exceptions = False
        # it asks to see what pandas will take away from it, which only its authors can change
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="yfinance")

    def chart(self, symbol: str, interval: str, first: date, last: date) -> Chart:
        """Rows and events from ``first`` to ``last``, both included, dates in New York.

        Parameters
        ----------
        symbol : our spelling
        interval : ``1d`` or ``1m``

        Raises
        ------
        ProviderError
            See :class:`~tickstock_pipeline.providers.base.HistoricalProvider`; what a retry may mend was retried.
        """
        return call_with_retries(
            f"yahoo, {interval} chart of {symbol}", lambda: self._ask(symbol, interval, first, last)
        )

    def _ask(self, symbol: str, interval: str, first: date, last: date) -> Chart:
        spelled = symbol.replace(".", "-").replace("/", "-")
        answer = _Answer(self, symbol, spelled, interval)
        history = PriceHistory(answer, spelled, EXCHANGE_ZONE.key, session=self._session)
        try:
            rows = history.history(
                interval=interval,
                start=first,
                # exclusive
                end=date.fromordinal(last.toordinal() + 1),
                prepost=False,
                auto_adjust=False,
                actions=False,
                repair=False,
                timeout=self._timeout,
            )
            columns = _columns(rows, is_daily=interval == "1d")
        except YFPricesMissingError:
            columns = {"time": np.empty(0, "datetime64[us]"), **{name: np.empty(0) for name in _COLUMNS}}
        except (YFException, LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise untrusted(symbol, f"cannot be read ({type(error).__name__})") from error
        return Chart(**columns, splits=answer.splits, dividends=answer.dividends)

    def request(self, symbol: str, url: str, params: dict[str, Any]) -> requests.Response:
        """Send one request and give the answer, whatever its status but "too many requests".

        Raises
        ------
        RateLimitedError
            If the budget is spent, or Yahoo says so.
        ProviderUnavailableError
            If there is no whole answer.
        """
        self._budget.acquire()
        try:
            response = self._session.request(
                "GET",
                self._base_url + url.removeprefix(_LIBRARY_URL),
                params=params,
                timeout=self._timeout,
                allow_redirects=False,
            )
        except requests.exceptions.RequestException as error:
            raise ProviderUnavailableError(
                f"Provider yahoo gave no whole answer for {symbol} ({type(error).__name__}).",
                advice="Check the network and TICKSTOCK_YAHOO_URL, then import again.",
            ) from error
        if is_too_many(response):
            seconds = retry_after_of(response)
            self._budget.penalise(seconds)
            raise RateLimitedError(
                f"Provider yahoo refuses {symbol} for now: too many requests.",
                retry_after_seconds=seconds,
                advice="Lower TICKSTOCK_YAHOO_CALLS_PER_MINUTE, or wait: Yahoo blocks an address for minutes to hours.",
            )
        return response


class _Answer:
    """What the library asks for an answer, and what it is given: ``YfData`` and its response in one."""

    def __init__(self, client: ChartClient, symbol: str, spelled: str, interval: str) -> None:
        self._client = client
        self._symbol = symbol
        self._spelled = spelled
        self._interval = interval
        self._payload: dict[str, Any] = {}
        self.text = ""
        self.splits: Splits = ()
        self.dividends: Dividends = ()

    def get(self, url: str, params: dict[str, Any], timeout: float) -> "_Answer":
        response = self._client.request(self._symbol, url, params)
        result, self.splits, self.dividends = chart_of(self._symbol, self._spelled, self._interval, response)
        self._payload = {"chart": {"result": [result], "error": None}}
        return self

    # the library has a cache for ranges that lie in the past, but Yahoo corrects those as well
    cache_get = get

    def json(self) -> dict[str, Any]:
        return self._payload


def _columns(rows: Any, *, is_daily: bool) -> dict[str, Any]:
    """Time, prices and volume of the library's table."""
    # a day is its date in New York
    index = rows.index.tz_localize(None) if is_daily else rows.index.tz_convert("UTC").tz_localize(None)
    numbers = {name: rows[name.capitalize()].to_numpy(np.float64) for name in _COLUMNS}
    return {"time": index.to_numpy().astype("datetime64[us]"), **numbers}
