"""What comes of Polygon's failures: asked again, given up or raised at once, and the key is shown nowhere."""

import logging
import time

import pytest
import stamina
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
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.polygon import PolygonProvider
from tickstock_pipeline.providers.retries import ATTEMPTS
from tickstock_pipeline.replay.server import ReplayServer
from tickstock_pipeline_tests.integration.providers.canned_server import Canned, CannedServer, CountingBudget
from tickstock_pipeline_tests.integration.providers.polygon_answers import (
    AGGREGATES,
    KEY,
    MORE_THAN_A_PAGE,
    SESSIONS_OF_2012,
    daily,
    on,
)


@pytest.mark.parametrize("kind", ["429", "quota", "500", "502", "503", "cut"])
def test_what_passes_is_asked_for_again(kind: str, polygon: PolygonProvider, server: ReplayServer) -> None:
    server.faults.add(kind, times=2)

    assert len(daily(polygon)) == SESSIONS_OF_2012
    assert server.requests.count(path=AGGREGATES) == 3


@pytest.mark.parametrize("kind", ["429", "503", "cut"])
def test_a_second_page_is_asked_for_again_too(kind: str, polygon: PolygonProvider, server: ReplayServer) -> None:
    server.faults.add(kind, nth=2, times=2)
    fetched = polygon.fetch_bars("AAPL", Timeframe.MINUTE, *MORE_THAN_A_PAGE)

    assert len(fetched.bars) > 50_000
    assert server.requests.count(path=AGGREGATES) == 4


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("429", RateLimitedError),
        ("quota", RateLimitedError),
        ("500", ProviderUnavailableError),
        ("502", ProviderUnavailableError),
        ("503", ProviderUnavailableError),
        ("cut", ProviderUnavailableError),
    ],
)
def test_what_does_not_pass_is_given_up(
    kind: str, error: type[ProviderError], polygon: PolygonProvider, server: ReplayServer
) -> None:
    server.faults.add(kind, times=None)

    with pytest.raises(error, match="AAPL") as raised:
        daily(polygon)
    assert raised.value.advice
    assert server.requests.count(path=AGGREGATES) == ATTEMPTS


@pytest.mark.parametrize(
    ("kind", "error", "text"),
    [
        ("401", ProviderRefusedError, "key"),
        ("403", ProviderRefusedError, "AAPL"),
        ("404", UnknownSymbolError, "AAPL"),
        ("truncated", ProviderAnswerError, "rows"),
        ("repeated-cursor", ProviderAnswerError, "page"),
        ("html", ProviderAnswerError, "not JSON"),
    ],
)
def test_what_no_retry_mends_is_raised_at_once(
    kind: str, error: type[ProviderError], text: str, polygon: PolygonProvider, server: ReplayServer
) -> None:
    server.faults.add(kind, path=AGGREGATES, times=None)

    with pytest.raises(error, match=text) as raised:
        daily(polygon)
    assert raised.value.advice
    assert server.requests.count(path=AGGREGATES) <= 2


@pytest.mark.parametrize("kind", ["truncated", "html", "403"])
def test_a_bad_second_page_spoils_the_first(kind: str, polygon: PolygonProvider, server: ReplayServer) -> None:
    server.faults.add(kind, nth=2)

    with pytest.raises(ProviderError):
        polygon.fetch_bars("AAPL", Timeframe.MINUTE, *MORE_THAN_A_PAGE)


def test_a_refusal_of_one_symbol_is_its_own(polygon: PolygonProvider, server: ReplayServer) -> None:
    server.faults.add("403", symbol="IBM", times=None)

    with pytest.raises(ProviderRefusedError, match="IBM"):
        daily(polygon, "IBM")
    assert len(daily(polygon)) == SESSIONS_OF_2012


@pytest.mark.parametrize("body", [b"<html>Forbidden</html>", b"", b"{}", b"[]"])
def test_a_refusal_that_is_not_the_providers_own_says_nothing_of_the_plan(body: bytes, canned: CannedServer) -> None:
    canned.answer = lambda request: Canned(body, 403)

    with pytest.raises(ProviderRefusedError, match="AAPL") as raised:
        daily(on(canned))
    # which would be remembered as years that the account cannot have
    assert not isinstance(raised.value, NotInPlanError)
    assert "proxy" in raised.value.advice


@pytest.mark.parametrize("said", ["what\0ever\ud800\nand\x1b[31mmore", "\u202e"])
@pytest.mark.parametrize("status", [200, 401, 403, 404, 400, 503])
def test_what_it_says_is_shown_as_one_line_that_can_be_seen(canned: CannedServer, status: int, said: str) -> None:
    canned.answer = lambda request: Canned.of({"status": said, "message": said}, status)

    with pytest.raises(ProviderError) as raised:
        daily(on(canned))
    assert raised.value.message.isprintable()


def test_silence_ends_with_the_timeout(server: ReplayServer) -> None:
    server.faults.add("hang", times=None)
    provider = PolygonProvider(base_url=server.url, api_key=SecretStr(KEY), budget=CountingBudget(), timeout=0.2)
    start = time.monotonic()

    with stamina.set_testing(True, attempts=2, cap=True), pytest.raises(ProviderUnavailableError, match="silent"):
        daily(provider)
    assert 0.4 <= time.monotonic() - start < 20.0


def test_nobody_listening_is_an_unavailable_provider(free_tcp_port: int) -> None:
    provider = PolygonProvider(f"http://127.0.0.1:{free_tcp_port}", SecretStr(KEY), CountingBudget(), 1.0)

    with pytest.raises(ProviderUnavailableError, match="AAPL"):
        daily(provider)


def test_a_body_that_ends_early_is_given_up(canned: CannedServer) -> None:
    canned.answer = lambda request: Canned(b"{", length=1000)

    with pytest.raises(ProviderUnavailableError, match="cut"):
        daily(on(canned, timeout=0.2))


def test_the_key_is_shown_nowhere(
    polygon: PolygonProvider, server: ReplayServer, canned: CannedServer, caplog: pytest.LogCaptureFixture
) -> None:
    said = []
    with caplog.at_level(logging.DEBUG):
        for kind in ("401", "403", "429", "500", "cut", "html", "truncated"):
            server.faults.replace(())
            server.faults.add(kind, times=None)
            with pytest.raises(ProviderError) as raised:
                daily(polygon)
            said += [
                str(raised.value),
                repr(raised.value),
                repr(raised.value.__cause__),
                repr(raised.value.__context__),
            ]
        for status in (200, 401, 403, 429, 500):
            canned.answer = lambda request, status=status: Canned.of(
                {"status": "ERROR", "error": f"key {KEY}?"}, status
            )
            with pytest.raises(ProviderError) as raised:
                daily(on(canned))
            said += [str(raised.value), repr(raised.value)]

    assert KEY not in "".join(said) + caplog.text + repr(polygon) + repr(vars(polygon)["_client"])
