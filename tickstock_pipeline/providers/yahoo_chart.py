"""Yahoo's chart API through ``yfinance``: one request, its answer checked, its rows as arrays.

What the prices mean is :mod:`tickstock_pipeline.providers.yahoo`; nothing is undone or stored here.

1. ``yfinance.scrapers.history.PriceHistory``, which ``yfinance.Ticker.history`` hands everything to, builds the
   request and reads the rows: it merges the quote of the running session, which Yahoo appends as a row of its own,
   into its day, and drops rows that belong to another range.
2. It asks an object of ours for the answer, where ``yfinance`` has ``YfData``. So the base URL, the timeout, the
   request budget and the retries are ours, and what ``YfData`` adds is left out: one session for the whole process,
   two requests for a cookie that charts do not need, another for the time zone, a second request after every error,
   a cache that answers the same question from memory for ever, and databases in the user's home.
3. Only a complete answer to the question asked is handed on. Splits and dividends are read from it beside the rows:
   the library would move one that lies on a day without a row to the row before.

Yahoo answers programs that do not look like a browser with 429, hence ``curl_cffi``, as in ``yfinance`` itself.
"""

import json
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
from curl_cffi import requests
from yfinance import utils
from yfinance.config import YfConfig
from yfinance.exceptions import YFException, YFPricesMissingError
from yfinance.scrapers.history import PriceHistory

from tickstock_pipeline.errors import (
    ProviderAnswerError,
    ProviderError,
    ProviderRefusedError,
    ProviderUnavailableError,
    RateLimitedError,
    UnknownSymbolError,
)
from tickstock_pipeline.market.adjustment import Dividend, Split
from tickstock_pipeline.market.bar import FloatArray, TimeArray
from tickstock_pipeline.providers.limits import RequestBudget
from tickstock_pipeline.providers.retries import call_with_retries, retry_after_seconds

EXCHANGE_ZONE = "America/New_York"

