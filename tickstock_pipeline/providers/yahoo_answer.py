"""What Yahoo's chart API answered: the chart, the error that it stands for, or nothing that can be trusted.

Asking is :mod:`tickstock_pipeline.providers.yahoo_chart`. Rows are read by the library, splits and dividends here: the
library would move one that lies on a day without a row to the row before.
"""

import json
from datetime import UTC, date, datetime
from typing import Any

from curl_cffi import requests
from yfinance.exceptions import YFPricesMissingError

from tickstock_pipeline.errors import (
    ProviderAnswerError,
    ProviderError,
    ProviderRefusedError,
    ProviderUnavailableError,
    UnknownSymbolError,
)
from tickstock_pipeline.market.adjustment import Dividend, Split
from tickstock_pipeline.market.calendar import EXCHANGE_ZONE
from tickstock_pipeline.providers.corporate_actions import dividends_by_day, splits_by_day
from tickstock_pipeline.providers.excerpts import excerpt
from tickstock_pipeline.providers.retries import may_pass, retry_after_seconds

Splits = tuple[Split, ...]
Dividends = tuple[Dividend, ...]

_QUOTE_FIELDS = ("open", "high", "low", "close", "volume")
_TOO_MANY = frozenset({429, 999})


def is_too_many(response: requests.Response) -> bool:
    """Whether it says that it was asked too often."""
    return response.status_code in _TOO_MANY or response.text.startswith("Too Many Requests")


def retry_after_of(response: requests.Response) -> float | None:
    """How long it asks to wait, in seconds; None if it does not say."""
    return retry_after_seconds({name: value or "" for name, value in response.headers.items()})


def chart_of(
    symbol: str, spelled: str, interval: str, response: requests.Response
) -> tuple[dict[str, Any], Splits, Dividends]:
    """The chart that was asked for, without its splits and dividends, and these.

    Parameters
    ----------
    symbol, spelled : our spelling, for messages, and Yahoo's
    interval : that was asked for

    Raises
    ------
    YFPricesMissingError
        If there is nothing in the range; what the library raises as well where a chart is empty.
    ProviderError
        If the answer is an error, or no whole chart of what was asked for.
    """
    result = _result_of(symbol, spelled, response)
    _check(symbol, spelled, interval, result)
    splits, dividends = _events_of(symbol, result.pop("events", None) or {})
    return result, splits, dividends


def untrusted(symbol: str, what: str) -> ProviderAnswerError:
    """The error for an answer that must not be used; ``what`` completes "the answer …"."""
    return ProviderAnswerError(
        f"Provider yahoo's answer for {symbol} {what}.",
        advice="Import again later; if it stays so, use another provider for this symbol.",
    )


def _result_of(symbol: str, spelled: str, response: requests.Response) -> dict[str, Any]:
    status = response.status_code
    if may_pass(status) or "Will be right back" in response.text:
        raise ProviderUnavailableError(
            f"Provider yahoo cannot answer for {symbol} at the moment (HTTP {status}).",
            retry_after_seconds=retry_after_of(response),
            advice="Import again later.",
        )
    if status in (401, 403):
        raise ProviderRefusedError(
            f"Provider yahoo refuses to answer for {symbol} (HTTP {status}).",
            advice="Yahoo blocks some networks and countries; use another provider there.",
        )
    try:
        chart = json.loads(response.content)["chart"]
        failure, results = chart.get("error"), chart.get("result")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise untrusted(symbol, f"is no chart (HTTP {status})") from None
    if failure:
        raise _failure(symbol, spelled, failure)
    if status != 200 or not isinstance(results, list) or len(results) != 1 or not isinstance(results[0], dict):
        raise untrusted(symbol, f"holds no chart (HTTP {status})")
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
    return untrusted(symbol, f"is an error: {excerpt(f'{code} {description}')}")


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
            (value is None and column is not times) or type(value) in (int, float)
            for column in ([times, *(quote[field] for field in _QUOTE_FIELDS)] if times else [])
            for value in column
        )
    except (LookupError, TypeError, AttributeError):
        raise untrusted(symbol, "is no chart") from None
    if named.upper() != spelled:
        raise untrusted(symbol, f"is about {excerpt(named)!r}")
    if granularity != interval:
        raise untrusted(symbol, f"has rows of {excerpt(str(granularity))} where {interval} was asked for")
    if zone != EXCHANGE_ZONE.key:
        raise UnknownSymbolError(
            f"Provider yahoo has {symbol!r} on the clock of {excerpt(zone)}, not on New York's.",
            advice="Only symbols of exchanges in the USA can be imported.",
        )
    if lengths - {len(times)} or not is_numeric:
        raise untrusted(symbol, "is cut off or has something else than numbers in it")
    if not times:
        raise YFPricesMissingError(spelled, "")


def _events_of(symbol: str, events: Any) -> tuple[Splits, Dividends]:
    try:
        return (
            splits_by_day(
                symbol,
                [
                    (_date_of(item["date"]), item["numerator"] / item["denominator"])
                    for item in events.get("splits", {}).values()
                ],
            ),
            dividends_by_day(
                symbol,
                # the sum, unlike float(), takes no text for a number
                [(_date_of(item["date"]), item["amount"] + 0.0, "") for item in events.get("dividends", {}).values()],
            ),
        )
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, OSError):
        # a bar can be left out; a split that is left out makes every price before it wrong
        raise untrusted(symbol, "has a split or dividend that cannot be read") from None


def _date_of(unix: int) -> date:
    return datetime.fromtimestamp(unix, UTC).astimezone(EXCHANGE_ZONE).date()
