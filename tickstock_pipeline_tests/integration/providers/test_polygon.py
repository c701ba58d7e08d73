"""Provider ``polygon`` through Polygon's own client, against a local server that fails as real ones do."""

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import stamina
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from limits import RateLimitItemPerMinute, RateLimitItemPerSecond
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
from tickstock_pipeline.market.adjustment import Dividend, Split
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.base import HistoricalProvider
from tickstock_pipeline.providers.limits import budget_of
from tickstock_pipeline.providers.polygon import PolygonProvider
from tickstock_pipeline.providers.retries import ATTEMPTS
from tickstock_pipeline.providers.sample import SampleProvider
from tickstock_pipeline.replay.server import ReplayServer
from tickstock_pipeline.replay.source import MemorySource
from tickstock_pipeline.replay.synthetic import SyntheticSource
from tickstock_pipeline_tests.integration.providers.canned_server import (
    Canned,
    CannedServer,
    CountingBudget,
    Request,
)
from tickstock_pipeline_tests.integration.providers.http_contract import HttpContract
from tickstock_pipeline_tests.same_bars import assert_same_bars
from tickstock_pipeline_tests.unit.providers.contract import ProviderContract

KEY = "Xq7-the-key-of-the-test"
YEAR = (date(2012, 1, 1), date(2012, 12, 31))
MORE_THAN_A_PAGE = (date(2012, 6, 1), date(2012, 12, 31))
SESSIONS_OF_2012 = 250
AGGREGATES = "/v2/aggs"
# 2012-03-01 00:00 and 2012-07-02 00:00 in New York
WINTER_MIDNIGHT_MS = 1330578000000
SUMMER_MIDNIGHT_MS = 1341201600000
MINUTE_MS = 60_000


@pytest.fixture
def polygon(server: ReplayServer, budget: CountingBudget) -> PolygonProvider:
    return PolygonProvider(base_url=server.url, api_key=SecretStr(KEY), budget=budget, timeout=5.0)


def on(
    server: CannedServer, *, now: datetime = datetime(2026, 1, 2, tzinfo=UTC), timeout: float = 5.0
) -> PolygonProvider:
    return PolygonProvider(
        base_url=server.url, api_key=SecretStr(KEY), budget=CountingBudget(), timeout=timeout, now=lambda: now
    )


def row(milliseconds: Any, price: Any = 10.0, volume: Any = 100) -> dict[str, Any]:
    return {"t": milliseconds, "o": price, "h": price, "l": price, "c": price, "v": volume, "vw": 1.0, "n": 1}


def page(*rows: Any, **changes: Any) -> dict[str, Any]:
    return {
        "ticker": "AAPL",
        "queryCount": len(rows),
        "resultsCount": len(rows),
        "adjusted": False,
        "results": list(rows),
        "status": "OK",
        "request_id": "1",
    } | changes


def daily(provider: HistoricalProvider, symbol: str = "AAPL") -> Bars:
    return provider.fetch_bars(symbol, Timeframe.DAILY, *YEAR).bars


class TestOverHttp(HttpContract):
    def provider_at(self, url: str, budget: CountingBudget, timeout: float) -> HistoricalProvider:
        return PolygonProvider(url, SecretStr(KEY), budget, timeout)


class TestContract(ProviderContract):
    symbol = "AAPL"
    timeframe = Timeframe.DAILY
    first = date(2004, 6, 1)
    last = date(2005, 12, 30)
    raw_close = (date(2005, 2, 25), 88.99)

    @pytest.fixture
    def provider(self, polygon: PolygonProvider) -> HistoricalProvider:
        return polygon


class TestContractOfMinutes(ProviderContract):
    symbol = "AAPL"
    timeframe = Timeframe.MINUTE
    first = date(2005, 2, 22)
    last = date(2005, 3, 4)
    raw_close = (date(2005, 2, 25), 88.99)

    @pytest.fixture
    def provider(self, polygon: PolygonProvider) -> HistoricalProvider:
        return polygon


def test_bars_are_those_that_the_server_was_given(polygon: PolygonProvider) -> None:
    expected = SampleProvider().fetch_bars("IBM", Timeframe.DAILY, *YEAR).bars
    actual = daily(polygon, "IBM")

    assert_same_bars(actual, expected)


