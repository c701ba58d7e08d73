"""What provider ``alpha_vantage`` asks, and which bars it makes of the answers."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from pydantic import SecretStr

from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.alpha_vantage import AlphaVantageProvider
from tickstock_pipeline.providers.base import HistoricalProvider
from tickstock_pipeline.replay.server import ReplayServer
from tickstock_pipeline_tests.integration.providers.alpha_vantage_answers import (
    KEY,
    answering,
    daily,
    minutes,
    provider_of,
    row,
)
from tickstock_pipeline_tests.integration.providers.canned_server import CannedServer, CountingBudget
from tickstock_pipeline_tests.integration.providers.http_contract import HttpContract
from tickstock_pipeline_tests.integration.providers.sample_history import FIRST, LAST, NOW, raw
from tickstock_pipeline_tests.same_bars import assert_same_bars
from tickstock_pipeline_tests.unit.providers.contract import ProviderContract


@pytest.fixture
def provider(server: ReplayServer, budget: CountingBudget) -> HistoricalProvider:
    return provider_of(server.url, budget)


class TestOverHttp(HttpContract):
    def provider_at(self, url: str, budget: CountingBudget, timeout: float) -> HistoricalProvider:
        return AlphaVantageProvider(url, SecretStr(KEY), budget, timeout, now=lambda: NOW)


class TestDailyBars(ProviderContract):
    symbol = "AAPL"
    timeframe = Timeframe.DAILY
    first = FIRST
    last = LAST
    raw_close = (date(2005, 2, 25), 88.99)


class TestMinutes(ProviderContract):
    """Over the split of 2005-02-28."""

    symbol = "AAPL"
    timeframe = Timeframe.MINUTE
    first = date(2005, 2, 22)
    last = date(2005, 3, 3)
    # the last minute's close is that day's
    raw_close = (date(2005, 2, 25), 88.99)


def test_all_years_are_the_raw_bars_in_one_request(
    server: ReplayServer, provider: AlphaVantageProvider, budget: CountingBudget
) -> None:
    assert_same_bars(provider.fetch_bars("AAPL", Timeframe.DAILY, FIRST, LAST).bars, raw())
    assert len(server.requests) == budget.acquired == 1
    assert server.requests.all()[0].query == {
        "function": "TIME_SERIES_DAILY",
        "symbol": "AAPL",
        "outputsize": "full",
    }


def test_the_last_hundred_sessions_need_no_premium_plan(server: ReplayServer, provider: AlphaVantageProvider) -> None:
    sessions = trading_calendar().sessions(FIRST, LAST).tolist()
    for first, size in ((sessions[-100], "compact"), (sessions[-101], "full")):
        server.requests.clear()
        assert_same_bars(provider.fetch_bars("AAPL", Timeframe.DAILY, first, LAST).bars, raw(first))
        assert server.requests.all()[0].query["outputsize"] == size


def test_minutes_are_one_request_a_month(
    server: ReplayServer, provider: AlphaVantageProvider, budget: CountingBudget
) -> None:
    bars = provider.fetch_bars("AAPL", Timeframe.MINUTE, date(2005, 2, 22), date(2005, 4, 6)).bars
    assert [request.query["month"] for request in server.requests.all()] == ["2005-02", "2005-03", "2005-04"]
    for request in server.requests.all():
        assert {key: request.query[key] for key in ("interval", "adjusted", "extended_hours", "outputsize")} == {
            "interval": "1min",
            "adjusted": "false",
            "extended_hours": "false",
            "outputsize": "full",
        }
    assert budget.acquired == 3
    sessions = trading_calendar().sessions(date(2005, 2, 22), date(2005, 4, 6))
    assert len(bars) == 390 * len(sessions)
    # stamped at its start; the clock changed on 2005-04-03
    assert bars.time[0] == np.datetime64("2005-02-22T14:30")
    assert bars.time[-1] == np.datetime64("2005-04-06T19:59")


def test_nothing_is_asked_for_a_range_without_a_session(server: ReplayServer, provider: AlphaVantageProvider) -> None:
    for timeframe in provider.timeframes:
        assert not len(provider.fetch_bars("AAPL", timeframe, date(2012, 12, 29), date(2012, 12, 30)).bars)
        assert not len(provider.fetch_bars("AAPL", timeframe, NOW.date() + timedelta(days=9), date(2013, 12, 31)).bars)
    assert not len(provider.fetch_bars("AAPL", Timeframe.MINUTE, date(1999, 1, 4), date(1999, 12, 31)).bars)
    assert len(server.requests) == 0
    assert provider.earliest(Timeframe.MINUTE, NOW.date()) == date(2000, 1, 1)
    assert provider.earliest(Timeframe.DAILY, NOW.date()) is None


def test_a_symbol_without_splits_is_looked_up_once(server: ReplayServer, provider: AlphaVantageProvider) -> None:
    assert provider.fetch_dividends("AAPL") == ()
    assert provider.fetch_dividends("AAPL") == ()
    functions = [request.query["function"] for request in server.requests.all()]
    assert functions == ["DIVIDENDS", "TIME_SERIES_DAILY", "DIVIDENDS"]


def test_the_proxy_of_the_environment_is_used(
    canned: CannedServer, budget: CountingBudget, monkeypatch: pytest.MonkeyPatch
) -> None:
    canned.answer = answering(daily({"2013-03-01": row()}))
    monkeypatch.setenv("http_proxy", canned.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    far = provider_of("http://alpha-vantage.invalid", budget)
    assert len(far.fetch_bars("AAPL", Timeframe.DAILY, FIRST, LAST).bars) == 1
    assert canned.requests[0].query["symbol"] == "AAPL"


@pytest.mark.parametrize("fault", ["duplicates", "out-of-order", "gzip"])
def test_rows_in_disorder_are_put_in_order(server: ReplayServer, provider: AlphaVantageProvider, fault: str) -> None:
    server.faults.add(fault)
    fetched = provider.fetch_bars("AAPL", Timeframe.DAILY, FIRST, LAST).bars
    if fault == "out-of-order":
        # the server shuffles the values together with their dates
        fetched = fetched[np.argsort(fetched.time)]
    assert_same_bars(fetched, raw())


def test_one_bad_bar_is_refused_and_the_others_stay(server: ReplayServer, provider: AlphaVantageProvider) -> None:
    server.faults.add("bad-ohlc")
    fetched = provider.fetch_bars("AAPL", Timeframe.DAILY, FIRST, LAST)
    assert [refused.reason for refused in fetched.refused] == ["high is below low"]
    assert len(fetched.bars) == len(raw()) - 1


def test_fractions_of_a_share_are_rounded(server: ReplayServer, provider: AlphaVantageProvider) -> None:
    server.faults.add("fractional-volume")
    assert_same_bars(provider.fetch_bars("AAPL", Timeframe.DAILY, FIRST, LAST).bars, raw())


def test_what_runs_is_no_bar(canned: CannedServer, budget: CountingBudget) -> None:
    canned.answer = answering(daily({"2024-07-03": row("3.0"), "2024-07-02": row("2.0")}))
    for now, closes in (
        # a half day: it closes at 13:00, 17:00 in UTC
        (datetime(2024, 7, 3, 16, 59, tzinfo=UTC), [2.0]),
        (datetime(2024, 7, 3, 17, 0, tzinfo=UTC), [2.0, 3.0]),
    ):
        provider = provider_of(canned.url, budget, now=now)
        fetched = provider.fetch_bars("AAPL", Timeframe.DAILY, date(2024, 7, 2), date(2024, 7, 3))
        assert fetched.bars.close.tolist() == closes
    canned.answer = answering(minutes({"2024-07-03 09:31:00": row("2.0"), "2024-07-03 09:30:00": row("1.0")}))
    provider = provider_of(canned.url, budget, now=datetime(2024, 7, 3, 13, 31, 30, tzinfo=UTC))
    fetched = provider.fetch_bars("AAPL", Timeframe.MINUTE, date(2024, 7, 1), date(2024, 7, 3))
    assert fetched.bars.close.tolist() == [1.0]
