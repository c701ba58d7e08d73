"""Answers of Polygon that look good and are not are refused as a whole, and bad rows one by one."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from tickstock_pipeline.errors import ProviderAnswerError, ProviderError
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.polygon import PolygonProvider
from tickstock_pipeline.replay.server import ReplayServer
from tickstock_pipeline_tests.integration.providers.canned_server import Canned, CannedServer, CountingBudget, Request
from tickstock_pipeline_tests.integration.providers.polygon_answers import (
    AGGREGATES,
    KEY,
    SESSIONS_OF_2012,
    SUMMER_MIDNIGHT_MS,
    WINTER_MIDNIGHT_MS,
    YEAR,
    daily,
    on,
    page,
    row,
)


@pytest.mark.parametrize("kind", ["duplicates", "out-of-order", "fractional-volume", "gzip"])
def test_what_can_be_put_right_is(kind: str, polygon: PolygonProvider, server: ReplayServer) -> None:
    expected = daily(polygon)
    server.faults.add(kind, path=AGGREGATES)
    actual = daily(polygon)

    np.testing.assert_array_equal(actual.time, expected.time)
    np.testing.assert_array_equal(actual.close, expected.close)
    assert actual.volume.dtype == np.int64


def test_a_bar_that_breaks_a_rule_is_refused_and_the_others_are_kept(
    polygon: PolygonProvider, server: ReplayServer
) -> None:
    server.faults.add("bad-ohlc", path=AGGREGATES)
    fetched = polygon.fetch_bars("AAPL", Timeframe.DAILY, *YEAR)

    assert [refused.reason for refused in fetched.refused] == ["high is below low"]
    assert len(fetched.bars) == SESSIONS_OF_2012 - 1


LIES: dict[str, Callable[[], Any]] = {
    "another symbol": lambda: page(row(WINTER_MIDNIGHT_MS), ticker="MSFT"),
    "no symbol": lambda: {"status": "OK", "resultsCount": 0, "adjusted": False},
    "adjusted prices": lambda: page(row(WINTER_MIDNIGHT_MS), adjusted=True),
    "not a word about adjustment": lambda: page(row(WINTER_MIDNIGHT_MS), adjusted=None),
    "fewer rows than announced": lambda: page(row(WINTER_MIDNIGHT_MS), resultsCount=2),
    "rows announced and none there": lambda: page(resultsCount=2, results=None),
    "no count": lambda: page(row(WINTER_MIDNIGHT_MS), resultsCount=None),
    "another status": lambda: page(row(WINTER_MIDNIGHT_MS), status="ERROR", error="internal"),
    "no status": lambda: page(row(WINTER_MIDNIGHT_MS), status=None),
    "rows before the range": lambda: page(row(WINTER_MIDNIGHT_MS - 366 * 86_400_000)),
    "rows after the range": lambda: page(row(SUMMER_MIDNIGHT_MS + 365 * 86_400_000)),
    "rows that are no list": lambda: page(results={"t": 1}),
    "a list": lambda: [1, 2],
    "another server": lambda: page(row(WINTER_MIDNIGHT_MS), next_url="https://example.org/v2/aggs/ticker/AAPL"),
    "no link": lambda: page(row(WINTER_MIDNIGHT_MS), next_url=7),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_an_answer_that_is_not_what_was_asked_for_is_refused_as_a_whole(
    lie: Callable[[], Any], canned: CannedServer
) -> None:
    canned.answer = lambda request: Canned.of(lie())

    with pytest.raises(ProviderAnswerError, match="daily bars of AAPL") as raised:
        daily(on(canned))
    assert raised.value.advice
    assert len(canned.requests) == 1


@pytest.mark.parametrize(
    "body", [b"", b"null", b"{", b'{"status": "OK", "results": [', b"\xff\xfe\x00", b"[" * 100_000, b"<html></html>"]
)
def test_what_is_not_json_is_refused(body: bytes, canned: CannedServer) -> None:
    canned.answer = lambda request: Canned(body)

    with pytest.raises(ProviderAnswerError):
        daily(on(canned))


def test_a_body_that_is_not_compressed_as_it_says_is_refused(canned: CannedServer) -> None:
    canned.answer = lambda request: Canned(b"not gzip at all", headers={"Content-Encoding": "gzip"})

    with pytest.raises(ProviderAnswerError, match="compressed"):
        daily(on(canned))


@pytest.mark.parametrize("status", [301, 302, 400, 404, 418])
def test_other_statuses_are_no_answer_either_and_links_are_not_followed(status: int, canned: CannedServer) -> None:
    canned.answer = lambda request: Canned(b"<p>elsewhere</p>", status, {"Location": "/v2/aggs/elsewhere"})

    with pytest.raises(ProviderAnswerError, match=str(status)):
        daily(on(canned))
    assert len(canned.requests) == 1


def test_delayed_data_is_good(canned: CannedServer) -> None:
    canned.answer = lambda request: Canned.of(page(row(WINTER_MIDNIGHT_MS), status="DELAYED"))

    assert len(daily(on(canned))) == 1


def test_links_to_the_next_page_lead_to_the_same_endpoint_and_never_in_circles(canned: CannedServer) -> None:
    def endless(request: Request) -> Canned:
        n = int(request.query.get("cursor", "0"))
        path = f"/v2/aggs/ticker/AAPL/range/1/day/{n}/2012-12-31?cursor={n + 1}"
        return Canned.of(page(row(WINTER_MIDNIGHT_MS), next_url=canned.url + path))

    canned.answer = endless
    with pytest.raises(ProviderAnswerError, match="does not go on"):
        daily(on(canned))
    assert len(canned.requests) == 2

    def empty_circle(request: Request) -> Canned:
        return Canned.of(page(next_url=f"{canned.url}/v2/aggs/ticker/AAPL/range/1/day/1/2?cursor=same"))

    canned.answer = empty_circle
    with pytest.raises(ProviderAnswerError, match="never end"):
        daily(on(canned))

    def elsewhere(request: Request) -> Canned:
        name = "v2/aggs/ticker/AAPL/range/1/day/1/2" if not request.query.get("cursor") else "v3/other"
        return Canned.of(page(next_url=f"{canned.url}/{name}?cursor={len(canned.requests)}"))

    canned.answer = elsewhere
    with pytest.raises(ProviderAnswerError, match="elsewhere"):
        daily(on(canned))


def test_pages_are_followed_below_a_base_url_with_a_path(canned: CannedServer) -> None:
    second = "/proxy/v2/aggs/ticker/AAPL/range/1/day/1341000000000/2012-12-31?cursor=abc"

    def answer(request: Request) -> Canned:
        if request.query.get("cursor"):
            return Canned.of(page(row(SUMMER_MIDNIGHT_MS)))
        return Canned.of(page(row(WINTER_MIDNIGHT_MS), next_url=canned.url + second))

    canned.answer = answer
    provider = PolygonProvider(f"{canned.url}/proxy", SecretStr(KEY), CountingBudget(), 5.0)

    assert len(daily(provider)) == 2
    assert canned.requests[1].path == urlsplit(second).path


@pytest.mark.parametrize(
    "broken",
    [
        *({}, {"t": WINTER_MIDNIGHT_MS}, row([1]), 7, None),
        *(row(WINTER_MIDNIGHT_MS, price) for price in ("ten\0", "10.0", True)),
    ],
)
def test_a_row_that_is_not_numbers_is_refused_by_itself(broken: object, canned: CannedServer) -> None:
    canned.answer = lambda request: Canned.of(page(row(WINTER_MIDNIGHT_MS), broken, row(SUMMER_MIDNIGHT_MS)))
    fetched = on(canned).fetch_bars("AAPL", Timeframe.DAILY, *YEAR)

    assert len(fetched.bars) == 2
    assert [refused.reason for refused in fetched.refused] == ["a field is missing or not a number"]


def test_missing_values_are_refused_by_their_rule(canned: CannedServer) -> None:
    rows = [row(None), row(1e300), row(WINTER_MIDNIGHT_MS, None), row(WINTER_MIDNIGHT_MS, 10.0, None)]
    canned.answer = lambda request: Canned.of(page(*rows))
    fetched = on(canned).fetch_bars("AAPL", Timeframe.DAILY, *YEAR)

    assert [refused.reason for refused in fetched.refused] == [
        "the time is missing",
        "the time is missing",
        "a price is missing or not finite",
        "volume is missing or not finite",
    ]


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.none(), max_size=2)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.recursive(
        VALUES | st.dictionaries(st.sampled_from("tohlcv"), VALUES),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["ticker", "status", "results", "resultsCount", "adjusted", "next_url"]),
                inner,
                max_size=6,
            )
        ),
        max_leaves=12,
    )
)
def test_whatever_comes_is_bars_or_an_error_of_ours(canned: CannedServer, answer: Any) -> None:
    if isinstance(answer, dict):
        answer = {"status": "OK", "ticker": "AAPL", "adjusted": False} | answer
    canned.answer = lambda request: Canned.of(answer)
    try:
        fetched = on(canned).fetch_bars("AAPL", Timeframe.DAILY, *YEAR)
    except ProviderError:
        return
    assert len(fetched.bars) <= 1
