"""What the unmodified library asks of a local server for provider ``yahoo``, and which bars come of it."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from tickstock_pipeline.errors import UnknownSymbolError
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.base import HistoricalProvider
from tickstock_pipeline.providers.sample import SampleProvider
from tickstock_pipeline.providers.yahoo import YahooProvider
from tickstock_pipeline.replay.server import ReplayServer
from tickstock_pipeline.replay.source import MemorySource
from tickstock_pipeline_tests.integration.providers.canned_server import CannedServer, CountingBudget
from tickstock_pipeline_tests.integration.providers.http_contract import HttpContract
from tickstock_pipeline_tests.integration.providers.sample_history import FIRST, LAST, NOW, raw
from tickstock_pipeline_tests.integration.providers.yahoo_charts import NEW_YORK, answering, chart, unix
from tickstock_pipeline_tests.same_bars import assert_same_bars
from tickstock_pipeline_tests.unit.providers.contract import ProviderContract


@pytest.fixture
def provider(server: ReplayServer, budget: CountingBudget) -> HistoricalProvider:
    return YahooProvider(server.url, budget, 5.0, now=lambda: NOW)


class TestOverHttp(HttpContract):
    deadline_in_timeouts = 1

    def provider_at(self, url: str, budget: CountingBudget, timeout: float) -> HistoricalProvider:
        return YahooProvider(url, budget, timeout, now=lambda: NOW)


class TestDailyBars(ProviderContract):
    symbol = "AAPL"
    timeframe = Timeframe.DAILY
    first = FIRST
    last = LAST
    raw_close = (date(2005, 2, 25), 88.99)


class TestMinutes(ProviderContract):
    """Before the split of 2005-02-28, seen from a fortnight after it."""

    symbol = "AAPL"
    timeframe = Timeframe.MINUTE
    first = date(2005, 2, 22)
    last = date(2005, 3, 4)
    # the last minute's close is that day's
    raw_close = (date(2005, 2, 25), 88.99)

    @pytest.fixture
    def provider(self, server: ReplayServer, budget: CountingBudget) -> HistoricalProvider:
        return YahooProvider(server.url, budget, 5.0, now=lambda: datetime(2005, 3, 12, 12, tzinfo=UTC))


def test_ten_years_with_splits_are_the_raw_bars_to_the_last_bit(provider: YahooProvider) -> None:
    assert_same_bars(provider.fetch_bars("AAPL", Timeframe.DAILY, FIRST, LAST).bars, raw())


def test_bars_splits_and_dividends_are_one_request(
    server: ReplayServer, provider: YahooProvider, budget: CountingBudget
) -> None:
    provider.fetch_bars("AAPL", Timeframe.DAILY, date(2010, 1, 1), LAST)
    provider.fetch_splits("AAPL")
    provider.fetch_dividends("AAPL")
    provider.fetch_bars("AAPL", Timeframe.DAILY, date(2001, 1, 1), date(2001, 12, 31))
    assert len(server.requests) == budget.acquired == 1


def test_history_is_asked_for_again_after_a_minute(server: ReplayServer, budget: CountingBudget) -> None:
    now = [NOW]
    provider = YahooProvider(server.url, budget, 5.0, now=lambda: now[0])
    provider.fetch_splits("AAPL")
    now[0] += timedelta(seconds=61)
    provider.fetch_splits("AAPL")
    assert len(server.requests) == budget.acquired == 2


def test_a_split_after_the_range_counts(provider: YahooProvider) -> None:
    year = (date(2004, 1, 1), date(2004, 12, 31))
    assert_same_bars(provider.fetch_bars("AAPL", Timeframe.DAILY, *year).bars, raw(*year))


def test_minutes_come_in_requests_of_seven_days_and_reach_29(
    server: ReplayServer, provider: YahooProvider, budget: CountingBudget
) -> None:
    bars = provider.fetch_bars("AAPL", Timeframe.MINUTE, date(2012, 1, 1), LAST).bars
    sessions = trading_calendar().sessions(date(2013, 2, 1), LAST)
    assert len(bars) == 390 * len(sessions)
    assert bars.time[0] == np.datetime64("2013-02-01T14:30")
    minutes = [request for request in server.requests.all() if request.query["interval"] == "1m"]
    assert len(minutes) == 5
    assert {int(request.query["period2"]) - int(request.query["period1"]) for request in minutes[:-1]} == {7 * 86400}
    assert len(server.requests) == budget.acquired
    assert provider.earliest(Timeframe.MINUTE, NOW.date()) == date(2013, 2, 1)
    assert provider.earliest(Timeframe.DAILY, NOW.date()) is None


def test_share_classes_are_spelt_with_a_hyphen(budget: CountingBudget) -> None:
    bars = raw(date(2012, 1, 3), date(2012, 2, 1))
    source = MemorySource(
        [Bars("BRK.B", bars.timeframe, bars.time, bars.open, bars.high, bars.low, bars.close, bars.volume)]
    )
    with ReplayServer(source) as server:
        fetched = YahooProvider(server.url, budget, 5.0, now=lambda: NOW).fetch_bars(
            "BRK.B", Timeframe.DAILY, FIRST, LAST
        )
        assert server.requests.all()[0].path.endswith("/BRK-B")
    assert fetched.bars.symbol == "BRK.B"
    assert len(fetched.bars) == len(bars)


def test_nothing_is_written_to_the_home_of_the_user(
    server: ReplayServer, budget: CountingBudget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    YahooProvider(server.url, budget, 5.0, now=lambda: NOW).fetch_bars("MSFT", Timeframe.DAILY, FIRST, LAST)
    assert not list(tmp_path.iterdir())


def test_several_threads_get_what_one_gets(server: ReplayServer, budget: CountingBudget) -> None:
    symbols = ["AAPL", "MSFT", "IBM", "GOOG"]
    provider = YahooProvider(server.url, budget, 5.0, now=lambda: NOW)
    start = threading.Barrier(provider.concurrency)

    def fetch(symbol: str) -> Bars:
        start.wait(5)
        return provider.fetch_bars(symbol, Timeframe.DAILY, FIRST, LAST).bars

    with ThreadPoolExecutor(provider.concurrency) as pool:
        for symbol, bars in zip(symbols, pool.map(fetch, symbols), strict=True):
            assert_same_bars(bars, SampleProvider().fetch_bars(symbol, Timeframe.DAILY, FIRST, LAST).bars)


def test_two_servers_in_one_process_do_not_mix(server: ReplayServer, canned: CannedServer) -> None:
    canned.answer = answering(chart([unix(date(2012, 1, 3))], [7.0]))
    one = YahooProvider(server.url, CountingBudget(), 5.0, now=lambda: NOW)
    other = YahooProvider(canned.url, CountingBudget(), 5.0, now=lambda: NOW)
    assert other.fetch_bars("AAPL", Timeframe.DAILY, FIRST, LAST).bars.close.tolist() == [7.0]
    assert len(one.fetch_bars("AAPL", Timeframe.DAILY, FIRST, LAST).bars) == len(raw())


@pytest.mark.parametrize("fault", ["duplicates", "out-of-order", "gzip"])
def test_rows_in_disorder_are_put_in_order(server: ReplayServer, provider: YahooProvider, fault: str) -> None:
    server.faults.add(fault)
    assert_same_bars(provider.fetch_bars("AAPL", Timeframe.DAILY, FIRST, LAST).bars, raw())


def test_one_bad_bar_is_refused_and_the_others_stay(server: ReplayServer, provider: YahooProvider) -> None:
    server.faults.add("bad-ohlc")
    fetched = provider.fetch_bars("AAPL", Timeframe.DAILY, FIRST, LAST)
    assert [refused.reason for refused in fetched.refused] == ["high is below low"]
    assert len(fetched.bars) == len(raw()) - 1


def test_an_empty_chart_has_no_bars_and_is_no_error(server: ReplayServer, provider: YahooProvider) -> None:
    server.faults.add("empty")
    assert len(provider.fetch_bars("AAPL", Timeframe.DAILY, FIRST, LAST).bars) == 0


class TestRunningSession:
    """2024-07-03 is a Wednesday that closes at 13:00."""

    stamps = (unix(date(2024, 7, 1)), unix(date(2024, 7, 2)))

    def fetch(self, canned: CannedServer, now: datetime, timeframe: Timeframe = Timeframe.DAILY) -> Bars:
        provider = YahooProvider(canned.url, CountingBudget(), 5.0, now=lambda: now)
        return provider.fetch_bars("AAPL", timeframe, date(2024, 7, 1), date(2024, 7, 3)).bars

    @pytest.mark.parametrize(
        ("hour", "n_bars"),
        [
            (10, 2),  # in the session
            (13, 3),  # just after it
        ],
    )
    def test_the_quote_of_a_running_session_is_no_bar(self, canned: CannedServer, hour: int, n_bars: int) -> None:
        quoted_at = unix(date(2024, 7, 3), hour - 1, 59, 58)
        canned.answer = answering(chart([*self.stamps, quoted_at], [10.0, 11.0, 12.0]))
        now = datetime(2024, 7, 3, hour, 0, 1, tzinfo=NEW_YORK)
        assert self.fetch(canned, now).close.tolist() == [10.0, 11.0, 12.0][:n_bars]

    def test_a_session_that_comes_twice_is_one_bar(self, canned: CannedServer) -> None:
        day = date(2024, 7, 3)
        stamps = [*self.stamps, unix(day), unix(day, 13, 0, 1)]
        canned.answer = answering(chart(stamps, [10.0, 11.0, 12.0, 12.5], volumes=[1, 2, 3, 4]))
        bars = self.fetch(canned, datetime(2024, 7, 4, 12, tzinfo=UTC))
        assert bars.close.tolist() == [10.0, 11.0, 12.5]
        assert bars.volume.tolist() == [1, 2, 4]

    def test_the_running_minute_is_no_bar(self, canned: CannedServer) -> None:
        day = date(2024, 7, 3)
        stamps = [unix(day, 9, 30), unix(day, 9, 31), unix(day, 9, 32), unix(day, 9, 33, 7)]
        minutes = chart(stamps, [1.0, 2.0, 3.0, 4.0], interval="1m")
        canned.answer = answering(chart([unix(day)], [4.0]), minutes)
        bars = self.fetch(canned, datetime(2024, 7, 3, 9, 32, 30, tzinfo=NEW_YORK), Timeframe.MINUTE)
        assert bars.close.tolist() == [1.0, 2.0]
        # a trade that opened no minute of its own is nothing either, however long ago
        bars = self.fetch(canned, datetime(2024, 7, 3, 9, 50, tzinfo=NEW_YORK), Timeframe.MINUTE)
        assert bars.close.tolist() == [1.0, 2.0, 3.0]

    def test_rows_without_a_trade_are_left_out_and_half_a_row_is_refused(self, canned: CannedServer) -> None:
        whole = chart([*self.stamps, unix(date(2024, 7, 3))], [10.0, None, 12.0])
        whole["chart"]["result"][0]["indicators"]["quote"][0]["open"] = [10.0, None, None]
        canned.answer = answering(whole)
        provider = YahooProvider(canned.url, CountingBudget(), 5.0, now=lambda: datetime(2024, 7, 5, tzinfo=UTC))
        fetched = provider.fetch_bars("AAPL", Timeframe.DAILY, date(2024, 7, 1), date(2024, 7, 3))
        assert fetched.bars.close.tolist() == [10.0]
        assert [refused.reason for refused in fetched.refused] == ["a price is missing or not finite"]


def test_the_library_says_nothing_of_its_own(
    server: ReplayServer, provider: YahooProvider, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        provider.fetch_bars("AAPL", Timeframe.DAILY, FIRST, LAST)
        with pytest.raises(UnknownSymbolError):
            provider.fetch_bars("NOSUCHSYMBOL", Timeframe.DAILY, FIRST, LAST)
    assert not [record for record in caplog.records if record.name.startswith(("yfinance", "peewee", "curl"))]