def test_minutes_of_months_come_page_by_page_and_each_page_is_paid_for(
    polygon: PolygonProvider, server: ReplayServer, budget: CountingBudget
) -> None:
    fetched = polygon.fetch_bars("AAPL", Timeframe.MINUTE, *MORE_THAN_A_PAGE)

    days = trading_calendar().sessions(*MORE_THAN_A_PAGE)
    minutes = (trading_calendar().closing(days) - trading_calendar().opening(days)).astype("timedelta64[m]").astype(int)
    assert len(fetched.bars) == minutes.sum()
    assert server.requests.count(path=AGGREGATES) == 2
    assert budget.acquired == 2


def test_prices_are_asked_for_as_traded_oldest_first_and_in_large_pages(canned: CannedServer) -> None:
    canned.answer = lambda request: Canned.of(page(row(WINTER_MIDNIGHT_MS)))
    daily(on(canned))

    (request,) = canned.requests
    assert request.path == "/v2/aggs/ticker/AAPL/range/1/day/2012-01-01/2012-12-31"
    assert request.query == {"adjusted": "false", "sort": "asc", "limit": "50000"}


def test_days_are_dated_by_new_york_in_winter_and_in_summer(canned: CannedServer) -> None:
    canned.answer = lambda request: Canned.of(page(row(WINTER_MIDNIGHT_MS), row(SUMMER_MIDNIGHT_MS)))

    assert daily(on(canned)).time.astype("datetime64[D]").tolist() == [date(2012, 3, 1), date(2012, 7, 2)]


def test_a_day_that_is_not_stamped_at_midnight_is_refused(canned: CannedServer) -> None:
    canned.answer = lambda request: Canned.of(page(row(WINTER_MIDNIGHT_MS), row(SUMMER_MIDNIGHT_MS + MINUTE_MS)))
    fetched = on(canned).fetch_bars("AAPL", Timeframe.DAILY, *YEAR)

    assert len(fetched.bars) == 1
    assert [refused.reason for refused in fetched.refused] == ["the time is not midnight of a date"]


def test_minutes_outside_the_regular_session_are_dropped_and_counted(canned: CannedServer) -> None:
    opening_ms = WINTER_MIDNIGHT_MS + 570 * MINUTE_MS
    times = [opening_ms - MINUTE_MS, opening_ms, opening_ms + 389 * MINUTE_MS, opening_ms + 390 * MINUTE_MS]
    canned.answer = lambda request: Canned.of(page(*map(row, times)))
    fetched = on(canned).fetch_bars("AAPL", Timeframe.MINUTE, date(2012, 3, 1), date(2012, 3, 1))

    assert np.datetime_as_string(fetched.bars.time, "m").tolist() == ["2012-03-01T14:30", "2012-03-01T20:59"]
    assert fetched.outside_session == 2


def test_what_has_not_happened_yet_is_not_asked_for(canned: CannedServer) -> None:
    canned.answer = lambda request: Canned.of(page(row(WINTER_MIDNIGHT_MS)))
    # 20:30 on 5 March in New York
    provider = on(canned, now=datetime(2012, 3, 6, 1, 30, tzinfo=UTC))
    daily(provider)
    assert len(provider.fetch_bars("AAPL", Timeframe.DAILY, date(2012, 3, 6), date(2012, 12, 31)).bars) == 0

    assert [request.path.rpartition("/")[2] for request in canned.requests] == ["2012-03-05"]


@pytest.mark.parametrize(
    ("symbol", "spelled"), [("BRK.B", "BRK.B"), ("BRK-B", "BRK.B"), ("BRK/B", "BRK.B"), ("^GSPC", "%5EGSPC")]
)
def test_symbols_are_spelled_as_polygon_does(canned: CannedServer, symbol: str, spelled: str) -> None:
    ticker = spelled.replace("%5E", "^")
    canned.answer = lambda request: Canned.of(page(row(WINTER_MIDNIGHT_MS), ticker=ticker))

    assert daily(on(canned), symbol).symbol == symbol
    assert canned.requests[0].path.startswith(f"/v2/aggs/ticker/{spelled}/range")


# What goes wrong, and what comes of it.


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


def test_an_empty_answer_for_a_known_symbol_is_no_bars(polygon: PolygonProvider, server: ReplayServer) -> None:
    server.faults.add("empty", path=AGGREGATES, times=None)

    assert len(daily(polygon)) == 0
    assert len(daily(polygon)) == 0
    # the listing is looked up once
    assert server.requests.count(path="/v3/reference/tickers") == 1


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


