"""Polygon's REST API through its own client: one request at a time, and what each failure means.

What is asked for, and what the answers hold, is :mod:`tickstock_pipeline.providers.polygon`.

The client names the endpoints and their parameters, signs and sends. Three things are done for it:

1. It raises a refusal as its body alone. A connection pool of ours keeps the status and the headers, which say when
   to come back. Its own retries are off.
2. It reads a body to the end however slowly it comes. Here a request has a deadline and an answer a greatest size.
3. It follows ``next_url`` wherever that leads, without a look at what has come so far. Here each page is a request of
   its own, to this endpoint of this server only.
"""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

import urllib3
from massive import RESTClient
from pydantic import SecretStr

from tickstock_pipeline.errors import (
    NotInPlanError,
    ProviderAnswerError,
    ProviderError,
    ProviderRefusedError,
    ProviderUnavailableError,
    RateLimitedError,
    UnknownSymbolError,
)
from tickstock_pipeline.providers.excerpts import excerpt
from tickstock_pipeline.providers.limits import RequestBudget
from tickstock_pipeline.providers.polygon_pool import (
    LARGEST_BODY,
    RefusalError,
    TooLargeError,
    body_of,
    status_keeping_pool,
)
from tickstock_pipeline.providers.proxies import environment_proxy
from tickstock_pipeline.providers.retries import call_with_retries, may_pass, retry_after_seconds

Endpoint = Callable[[RESTClient], urllib3.BaseHTTPResponse]
Page = Mapping[str, Any]

_MOST_PAGES = 1_000
# A request may take longer than the longest silence, as long as something comes.
_DEADLINE_IN_TIMEOUTS = 4

_ANSWERED = ("OK", "DELAYED")
# One API under its new and its old name: each gives links to the other.
_OFFICIAL_SERVERS = frozenset({"api.massive.com", "api.polygon.io"})
_TOO_SOON = re.compile(r"before end of day", re.IGNORECASE)
_SPENT = re.compile(r"maximum requests|rate limit|too many requests|quota", re.IGNORECASE)


