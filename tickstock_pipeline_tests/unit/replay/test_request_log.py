"""The record of requests, and the quota that goes with it."""

import time

import pytest

from tickstock_pipeline.replay.request_log import Arrival, RequestLog


def arrive(log: RequestLog, *, provider: str = "polygon", account: str = "key", symbol: str = "AAPL") -> Arrival:
    return log.arrived(provider, account, "/v2/aggs", {"limit": "5"}, symbol)


def test_requests_are_kept_in_order_with_what_became_of_them() -> None:
    log = RequestLog()
    arrive(log).answered(200)
    arrive(log, symbol="IBM").answered(403, "403")

    assert [(request.number, request.symbol, request.status, request.fault) for request in log.all()] == [
        (1, "AAPL", 200, ""),
        (2, "IBM", 403, "403"),
    ]
    assert log.all()[0].monotonic <= log.all()[1].monotonic
    assert log.count(symbol="IBM", status=403) == log.count(path="/v2/", symbol="IBM") == 1


def test_without_a_quota_every_request_is_welcome() -> None:
    log = RequestLog()

    assert [arrive(log).wait for _ in range(100)] == [0.0] * 100


def test_the_request_over_the_quota_is_told_how_long_to_wait() -> None:
    log = RequestLog(calls_per_minute=5)
    waits = [arrive(log).wait for _ in range(6)]

    assert waits[:5] == [0.0] * 5
    assert 59 < waits[5] <= 60
    assert log.violations == 1
    assert log.all()[-1].over_limit


def test_a_refused_request_uses_nothing_of_the_quota() -> None:
    log = RequestLog(calls_per_minute=1, window_seconds=0.2)
    arrive(log)
    started = time.monotonic()
    while arrive(log).wait:
        assert time.monotonic() - started < 5

    assert log.violations == len(log) - 2


def test_each_provider_and_account_has_a_quota_of_its_own() -> None:
    log = RequestLog(calls_per_minute=1)

    assert [arrive(log).wait, arrive(log, account="other").wait, arrive(log, provider="yahoo").wait] == [0.0] * 3


def test_a_day_has_a_quota_too() -> None:
    log = RequestLog(calls_per_day=2)
    waits = [arrive(log).wait for _ in range(3)]

    assert waits == [0.0, 0.0, pytest.approx(86_400, abs=5)]


def test_a_request_that_was_cleared_meanwhile_is_not_mixed_up_with_another() -> None:
    log = RequestLog()
    early = arrive(log)
    log.clear()
    arrive(log, symbol="IBM")
    early.answered(200)

    assert [(request.symbol, request.status) for request in log.all()] == [("IBM", 0)]


def test_old_requests_are_forgotten_but_counted() -> None:
    log = RequestLog(kept=2, calls_per_minute=1)
    first = arrive(log)
    for symbol in ("IBM", "MSFT", "FB"):
        arrive(log, symbol=symbol)
    first.answered(200)

    assert [request.symbol for request in log.all()] == ["MSFT", "FB"]
    assert (len(log), log.violations) == (4, 3)


def test_the_key_is_not_recorded() -> None:
    log = RequestLog()
    arrive(log, account="s3cret")

    assert "s3cret" not in str(log.as_json()) + repr(log.all())