def test_a_plan_that_has_a_day_once_it_is_over_gives_what_comes_before_it(canned: CannedServer) -> None:
    # New York, 2 January at 18:30, and two days later
    evening, later = datetime(2026, 1, 2, 23, 30, tzinfo=UTC), datetime(2026, 1, 5, 5, 30, tzinfo=UTC)
    clock = [evening]
    said = "Attempted to request today's data before end of day. Please upgrade your plan."
    days = {date(2025, 12, 31): 1767157200000, date(2026, 1, 2): 1767330000000}

    def answer(request: Request) -> Canned:
        first, last = (date.fromisoformat(text) for text in request.path.split("/")[-2:])
        if last >= exchange_today(clock[0]):
            return Canned.of({"status": "NOT_AUTHORIZED", "message": said}, 403)
        return Canned.of(page(*(row(stamp) for day, stamp in days.items() if first <= day <= last)))

    canned.answer = answer
    provider = PolygonProvider(canned.url, SecretStr(KEY), CountingBudget(), 5.0, now=lambda: clock[0])
    asked = date(2025, 12, 30), date(2026, 1, 2)

    fetched = provider.fetch_bars("AAPL", Timeframe.DAILY, *asked)
    assert (len(fetched.bars), fetched.ends) == (1, date(2026, 1, 1))
    assert "2026-01-02 once it is over" in fetched.reason
    assert len(canned.requests) == 2
    # it has learnt that, and a day alone is not worth a request
    assert len(provider.fetch_bars("AAPL", Timeframe.DAILY, *asked).bars) == 1
    fetched = provider.fetch_bars("AAPL", Timeframe.DAILY, asked[1], asked[1])
    assert (len(fetched.bars), fetched.ends) == (0, date(2026, 1, 1))
    assert len(canned.requests) == 3

    clock[0] = later
    fetched = provider.fetch_bars("AAPL", Timeframe.DAILY, *asked)
    assert (len(fetched.bars), fetched.ends, fetched.reason) == (2, None, "")


def exchange_today(now: datetime) -> date:
    return now.astimezone(ZoneInfo("America/New_York")).date()


def test_what_the_plan_lacks_is_told_apart(canned: CannedServer) -> None:
    said = {"status": "NOT_AUTHORIZED", "message": "Your plan doesn't include this data timeframe."}
    canned.answer = lambda request: Canned.of(said, 403)

    with pytest.raises(NotInPlanError, match="timeframe"):
        daily(on(canned))


def test_silence_ends_with_the_timeout(server: ReplayServer) -> None:
    server.faults.add("hang", times=None)
    provider = PolygonProvider(base_url=server.url, api_key=SecretStr(KEY), budget=CountingBudget(), timeout=0.2)
    start = time.monotonic()

    with stamina.set_testing(True, attempts=2, cap=True), pytest.raises(ProviderUnavailableError, match="silent"):
        daily(provider)
    assert 0.4 <= time.monotonic() - start < 3.0


def test_nobody_listening_is_an_unavailable_provider(free_tcp_port: int) -> None:
    provider = PolygonProvider(f"http://127.0.0.1:{free_tcp_port}", SecretStr(KEY), CountingBudget(), 1.0)

    with pytest.raises(ProviderUnavailableError, match="AAPL"):
        daily(provider)