class PolygonClient:
    """Sends requests to Polygon, page by page; may be used by several threads.

    Parameters
    ----------
    base_url : without a slash at its end
    api_key : of the account
    budget : asked before each request
    timeout : seconds of silence, or until a connection is made, after which a request has failed
    connections : kept open for so many threads
    """

    def __init__(
        self, base_url: str, api_key: SecretStr, budget: RequestBudget, timeout: float, connections: int
    ) -> None:
        self._base_url = base_url
        self._key = api_key
        self._budget = budget
        self._deadline = timeout * _DEADLINE_IN_TIMEOUTS
        self._rest = RESTClient(
            api_key=api_key.get_secret_value(),
            base=base_url,
            retries=0,
            connect_timeout=timeout,
            read_timeout=timeout,
            pagination=False,
        )
        self._rest.client = status_keeping_pool(
            environment_proxy(base_url),
            # certificates and what else the client sets
            **self._rest.client.connection_pool_kw
            | {
                "maxsize": connections,
                "retries": False,
                "timeout": urllib3.Timeout(connect=timeout, read=timeout),
            },
        )

    @property
    def is_official(self) -> bool:
        """Whether the server is Polygon's own, and not another one that speaks its language."""
        return urlsplit(self._base_url).hostname in _OFFICIAL_SERVERS

    def pages(self, what: str, symbol: str, endpoint: Endpoint) -> Iterator[Page]:
        """The answer's pages, each asked for when it is wanted.

        Parameters
        ----------
        what : what is asked for, for messages: ``daily bars of AAPL``
        symbol : whom it is about
        endpoint : calls the client's method with ``raw=True``

        Raises
        ------
        ProviderError
            As :class:`tickstock_pipeline.providers.base.HistoricalProvider` says.
        """
        seen: set[str] = set()
        page = self.ask(what, symbol, endpoint)
        asked_path = ""
        for _ in range(_MOST_PAGES):
            yield page
            next_url = page.get("next_url")
            if not next_url:
                return
            path = self._path_of(what, next_url)
            endpoint_path = _endpoint_of(path)
            if path in seen or (asked_path and endpoint_path != asked_path):
                break
            seen.add(path)
            asked_path = endpoint_path
            page = self.ask(what, symbol, self._following(path))
        raise untrusted(what, "its pages never end: the link to the next one leads back, or elsewhere")

    def ask(self, what: str, symbol: str, endpoint: Endpoint) -> Page:
        """One page, asked for again while that may help.

        Raises
        ------
        ProviderError
            As :meth:`pages`.
        """
        return call_with_retries(f"{what} from polygon", lambda: self._attempt(what, symbol, endpoint))

    def _attempt(self, what: str, symbol: str, endpoint: Endpoint) -> Page:
        self._budget.acquire()
        deadline = time.monotonic() + self._deadline
        try:
            response = endpoint(self._rest)
            body = body_of(response, deadline)
        except RefusalError as refusal:
            raise self._meaning_of(what, symbol, refusal.status, refusal.headers, refusal.body) from None
        except TooLargeError:
            raise untrusted(what, f"it is larger than {LARGEST_BODY >> 20} MiB") from None
        except urllib3.exceptions.DecodeError:
            raise untrusted(what, "it is not compressed as it says") from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise ProviderUnavailableError(
                f"polygon did not answer for {what}: {_reason(error)}.",
                advice=f"Check the connection to {self._base_url} and TICKSTOCK_POLYGON_URL.",
            ) from None
        return self._decoded(what, body)

    def _decoded(self, what: str, body: bytes) -> Page:
        page = _json_object(body)
        if page is None:
            raise untrusted(what, f"it is not JSON but begins with {self._shown(body)[:40]!r}")
        status = page.get("status")
        if status not in _ANSWERED:
            text = self._said(page)
            if _SPENT.search(text):
                raise self._rate_limited(what, None, text)
            raise untrusted(what, f"its status is {excerpt(repr(status))} {text}".rstrip())
        return page

    def _meaning_of(
        self, what: str, symbol: str, status: int, headers: Mapping[str, str], body: bytes
    ) -> ProviderError:
        page = _json_object(body) or {}
        said = self._said(page)
        if status == 401:
            return ProviderRefusedError(
                f"polygon refuses the API key: {said or status}.",
                advice="Check TICKSTOCK_POLYGON_API_KEY (or MASSIVE_API_KEY, POLYGON_API_KEY).",
            )
        if status == 403 and "status" not in page:
            # a plan's limit is told in Polygon's own words; what is taken for one is not asked for again
            return ProviderRefusedError(
                f"polygon's server refuses {what} and does not say why: {self._shown(body) or status}.",
                advice="A proxy or firewall on the way may do so; check it, and TICKSTOCK_POLYGON_URL.",
            )
        if status == 403 and _TOO_SOON.search(said):
            return TooSoonError(
                f"polygon refuses {what}: {said}.",
                advice="The account's plan has the bars of a day once it is over in New York. Import again then.",
            )
        if status == 403:
            return NotInPlanError(
                f"polygon refuses {what}: {said or status}.",
                advice="The account's plan may lack this symbol or this part of its history. Name another provider "
                "behind polygon in TICKSTOCK_PROVIDER to get it there.",
            )
        if status == 404 and "status" in page:
            return unknown_symbol(symbol)
        if status == 429:
            return self._rate_limited(what, retry_after_seconds(headers), said)
        if may_pass(status):
            return ProviderUnavailableError(
                f"polygon answers {status} for {what}: {said or 'no reason given'}.",
                retry_after_seconds=retry_after_seconds(headers),
                advice="Try again later.",
            )
        return untrusted(what, f"its HTTP status is {status} {said or self._shown(body)}".rstrip())

    def _rate_limited(self, what: str, retry_after: float | None, said: str) -> RateLimitedError:
        self._budget.penalise(retry_after)
        return RateLimitedError(
            f"polygon was asked too often when asked for {what}: {said or 429}.",
            retry_after_seconds=retry_after,
            advice="Set TICKSTOCK_POLYGON_CALLS_PER_MINUTE to what the account's plan allows.",
        )

    def _path_of(self, what: str, next_url: object) -> str:
        """Path and query of a link to the next page, below the base URL."""
        parts = urlsplit(next_url) if isinstance(next_url, str) else None
        base = urlsplit(self._base_url)
        if parts is None or not (parts.netloc == base.netloc or {parts.hostname, base.hostname} <= _OFFICIAL_SERVERS):
            raise untrusted(what, "the link to its next page leads to another server")
        path = parts.path.removeprefix(base.path)
        return f"{path}?{parts.query}" if parts.query else path

    def _following(self, path: str) -> Endpoint:
        return lambda rest: rest.client.request("GET", self._base_url + path, headers=rest.headers)

    def _said(self, page: Page) -> str:
        text = page.get("error") or page.get("message") or ""
        return self._shown(text.encode(errors="replace")).rstrip(".") if isinstance(text, str) else ""

    def _shown(self, body: bytes) -> str:
        """The beginning of a text that came from outside, in one line and without the key."""
        text = body[:1000].decode(errors="replace")
        text = re.sub(re.escape(self._key.get_secret_value()), "***", text, flags=re.IGNORECASE)
        return excerpt(text)


class TooSoonError(NotInPlanError):
    """The account's plan has the bars of the day, though not on the day itself."""


def untrusted(what: str, reason: str) -> ProviderAnswerError:
    """The error for an answer that must not be used, nor any part of it."""
    return ProviderAnswerError(
        f"polygon's answer for {what} cannot be trusted: {reason}.",
        advice="Try again later; nothing of it was stored.",
    )


def unknown_symbol(symbol: str) -> UnknownSymbolError:
    """The error for a symbol that is not listed."""
    return UnknownSymbolError(
        f"Provider polygon has no symbol {symbol!r}.", advice="Check its spelling, as in AAPL or BRK.B."
    )


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _endpoint_of(path: str) -> str:
    """The part of a path that stays the same from page to page: all but the bounds of a range."""
    return re.sub(r"(/range/[^/]+/[^/]+)/.*", r"\1", unquote(path.partition("?")[0]))


def _reason(error: Exception) -> str:
    if isinstance(error, urllib3.exceptions.TimeoutError | TimeoutError):
        return "it was silent for too long"
    if isinstance(error, urllib3.exceptions.ProtocolError | ConnectionError):
        return "the connection was cut"
    return f"no connection ({type(error).__name__})"