_LIBRARY_URL = "https://query2.finance.yahoo.com"
_QUOTE_FIELDS = ("open", "high", "low", "close", "volume")
_COLUMNS = ("Open", "High", "Low", "Close", "Volume")
_TOO_MANY = frozenset({429, 999})
_LONGEST_EXCERPT = 200


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
    splits: tuple[Split, ...]
    dividends: tuple[Dividend, ...]


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
        history = PriceHistory(answer, spelled, EXCHANGE_ZONE, session=self._session)
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
            return _chart_of(symbol, rows, answer.events, is_daily=interval == "1d")
        except YFPricesMissingError:
            return _chart_of(symbol, utils.empty_df(), answer.events, is_daily=interval == "1d")
        except (YFException, LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise _untrusted(symbol, f"cannot be read ({type(error).__name__})") from error

    def request(self, symbol: str, url: str, params: dict[str, Any]) -> requests.Response:
        """Send one request and give the answer, whatever its status.

        Raises
        ------
        RateLimitedError
            If the budget is spent.
        ProviderUnavailableError
            If there is no whole answer.
        """
        self._budget.acquire()
        try:
            return self._session.request(
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

    def rate_limited(self, symbol: str, seconds: float | None) -> RateLimitedError:
        """The error for an answer that says "too many requests"; everybody on this account pauses."""
        self._budget.penalise(seconds)
        return RateLimitedError(
            f"Provider yahoo refuses {symbol} for now: too many requests.",
            retry_after_seconds=seconds,
            advice="Lower TICKSTOCK_YAHOO_CALLS_PER_MINUTE, or wait: Yahoo blocks an address for minutes to hours.",
        )


class _Answer:
    """What the library asks for an answer, and what it is given: ``YfData`` and its response in one."""

    def __init__(self, client: ChartClient, symbol: str, spelled: str, interval: str) -> None:
        self._client = client
        self._symbol = symbol
        self._spelled = spelled
        self._interval = interval
        self._payload: dict[str, Any] = {}
        self.text = ""
        self.events: dict[str, Any] = {}

    def get(self, url: str, params: dict[str, Any], timeout: float) -> "_Answer":
        response = self._client.request(self._symbol, url, params)
        if response.status_code in _TOO_MANY:
            raise self._client.rate_limited(
                self._symbol, retry_after_seconds({name: value or "" for name, value in response.headers.items()})
            )
        result = _result_of(self._symbol, self._spelled, response)
        _check(self._symbol, self._spelled, self._interval, result)
        self.events = {"events": result.pop("events", None) or {}}
        self._payload = {"chart": {"result": [result], "error": None}}
        return self

    # the library has a cache for ranges that lie in the past, but Yahoo corrects those as well
    cache_get = get

    def json(self) -> dict[str, Any]:
        return self._payload


def _result_of(symbol: str, spelled: str, response: requests.Response) -> dict[str, Any]:
    status = response.status_code
    if status >= 500 or "Will be right back" in response.text:
        raise ProviderUnavailableError(
            f"Provider yahoo cannot answer for {symbol} at the moment (HTTP {status}).", advice="Import again later."
        )
    if status in (401, 403):
        raise ProviderRefusedError(
            f"Provider yahoo refuses to answer for {symbol} (HTTP {status}).",
            advice="Yahoo blocks some networks and countries; use another provider there.",
        )
    try:
        chart = json.loads(response.content)["chart"]
        failure, results = chart.get("error"), chart.get("result")
    except (ValueError, LookupError, TypeError, AttributeError):
        raise _untrusted(symbol, f"is no chart (HTTP {status})") from None
    if failure:
        raise _failure(symbol, spelled, failure)
    if status != 200 or not isinstance(results, list) or len(results) != 1 or not isinstance(results[0], dict):
        raise _untrusted(symbol, f"holds no chart (HTTP {status})")
    result: dict[str, Any] = results[0]
    return result


def _failure(symbol: str, spelled: str, failure: Any) -> ProviderError | YFPricesMissingError:
    code, description = (
        (str(failure.get("code")), str(failure.get("description"))) if isinstance(failure, dict) else ("", str(failure))
    )
    if code == "Not Found":
        return UnknownSymbolError(
            f"Provider yahoo has no symbol {symbol!r}.", advice="It may be misspelt, renamed or delisted."
        )
    if "Data doesn't exist" in description or "must be within the last" in description:
        return YFPricesMissingError(spelled, "")
    return _untrusted(symbol, f"is an error: {code} {description}"[:_LONGEST_EXCERPT])


def _check(symbol: str, spelled: str, interval: str, result: dict[str, Any]) -> None:
    """Raise unless the result is a whole chart of what was asked for."""
    try:
        meta = result["meta"]
        named, zone = str(meta["symbol"]), str(meta["exchangeTimezoneName"])
        granularity = meta.get("dataGranularity", interval)
        times = result.get("timestamp") or []
        quote = result["indicators"]["quote"][0]
        lengths = {len(quote[field]) for field in _QUOTE_FIELDS} if times else set()
        is_numeric = all(
            value is None or (isinstance(value, int | float) and not isinstance(value, bool))
            for values in ([times] + [quote[field] for field in _QUOTE_FIELDS] if times else [])
            for value in values
        )
    except (LookupError, TypeError, AttributeError):
        raise _untrusted(symbol, "is no chart") from None
    if named.upper() != spelled:
        raise _untrusted(symbol, f"is about {named[:_LONGEST_EXCERPT]!r}")
    if granularity != interval:
        raise _untrusted(symbol, f"has rows of {str(granularity)[:_LONGEST_EXCERPT]} where {interval} was asked for")
    if zone != EXCHANGE_ZONE:
        raise UnknownSymbolError(
            f"Provider yahoo has {symbol!r} on the clock of {zone[:_LONGEST_EXCERPT]}, not on New York's.",
            advice="Only symbols of exchanges in the USA can be imported.",
        )
    if lengths - {len(times)} or not is_numeric:
        raise _untrusted(symbol, "is cut off or has something else than numbers in it")
    if not times:
        raise YFPricesMissingError(spelled, "")


def _chart_of(symbol: str, rows: Any, events: dict[str, Any], *, is_daily: bool) -> Chart:
    dividends, splits, _ = utils.parse_actions(events)
    index = rows.index
    if index.tz is not None:
        # a day is its date in New York
        index = index.tz_localize(None) if is_daily else index.tz_convert("UTC").tz_localize(None)
    open_, high, low, close, volume = (rows[column].to_numpy(np.float64) for column in _COLUMNS)
    return Chart(
        index.to_numpy().astype("datetime64[us]"),
        open_,
        high,
        low,
        close,
        volume,
        tuple(Split(symbol, day, float(ratio)) for day, ratio in _dated(splits, "Stock Splits")),
        tuple(Dividend(symbol, day, float(amount)) for day, amount in _dated(dividends, "Dividends")),
    )


def _dated(events: Any, column: str) -> list[tuple[date, float]]:
    days = events.index.tz_localize("UTC").tz_convert(EXCHANGE_ZONE).date
    return list(zip(days, events[column].tolist(), strict=True))


def _untrusted(symbol: str, what: str) -> ProviderAnswerError:
    return ProviderAnswerError(
        f"Provider yahoo's answer for {symbol} {what}.",
        advice="Import again later; if it stays so, use another provider for this symbol.",
    )
