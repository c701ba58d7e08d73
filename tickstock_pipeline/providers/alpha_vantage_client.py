"""Alpha Vantage's HTTP interface: one question, its answer or the error that it stands for.

Everything is answered with status 200 and JSON, refusals included, so what an answer is must be read from its text.
What the rows of a good answer mean is :mod:`tickstock_pipeline.providers.alpha_vantage`.

The key is a parameter of the URL, and URLs are logged by ``httpx``, kept by its exceptions and shown by their
tracebacks. So the client works with URLs without it, and the transport adds it to what goes over the wire; where an
answer repeats the key, which notices of a spent quota do, it is struck out.
"""

import json
import re
import time
import weakref
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
from pydantic import SecretStr

from tickstock_pipeline.errors import (
    ProviderAnswerError,
    ProviderError,
    ProviderRefusedError,
    ProviderUnavailableError,
    RateLimitedError,
    UnknownSymbolError,
)
from tickstock_pipeline.market.calendar import EXCHANGE_ZONE
from tickstock_pipeline.providers.excerpts import excerpt
from tickstock_pipeline.providers.limits import RequestBudget
from tickstock_pipeline.providers.proxies import environment_proxy
from tickstock_pipeline.providers.retries import call_with_retries, may_pass, retry_after_seconds

_NOTICES = ("Error Message", "Note", "Information")
# What a notice says of a quota, and after how many seconds to ask again; None: at midnight. The first that is found
# counts: the notice of a burst names the quota of the day too, and an old one that of the minute and of the day.
_QUOTAS: tuple[tuple[re.Pattern[str], float | None], ...] = (
    (re.compile(r"\b(per|a) second\b|sparingly", re.IGNORECASE), 2.0),
    (re.compile(r"\b(per|a) minute\b", re.IGNORECASE), 60.0),
    (re.compile(r"\b(per|a) day\b|daily rate limit", re.IGNORECASE), None),
)
_LONGEST_EXCERPT = 300
# All days of a symbol are 2 MB. A request may take longer than the longest silence, as long as something comes.
_LARGEST_BODY = 64 * 2**20
_DEADLINE_IN_TIMEOUTS = 4
_PLAN_ADVICE = (
    "Raise the plan at https://www.alphavantage.co/premium/, or name another provider behind this one in "
    "TICKSTOCK_PROVIDER."
)
_KEY_ADVICE = "Set TICKSTOCK_ALPHA_VANTAGE_API_KEY to a key from https://www.alphavantage.co/support/#api-key."