def test_the_proxy_of_the_environment_is_used(canned: CannedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", canned.url.replace("http://", "http://user:password@"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    canned.answer = lambda request: Canned.of(page(row(WINTER_MIDNIGHT_MS)))

    assert len(daily(PolygonProvider("http://polygon.invalid", SecretStr(KEY), CountingBudget(), 5.0))) == 1
    assert len(daily(on(canned))) == 1


def test_a_body_that_ends_early_is_given_up(canned: CannedServer) -> None:
    canned.answer = lambda request: Canned(b"{", length=1000)

    with pytest.raises(ProviderUnavailableError, match="cut"):
        daily(on(canned, timeout=0.2))


def test_everybody_waits_as_long_as_the_provider_asks(
    polygon: PolygonProvider, server: ReplayServer, budget: CountingBudget
) -> None:
    server.faults.add("429", retry_after=7)
    server.faults.add("429", reset_after=30)
    server.faults.add("429")
    daily(polygon)

    assert budget.penalties[0] == 7.0
    assert budget.penalties[1] == pytest.approx(30.0, abs=1.5)
    assert budget.penalties[2] is None
    # on the budget's own clock: the two pauses and one for a server that did not say how long
    assert budget.now == pytest.approx(38.0, abs=2.0)


def test_a_pause_of_an_hour_is_not_waited_for(polygon: PolygonProvider, server: ReplayServer) -> None:
    server.faults.add("429", retry_after=3600, times=None)

    with pytest.raises(RateLimitedError) as raised:
        daily(polygon)
    assert raised.value.retry_after_seconds == 3600.0
    assert server.requests.count(path=AGGREGATES) == 1


def test_the_limit_holds_at_the_server(redis_url: str) -> None:
    with ReplayServer(SyntheticSource(4, *YEAR), calls_per_minute=5, window_seconds=2.0) as limited:
        provider = PolygonProvider(
            limited.url,
            SecretStr(KEY),
            budget_of("polygon", "limit", [RateLimitItemPerSecond(5, 2)], redis_url, longest_wait=30.0),
            5.0,
        )
        start = time.monotonic()
        with ThreadPoolExecutor(provider.concurrency) as pool:
            symbols = ["SYN0001", "SYN0002", "SYN0003", "SYN0004"]
            assert all(pool.map(lambda symbol: len(daily(provider, symbol)), symbols))
            assert not any(pool.map(provider.fetch_splits, symbols))
            assert not any(pool.map(provider.fetch_dividends, symbols))

        assert limited.requests.count(provider="polygon") == 12
        assert limited.requests.violations == 0
        assert time.monotonic() - start >= 4.0


# Answers that look good and are not.

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


# Splits, dividends and the list of tickers.


def test_splits_and_dividends_are_those_of_the_market() -> None:
    days = trading_calendar().sessions(date(2024, 1, 2), date(2024, 12, 31))
    flat = np.full(len(days), 50.0)
    bars = Bars(
        "BRK.B",
        Timeframe.DAILY,
        days.astype("datetime64[us]"),
        flat,
        flat,
        flat,
        flat,
        np.full(len(days), 100, np.int64),
    )
    splits = [Split("BRK.B", date(2024, 3, 1), 0.1), Split("BRK.B", date(2024, 9, 3), 1.5)]
    dividends = [Dividend("BRK.B", date(2024, 2, 8 + n), 0.25) for n in range(3)]
    with ReplayServer(MemorySource([bars], splits, dividends)) as server:
        provider = PolygonProvider(server.url, SecretStr(KEY), CountingBudget(), 5.0)

        assert provider.fetch_splits("BRK.B") == tuple(splits)
        assert provider.fetch_dividends("BRK-B") == tuple(Dividend("BRK-B", one.ex_date, 0.25) for one in dividends)


def test_reference_pages_are_followed(canned: CannedServer) -> None:
    def answer(request: Request) -> Canned:
        n = int(request.query.get("cursor", "0"))
        results = [
            {"ticker": "AAPL", "ex_dividend_date": f"2020-01-{n + 1:02d}", "cash_amount": 0.5, "currency": "USD"}
        ]
        link = {"next_url": f"{canned.url}/v3/reference/dividends?cursor={n + 1}"} if n < 4 else {}
        return Canned.of({"status": "OK", "results": results, **link})

    canned.answer = answer
    assert [one.ex_date.day for one in on(canned).fetch_dividends("AAPL")] == [1, 2, 3, 4, 5]


def test_what_is_announced_only_is_left_out(canned: CannedServer) -> None:
    def answer(request: Request) -> Canned:
        dates = ["2025-12-31", "2026-01-02", "2026-01-05"]
        return Canned.of(
            {
                "status": "OK",
                "results": [
                    {
                        "ticker": "AAPL",
                        "execution_date": day,
                        "split_from": 1,
                        "split_to": 2,
                        "ex_dividend_date": day,
                        "cash_amount": 1,
                    }
                    for day in dates
                ],
            }
        )

    canned.answer = answer
    provider = on(canned, now=datetime(2026, 1, 2, 15, tzinfo=UTC))

    assert [split.ex_date.day for split in provider.fetch_splits("AAPL")] == [31, 2]
    assert [dividend.ex_date.day for dividend in provider.fetch_dividends("AAPL")] == [31, 2]


def test_dividends_of_a_day_are_added_up_and_other_currencies_left_out(canned: CannedServer) -> None:
    amounts = [("USD", 0.1), ("USD", 0.2), ("CAD", 5.0), ("USD", 0.0)]
    canned.answer = lambda request: Canned.of(
        {
            "status": "OK",
            "results": [
                {"ticker": "AAPL", "ex_dividend_date": "2020-02-07", "cash_amount": amount, "currency": currency}
                for currency, amount in amounts
            ],
        }
    )

    assert on(canned).fetch_dividends("AAPL") == (Dividend("AAPL", date(2020, 2, 7), 0.30000000000000004),)


def test_facts_that_are_sent_twice_count_once_and_splits_of_a_day_are_one(canned: CannedServer) -> None:
    def facts(id_: str, split_to: int, kind: str) -> dict[str, Any]:
        dividend = {"ex_dividend_date": "2020-12-09", "cash_amount": 0.5, "dividend_type": kind, "currency": "USD"}
        split = {"execution_date": "2020-12-09", "split_from": 2, "split_to": split_to}
        return {"id": id_, "ticker": "AAPL", **dividend, **split}

    rows = [facts("1", 4, "CD"), facts("2", 4, "CD"), facts("3", 3, "SC"), facts("4", 4, "SC")]
    canned.answer = lambda request: Canned.of({"status": "OK", "results": rows})

    assert on(canned).fetch_dividends("AAPL") == (Dividend("AAPL", date(2020, 12, 9), 1.0),)
    assert on(canned).fetch_splits("AAPL") == (Split("AAPL", date(2020, 12, 9), 3.0),)


@pytest.mark.parametrize(
    "wrong",
    [
        {"ticker": "MSFT"},
        {"execution_date": "soon", "ex_dividend_date": None},
        {"split_from": 0, "cash_amount": "much"},
        {"split_to": -1, "cash_amount": float("nan")},
        {"split_from": None, "cash_amount": None},
        {"split_to": float("inf"), "cash_amount": float("inf")},
    ],
)
def test_a_fact_that_cannot_be_read_is_never_left_out(wrong: dict[str, Any], canned: CannedServer) -> None:
    good = {
        "ticker": "AAPL",
        "execution_date": "2020-08-31",
        "split_from": 1,
        "split_to": 4,
        "ex_dividend_date": "2020-02-07",
        "cash_amount": 0.77,
    }
    canned.answer = lambda request: Canned.of({"status": "OK", "results": [good, good | wrong]})

    with pytest.raises(ProviderAnswerError, match="splits of AAPL"):
        on(canned).fetch_splits("AAPL")
    with pytest.raises(ProviderAnswerError, match="dividends of AAPL"):
        on(canned).fetch_dividends("AAPL")


def test_a_symbol_that_trades_no_more_is_known(canned: CannedServer) -> None:
    def answer(request: Request) -> Canned:
        if request.path.startswith("/v2/aggs"):
            return Canned.of(page(results=[], ticker="LEHMQ"))
        if request.path == "/v3/reference/tickers":
            assert request.query["active"] == "false"
            return Canned.of({"status": "OK", "results": [{"ticker": request.query["ticker"], "active": False}]})
        return Canned.of({"status": "NOT_FOUND", "message": "Ticker not found."}, 404)

    canned.answer = answer

    assert len(daily(on(canned), "LEHMQ")) == 0


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


def test_history_and_concurrency_follow_from_the_plan(server: ReplayServer) -> None:
    free = budget_of("polygon", "free", [RateLimitItemPerMinute(5)], None, longest_wait=1.0)
    paid = budget_of("polygon", "paid", [], None, longest_wait=1.0)
    official = "https://api.massive.com"
    on_leap_day = date(2028, 2, 29)

    assert PolygonProvider(official, SecretStr(KEY), free, 1.0).earliest(Timeframe.DAILY, on_leap_day) == date(
        2026, 2, 28
    )
    assert PolygonProvider(official, SecretStr(KEY), paid, 1.0).earliest(Timeframe.DAILY, on_leap_day) == date(
        2003, 9, 10
    )
    assert PolygonProvider(server.url, SecretStr(KEY), free, 1.0).earliest(Timeframe.DAILY, on_leap_day) is None
    assert PolygonProvider(official, SecretStr(KEY), free, 1.0).concurrency < 3
    assert PolygonProvider(official, SecretStr(KEY), paid, 1.0).concurrency == 8


def test_several_threads_may_ask_at_once(polygon: PolygonProvider) -> None:
    symbols = ["AAPL", "IBM", "MSFT", "GOOG"] * 6
    with ThreadPoolExecutor(polygon.concurrency) as pool:
        found = list(pool.map(lambda symbol: daily(polygon, symbol), symbols))

    assert [bars.symbol for bars in found] == symbols
    assert {len(bars) for bars in found} == {SESSIONS_OF_2012}
