"""What provider ``polygon`` asks, through Polygon's own client, and which bars it makes of the answers."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime

import numpy as np
import pytest
from pydantic import SecretStr

from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.base import HistoricalProvider
from tickstock_pipeline.providers.polygon import PolygonProvider
from tickstock_pipeline.providers.sample import SampleProvider
from tickstock_pipeline.replay.server import ReplayServer
from tickstock_pipeline_tests.integration.providers.canned_server import Canned, CannedServer, CountingBudget
from tickstock_pipeline_tests.integration.providers.http_contract import HttpContract
from tickstock_pipeline_tests.integration.providers.polygon_answers import (
    AGGREGATES,
    KEY,
    MINUTE_MS,
    MORE_THAN_A_PAGE,
    SESSIONS_OF_2012,
    SUMMER_MIDNIGHT_MS,
    WINTER_MIDNIGHT_MS,
    YEAR,
    daily,
    on,
    page,
    row,
)
from tickstock_pipeline_tests.same_bars import assert_same_bars
from tickstock_pipeline_tests.unit.providers.contract import ProviderContract


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


def test_the_proxy_of_the_environment_is_used(canned: CannedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", canned.url.replace("http://", "http://user:password@"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    canned.answer = lambda request: Canned.of(page(row(WINTER_MIDNIGHT_MS)))

    assert len(daily(PolygonProvider("http://polygon.invalid", SecretStr(KEY), CountingBudget(), 5.0))) == 1
    assert len(daily(on(canned))) == 1


def test_several_threads_may_ask_at_once(polygon: PolygonProvider) -> None:
    symbols = ["AAPL", "IBM", "MSFT", "GOOG"] * 6
    with ThreadPoolExecutor(polygon.concurrency) as pool:
        found = list(pool.map(lambda symbol: daily(polygon, symbol), symbols))

    assert [bars.symbol for bars in found] == symbols
    assert {len(bars) for bars in found} == {SESSIONS_OF_2012}