class AlphaVantageClient:
    """Asks Alpha Vantage; may be used by several threads.

    Parameters
    ----------
    base_url : without a slash at its end
    api_key : never shown
    budget : asked before each request
    timeout : seconds of silence after which a request has failed
    now : the time in UTC
    """

    def __init__(
        self, base_url: str, api_key: SecretStr, budget: RequestBudget, timeout: float, now: Callable[[], datetime]
    ) -> None:
        self._key = api_key
        self._budget = budget
        self._now = now
        self._deadline = timeout * _DEADLINE_IN_TIMEOUTS
        self._http = httpx.Client(base_url=base_url, timeout=timeout, transport=_AddingKey(api_key, base_url))
        self._refused: dict[str, date] = {}
        # a client that nobody closes leaves its connection to the garbage collector, which complains
        weakref.finalize(self, self._http.close)

    def ask(self, symbol: str, function: str, *, feature: str = "", **parameters: str) -> dict[str, Any]:
        """The answer to one question about one symbol.

        Parameters
        ----------
        symbol : our spelling
        function : Alpha Vantage's name of it
        feature : what the account's plan may lack; once refused it is not asked for again on that day, since a
            refusal counts as a request
        parameters : of the URL

        Raises
        ------
        ProviderError
            See :class:`~tickstock_pipeline.providers.base.HistoricalProvider`; what a retry may mend was retried.
        """
        today = self._now().astimezone(EXCHANGE_ZONE).date()
        if feature and self._refused.get(feature) == today:
            raise _lacking(feature)
        query = {"function": function, "symbol": spelled(symbol), **parameters}
        try:
            return call_with_retries(
                f"alpha_vantage, {function} of {symbol}", lambda: self._attempt(symbol, function, feature, query)
            )
        except _PlanLacksError:
            self._refused[feature] = today
            raise _lacking(feature or function) from None

    def _attempt(self, symbol: str, function: str, feature: str, query: dict[str, str]) -> dict[str, Any]:
        self._budget.acquire()
        try:
            response, body = self._get(query)
        except (httpx.HTTPError, TimeoutError) as error:
            raise ProviderUnavailableError(
                f"Provider alpha_vantage gave no whole answer for {symbol} ({type(error).__name__}).",
                advice="Check the network and TICKSTOCK_ALPHA_VANTAGE_URL, then import again.",
            ) from error
        self._check_status(symbol, response)
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            raise untrusted(symbol, "is not JSON") from None
        if not isinstance(answer, dict) or not answer:
            raise untrusted(symbol, "is empty")
        for name in _NOTICES:
            if name in answer:
                raise self._notice(symbol, function, str(answer[name]))
        return answer

    def _get(self, query: dict[str, str]) -> tuple[httpx.Response, bytes]:
        """The answer and its body, of which no more is read than anybody would ask for, nor for longer."""
        deadline = time.monotonic() + self._deadline
        body = bytearray()
        with self._http.stream("GET", "/query", params=query) as response:
            for chunk in response.iter_bytes():
                body += chunk
                if time.monotonic() > deadline or len(body) > _LARGEST_BODY:
                    raise TimeoutError
        return response, bytes(body)

    def _check_status(self, symbol: str, response: httpx.Response) -> None:
        status = response.status_code
        if status == 429:
            raise self._rate_limited(symbol, retry_after_seconds(response.headers))
        if status in (401, 403):
            raise ProviderRefusedError(
                f"Provider alpha_vantage refuses to answer for {symbol} (HTTP {status}).", advice=_KEY_ADVICE
            )
        if may_pass(status):
            raise ProviderUnavailableError(
                f"Provider alpha_vantage cannot answer for {symbol} at the moment (HTTP {status}).",
                retry_after_seconds=retry_after_seconds(response.headers),
                advice="Import again later.",
            )
        if status != 200:
            raise untrusted(symbol, f"has the status {status}")

    def _notice(self, symbol: str, function: str, text: str) -> ProviderError:
        """The error that a notice stands for. Notices of a quota name the premium plans too, so they come first."""
        for pattern, seconds in _QUOTAS:
            if pattern.search(text):
                return self._rate_limited(symbol, self._seconds_to_midnight() if seconds is None else seconds)
        if re.search("premium", text, re.IGNORECASE):
            return _PlanLacksError(f"Provider alpha_vantage: the account's plan does not have {function}.")
        if re.search("api ?key", text, re.IGNORECASE):
            return ProviderRefusedError("Provider alpha_vantage refuses the API key.", advice=_KEY_ADVICE)
        if re.search("invalid api call", text, re.IGNORECASE):
            return UnknownSymbolError(
                f"Provider alpha_vantage has no symbol {symbol!r}.", advice="It may be misspelt, renamed or delisted."
            )
        said = excerpt(self._without_key(text), _LONGEST_EXCERPT)
        return untrusted(symbol, f"is a notice that is not known: {said}")

    def _rate_limited(self, symbol: str, seconds: float | None) -> RateLimitedError:
        self._budget.penalise(seconds)
        return RateLimitedError(
            f"Provider alpha_vantage refuses {symbol} for now: the account's quota of requests is spent.",
            retry_after_seconds=seconds,
            advice="Set TICKSTOCK_ALPHA_VANTAGE_CALLS_PER_MINUTE and _PER_DAY to what the account's plan allows, or "
            "name another provider behind this one in TICKSTOCK_PROVIDER.",
        )

    def _seconds_to_midnight(self) -> float:
        now = self._now().astimezone(EXCHANGE_ZONE)
        # as an instant, since the day on which the clock changes has 23 or 25 hours
        midnight = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), EXCHANGE_ZONE)
        return (midnight.astimezone(UTC) - now.astimezone(UTC)).total_seconds()

    def _without_key(self, text: str) -> str:
        key = self._key.get_secret_value()
        return re.sub(re.escape(key), "***", text, flags=re.IGNORECASE) if key else text


class _AddingKey(httpx.BaseTransport):
    """Sends each request with the key in its URL; the request that the client knows has none."""

    def __init__(self, api_key: SecretStr, base_url: str) -> None:
        self._key = api_key
        # no retries of its own
        self._wire = httpx.HTTPTransport(proxy=environment_proxy(base_url))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._wire.handle_request(
            httpx.Request(
                request.method,
                request.url.copy_merge_params({"apikey": self._key.get_secret_value()}),
                headers=request.headers,
                extensions=request.extensions,
            )
        )

    def close(self) -> None:
        self._wire.close()


class _PlanLacksError(ProviderRefusedError):
    """The account's plan does not have what was asked for, whatever the symbol; never leaves this module."""


def spelled(symbol: str) -> str:
    """Alpha Vantage's spelling: classes of shares behind a hyphen, as a dot begins the name of a foreign exchange."""
    return symbol.replace(".", "-").replace("/", "-")


def untrusted(symbol: str, what: str) -> ProviderAnswerError:
    """The error for an answer that must not be used; ``what`` completes "the answer …"."""
    return ProviderAnswerError(
        f"Provider alpha_vantage's answer for {symbol} {what}.",
        advice="Import again later; if it stays so, use another provider for this symbol.",
    )


def _lacking(feature: str) -> ProviderRefusedError:
    return ProviderRefusedError(
        f"Provider alpha_vantage: the account's plan does not have {feature}, a premium feature.", advice=_PLAN_ADVICE
    )
