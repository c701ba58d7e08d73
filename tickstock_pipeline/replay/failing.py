"""How each provider words its refusals: a spent quota, a wrong key, a plan that lacks something, an outage."""

import time
from http import HTTPStatus

from tickstock_pipeline.replay import alpha_vantage, polygon, yahoo
from tickstock_pipeline.replay.answer import HTML, Answer, json_answer
from tickstock_pipeline.replay.faults import Fault, FaultKind

POLYGON, ALPHA_VANTAGE, YAHOO = "polygon", "alpha_vantage", "yahoo"

_STATUSES = {
    FaultKind.TOO_MANY_REQUESTS: 429,
    FaultKind.UNAUTHORISED: 401,
    FaultKind.FORBIDDEN: 403,
    FaultKind.NOT_FOUND: 404,
    FaultKind.SERVER_ERROR: 500,
    FaultKind.BAD_GATEWAY: 502,
    FaultKind.UNAVAILABLE: 503,
}
_PAGE = b"<!DOCTYPE html><html><head><title>One moment</title></head><body><h1>One moment, please</h1></body></html>"


def failure(provider: str, fault: Fault) -> Answer | None:
    """The answer that a fault puts in the place of the real one; None where the real one is needed."""
    if fault.kind is FaultKind.HTML:
        return Answer(_PAGE, 200, HTML)
    if fault.kind is FaultKind.QUOTA_NOTICE:
        return _quota_notice(provider)
    if fault.kind not in _STATUSES:
        return None
    headers = {}
    if fault.retry_after is not None:
        headers["Retry-After"] = f"{fault.retry_after:g}"
    if fault.reset_after is not None:
        headers["X-RateLimit-Reset"] = str(round(time.time() + fault.reset_after))
    return _refusal(provider, _STATUSES[fault.kind], headers)


def over_limit(provider: str, wait: float) -> Answer:
    """The answer to a request that comes ``wait`` seconds before the quota allows it."""
    if provider == ALPHA_VANTAGE:
        return _quota_notice(provider)
    headers = {} if provider == YAHOO else {"X-RateLimit-Reset": str(round(time.time() + wait + 0.5))}
    return _refusal(provider, 429, headers)


def wrong_key(provider: str, is_missing: bool) -> Answer:
    """The answer to a key that is missing or not the right one."""
    if provider == ALPHA_VANTAGE:
        return alpha_vantage.error_message("the parameter apikey is invalid or missing")
    return polygon.unauthorised(is_missing)


def _quota_notice(provider: str) -> Answer:
    if provider == ALPHA_VANTAGE:
        text = "The quota of this API key is spent: its plan allows 5 calls a minute and 25 a day. Call less often."
        return json_answer({"Information": text})
    if provider == YAHOO:
        return Answer(b"Too Many Requests\r\n", 200)
    return json_answer(
        {"status": "ERROR", "request_id": polygon.request_id(), "error": "The quota of this API key is spent."}
    )


def _refusal(provider: str, status: int, headers: dict[str, str]) -> Answer:
    if provider == POLYGON:
        body = {
            401: {"status": "ERROR", "error": "Unknown API Key"},
            403: {"status": "NOT_AUTHORIZED", "message": "The plan of this API key does not include this data."},
            404: {"status": "NOT_FOUND", "message": "Ticker not found."},
            429: {"status": "ERROR", "error": "The requests of this minute are spent."},
        }.get(status)
        if body is not None:
            return json_answer({**body, "request_id": polygon.request_id()}, status, headers)
    elif provider == YAHOO:
        if status == 429:
            return Answer(yahoo.quota_spent().body, 429, HTML, headers)
        if status < 500:
            return yahoo.chart_error(status, HTTPStatus(status).phrase, "No data found, symbol may be delisted")
    phrase = HTTPStatus(status).phrase
    return Answer(f"<html><body><h1>{status} {phrase}</h1></body></html>".encode(), status, HTML, headers)
