"""The replay server's ASGI application: which URL is whose, and what happens to a request on its way.

1. It is recorded, and counted against the quota of its provider and key.
2. A request over the quota, or without the right key, is refused in its provider's words.
3. The fault plan is asked. Most faults take the place of the answer, some change its rows, some its transport.
4. The provider's module answers, in a thread of its own so that the stream never waits for it.
"""

import asyncio
import gzip
from collections.abc import Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from tickstock_pipeline.replay.alpha_vantage import AlphaVantage
from tickstock_pipeline.replay.answer import Answer, Question
from tickstock_pipeline.replay.failing import ALPHA_VANTAGE, POLYGON, YAHOO, failure, over_limit, wrong_key
from tickstock_pipeline.replay.faults import ANSWER_KINDS, FaultKind, FaultPlan
from tickstock_pipeline.replay.market import ReplayMarket
from tickstock_pipeline.replay.polygon import PolygonAggregates
from tickstock_pipeline.replay.polygon_reference import PolygonReference
from tickstock_pipeline.replay.request_log import Arrival, RequestLog
from tickstock_pipeline.replay.yahoo import Yahoo

Handler = Callable[[Question], Answer]
Cutter = Callable[[Scope], None]
"""Ends the connection that a request or socket came over, without a word to its client."""

_KEY_PARAMETERS = ("apikey", "apiKey")


class ReplayApplication:
    """What every endpoint needs.

    Parameters
    ----------
    market : what is served
    faults, requests : what goes wrong, and what has happened
    api_key : the only key that is accepted; None: any, but not none
    cut : see :data:`Cutter`
    """

    def __init__(
        self, market: ReplayMarket, faults: FaultPlan, requests: RequestLog, api_key: str | None, cut: Cutter
    ) -> None:
        self.market = market
        self.faults = faults
        self.requests = requests
        self.api_key = api_key
        self.cut = cut

    def routes(self) -> list[BaseRoute]:
        """The providers' URLs; they have none in common."""
        aggregates, reference = PolygonAggregates(self.market), PolygonReference(self.market)
        query, yahoo = AlphaVantage(self.market), Yahoo(self.market)
        endpoints: list[tuple[str, str, Handler]] = [
            ("/v2/aggs/ticker/{ticker}/range/{multiplier}/{timespan}/{from}/{to}", POLYGON, aggregates.aggregates),
            ("/v2/aggs/ticker/{ticker}/prev", POLYGON, aggregates.previous_close),
            ("/v1/marketstatus/now", POLYGON, aggregates.status_now),
            ("/v1/marketstatus/upcoming", POLYGON, aggregates.status_upcoming),
            ("/v3/reference/tickers", POLYGON, reference.tickers),
            ("/v3/reference/tickers/{ticker}", POLYGON, reference.ticker),
            ("/v3/reference/splits", POLYGON, reference.splits),
            ("/v3/reference/dividends", POLYGON, reference.dividends),
            ("/stocks/v1/splits", POLYGON, reference.stock_splits),
            ("/stocks/v1/dividends", POLYGON, reference.stock_dividends),
            ("/query", ALPHA_VANTAGE, query.query),
            ("/v8/finance/chart/{symbol}", YAHOO, yahoo.chart),
            ("/v1/test/getcrumb", YAHOO, yahoo.crumb),
            ("/v7/finance/quote", YAHOO, yahoo.nothing_known),
            ("/v10/finance/quoteSummary/{symbol}", YAHOO, yahoo.nothing_known),
            ("/ws/fundamentals-timeseries/v1/finance/timeseries/{symbol}", YAHOO, yahoo.nothing_known),
            ("/consent", YAHOO, yahoo.consent),
            ("/v2/collectConsent", YAHOO, yahoo.consent),
            ("/copyConsent", YAHOO, yahoo.consent),
            ("/", YAHOO, yahoo.cookie),
        ]
        return [Route(path, _Endpoint(self, provider, handler)) for path, provider, handler in endpoints]

    def starlette(self, *more: BaseRoute) -> Starlette:
        """The application, with further routes."""
        return Starlette(routes=[*self.routes(), *more])

    def is_accepted(self, key: str) -> bool:
        """Whether a key opens the door."""
        return bool(key) and (self.api_key is None or key == self.api_key)


class _Endpoint:
    def __init__(self, application: ReplayApplication, provider: str, handler: Handler) -> None:
        self._application = application
        self._provider = provider
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        application, provider = self._application, self._provider
        request = Request(scope)
        key = _key_of(request)
        query = {name: value for name, value in request.query_params.items() if name not in _KEY_PARAMETERS}
        names: Mapping[str, str] = scope.get("path_params", {})
        asked = names.get("ticker") or names.get("symbol") or query.get("symbol") or query.get("ticker") or ""
        listing = await run_in_threadpool(application.market.listing, asked) if asked else None
        symbol = asked if listing is None else listing.symbol
        path: str = scope["path"]
        arrival = application.requests.arrived(provider, key, path, query, symbol)
        if arrival.wait:
            await _send(over_limit(provider, arrival.wait), arrival, send)
            return
        if provider != YAHOO and not application.is_accepted(key):
            await _send(wrong_key(provider, not key), arrival, send)
            return
        fault = application.faults.choose(provider, path, symbol, ANSWER_KINDS)
        question = Question(path, query, names, str(request.base_url).rstrip("/"), symbol, key, fault)
        if fault is None:
            await _send(await run_in_threadpool(self._handler, question), arrival, send)
            return
        if fault.kind is FaultKind.HANG:
            arrival.answered(0, fault.kind)
            if await _is_gone(receive, fault.seconds):
                return
        answer = failure(provider, fault)
        if answer is None:
            answer = await run_in_threadpool(self._handler, question)
        if fault.kind is FaultKind.CUT:
            arrival.answered(0, fault.kind)
            await _send_half(answer, send)
            application.cut(scope)
            await _is_gone(receive, None)
            return
        if fault.kind is FaultKind.GZIP:
            headers = {**answer.headers, "Content-Encoding": "gzip"}
            answer = Answer(gzip.compress(answer.body, 1), answer.status, answer.content_type, headers)
        await _send(answer, arrival, send, fault.kind)


def _key_of(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return token
    return next((request.query_params[name] for name in _KEY_PARAMETERS if name in request.query_params), "")


async def _send(answer: Answer, arrival: Arrival, send: Send, fault: str = "") -> None:
    # noted before it is sent, so that a client which has the answer finds it in the log
    arrival.answered(answer.status, fault)
    await send({"type": "http.response.start", "status": answer.status, "headers": _headers(answer)})
    await send({"type": "http.response.body", "body": answer.body})


async def _send_half(answer: Answer, send: Send) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": _headers(answer)})
    await send({"type": "http.response.body", "body": answer.body[: len(answer.body) // 2], "more_body": True})


def _headers(answer: Answer) -> list[tuple[bytes, bytes]]:
    headers: dict[str, Any] = {
        "content-type": answer.content_type,
        "content-length": len(answer.body),
        **answer.headers,
    }
    return [(name.lower().encode(), str(value).encode()) for name, value in headers.items()]


async def _is_gone(receive: Receive, seconds: float | None) -> bool:
    """Wait for the client to leave, for so long at most."""
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return False
    return True
