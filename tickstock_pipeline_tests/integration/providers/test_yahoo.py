"""Provider ``yahoo``: the unmodified library against a local server, with everything that goes wrong."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import stamina

from tickstock_pipeline.errors import (
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
from tickstock_pipeline.providers.retries import ATTEMPTS
from tickstock_pipeline.providers.sample import SampleProvider
from tickstock_pipeline.providers.yahoo import YahooProvider
from tickstock_pipeline.replay.server import ReplayServer
from tickstock_pipeline.replay.source import MemorySource
from tickstock_pipeline_tests.integration.providers.canned_server import (
    Canned,
    CannedServer,
    CountingBudget,
    Request,
)
from tickstock_pipeline_tests.integration.providers.http_contract import HttpContract
from tickstock_pipeline_tests.integration.providers.sample_history import FIRST, LAST, NOW, raw
from tickstock_pipeline_tests.same_bars import assert_same_bars
from tickstock_pipeline_tests.unit.providers.contract import ProviderContract

NEW_YORK = ZoneInfo("America/New_York")


@pytest.fixture
def provider(server: ReplayServer, budget: CountingBudget) -> HistoricalProvider:
    return YahooProvider(server.url, budget, 5.0, now=lambda: NOW)


def unix(day: date, hour: int = 9, minute: int = 30, second: int = 0) -> int:
    return int(datetime(day.year, day.month, day.day, hour, minute, second, tzinfo=NEW_YORK).timestamp())


def chart(
    stamps: list[int],
    closes: list[float | None],
    *,
    volumes: list[int | None] | None = None,
    events: dict[str, Any] | None = None,
    interval: str = "1d",
    **meta: Any,
) -> dict[str, Any]:
    """A chart whose bars are one price each."""
    days = sorted({datetime.fromtimestamp(stamp, NEW_YORK).date() for stamp in stamps if stamp < 1e10})
    periods = [[{"timezone": "EST", "start": unix(day), "end": unix(day, 16, 0), "gmtoffset": -18000}] for day in days]
    quote = dict.fromkeys(("open", "high", "low", "close"), closes)
    result: dict[str, Any] = {
        "meta": {
            "currency": "USD",
            "symbol": "AAPL",
            "instrumentType": "EQUITY",
            "exchangeTimezoneName": "America/New_York",
            "dataGranularity": interval,
            **({"tradingPeriods": periods} if interval == "1m" else {}),
            **meta,
        },
        "timestamp": stamps,
        "indicators": {"quote": [{**quote, "volume": volumes or [1000] * len(stamps)}]},
    }
    if events is not None:
        result["events"] = events
    return {"chart": {"result": [result], "error": None}}


def answering(daily: dict[str, Any], minutes: dict[str, Any] | None = None) -> Callable[[Request], Canned]:
    return lambda request: Canned.of(minutes if minutes and request.query["interval"] == "1m" else daily)


def split_event(day: date, numerator: float, denominator: float = 1) -> dict[str, Any]:
    return {str(unix(day)): {"date": unix(day), "numerator": numerator, "denominator": denominator}}


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


def test_dividends_are_as_paid(budget: CountingBudget) -> None:
    bars = raw(date(2005, 1, 3), date(2005, 12, 30))
    paid = (
        Dividend("AAPL", date(2005, 2, 8), 0.12),
        Dividend("AAPL", date(2005, 2, 28), 0.12),
        Dividend("AAPL", date(2005, 8, 8), 0.06),
    )
    source = MemorySource([bars], [Split("AAPL", date(2005, 2, 28), 2.0)], paid)
    with ReplayServer(source) as server:
        assert YahooProvider(server.url, budget, 5.0, now=lambda: NOW).fetch_dividends("AAPL") == paid


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


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("401", ProviderRefusedError),
        ("403", ProviderRefusedError),
        ("404", UnknownSymbolError),
        ("html", ProviderAnswerError),
        ("truncated", ProviderAnswerError),
    ],
)
def test_what_no_retry_mends_fails_at_once(
    server: ReplayServer, provider: YahooProvider, fault: str, error: type[ProviderError]
) -> None:
    server.faults.add(fault, symbol="AAPL")
    with pytest.raises(error, match="AAPL") as raised:
        provider.fetch_bars("AAPL", Timeframe.DAILY, FIRST, LAST)
    assert raised.value.advice
    assert len(server.requests) == 1
    assert len(provider.fetch_bars("MSFT", Timeframe.DAILY, FIRST, LAST).bars)


@pytest.mark.parametrize("fault", ["429", "quota", "500", "502", "503", "cut"])
def test_what_a_retry_mends_is_asked_again_and_the_budget_knows(
    server: ReplayServer, provider: YahooProvider, budget: CountingBudget, fault: str
) -> None:
    server.faults.add(fault, symbol="AAPL", times=2)
    assert_same_bars(provider.fetch_bars("AAPL", Timeframe.DAILY, FIRST, LAST).bars, raw())
    assert len(server.requests) == budget.acquired == 3


@pytest.mark.parametrize(
    ("fault", "error"),
    [("429", RateLimitedError), ("503", ProviderUnavailableError), ("cut", ProviderUnavailableError)],
)
def test_what_does_not_end_is_given_up(
    server: ReplayServer, provider: YahooProvider, budget: CountingBudget, fault: str, error: type[ProviderError]
) -> None:
    server.faults.add(fault, times=None)
    with pytest.raises(error, match="AAPL"):
        provider.fetch_bars("AAPL", Timeframe.DAILY, FIRST, LAST)
    assert len(server.requests) == budget.acquired == ATTEMPTS


def test_retry_after_pauses_everybody_on_the_account(
    server: ReplayServer, provider: YahooProvider, budget: CountingBudget
) -> None:
    server.faults.add("429", retry_after=7)
    provider.fetch_splits("AAPL")
    assert budget.penalties == [7.0]
    assert budget.now >= 7.0


@pytest.mark.parametrize("said", ["what\0ever\ud800\nand\x1b[31mmore", "\u202e"])
def test_what_it_says_is_shown_as_one_line_that_can_be_seen(
    canned: CannedServer, budget: CountingBudget, said: str
) -> None:
    for answer in (
        {"chart": {"result": None, "error": {"code": said, "description": said}}},
        chart([unix(LAST)], [1.0], exchangeTimezoneName=said),
        chart([unix(LAST)], [1.0], symbol=said),
        chart([unix(LAST)], [1.0], interval=said),
    ):
        canned.answer = answering(answer)
        with pytest.raises(ProviderError) as raised:
            YahooProvider(canned.url, budget, 5.0, now=lambda: NOW).fetch_splits("AAPL")
        assert raised.value.message.isprintable()


def test_a_silent_server_is_given_up_after_the_timeout(server: ReplayServer, budget: CountingBudget) -> None:
    server.faults.add("hang", times=None)
    with (
        stamina.set_testing(True, attempts=1),
        pytest.raises(ProviderUnavailableError, match="AAPL"),
    ):
        YahooProvider(server.url, budget, 0.2, now=lambda: NOW).fetch_splits("AAPL")
    assert len(server.requests) == 1


def test_nobody_listening_is_no_answer(budget: CountingBudget) -> None:
    with pytest.raises(ProviderUnavailableError, match="TICKSTOCK_YAHOO_URL"):
        YahooProvider("http://127.0.0.1:9", budget, 2.0).fetch_splits("AAPL")


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


class TestSplits:
    days = (date(2024, 6, 6), date(2024, 6, 7), date(2024, 6, 10), date(2024, 6, 11))
    stamps = tuple(unix(day) for day in days)

    def provider(self, canned: CannedServer) -> YahooProvider:
        return YahooProvider(canned.url, CountingBudget(), 5.0, now=lambda: datetime(2024, 6, 12, tzinfo=UTC))

    def test_nvidia_s_ten_for_one(self, canned: CannedServer) -> None:
        # closes on the tape 1209.98, 1208.88, 121.79, 120.91; Yahoo's floats of 32 bits
        floats = [120.99800109863281, 120.88800048828125, 121.79000091552734, 120.91000366210938]
        events = {"splits": split_event(self.days[2], 10)}
        canned.answer = answering(chart([*self.stamps], [*floats], volumes=[4000, 5000, 6000, 7000], events=events))
        bars = self.provider(canned).fetch_bars("AAPL", Timeframe.DAILY, self.days[0], self.days[-1]).bars
        assert bars.close.tolist() == [1209.98, 1208.88, 121.79, 120.91]
        assert bars.volume.tolist() == [400, 500, 6000, 7000]

    def test_a_split_that_prices_do_not_show_yet_is_not_undone(self, canned: CannedServer) -> None:
        closes: list[float | None] = [1209.98, 1208.88, 121.79, 120.91]
        canned.answer = answering(chart([*self.stamps], closes, events={"splits": split_event(self.days[2], 10)}))
        provider = self.provider(canned)
        with pytest.raises(ProviderAnswerError, match="2024-06-10"):
            provider.fetch_bars("AAPL", Timeframe.DAILY, self.days[0], self.days[-1])
        # what lies behind it is right
        assert provider.fetch_bars("AAPL", Timeframe.DAILY, self.days[2], self.days[-1]).bars.close[0] == 121.79

    def test_on_the_morning_of_a_split_nobody_can_tell_which_prices_these_are(self, canned: CannedServer) -> None:
        events = {"splits": split_event(self.days[2], 10)}
        canned.answer = answering(chart([*self.stamps[:2]], [1209.98, 1208.88], events=events))
        morning = datetime(2024, 6, 10, 8, tzinfo=NEW_YORK)
        provider = YahooProvider(canned.url, CountingBudget(), 5.0, now=lambda: morning)
        with pytest.raises(ProviderAnswerError, match="no trade since"):
            provider.fetch_bars("AAPL", Timeframe.DAILY, self.days[0], self.days[1])
        # a symbol that ended with a split, long ago
        later = YahooProvider(canned.url, CountingBudget(), 5.0, now=lambda: datetime(2025, 6, 12, tzinfo=UTC))
        assert len(later.fetch_bars("AAPL", Timeframe.DAILY, self.days[0], self.days[1]).bars) == 2

    def test_minutes_before_a_split_are_judged_by_the_days(self, canned: CannedServer) -> None:
        daily = chart(
            [*self.stamps], [1209.98, 1208.88, 121.79, 120.91], events={"splits": split_event(self.days[2], 10)}
        )
        minutes = chart([unix(self.days[1])], [1208.0], interval="1m")
        canned.answer = answering(daily, minutes)
        with pytest.raises(ProviderAnswerError, match="2024-06-10"):
            self.provider(canned).fetch_bars("AAPL", Timeframe.MINUTE, self.days[1], self.days[1])

    def test_a_split_on_a_day_without_a_row_keeps_its_date(self, canned: CannedServer) -> None:
        stamps, closes = [self.stamps[0], self.stamps[1], self.stamps[3]], [5.0, 5.5, 6.0]
        canned.answer = answering(chart(stamps, [*closes], events={"splits": split_event(self.days[2], 2)}))
        provider = self.provider(canned)
        assert provider.fetch_splits("AAPL") == (Split("AAPL", self.days[2], 2.0),)
        bars = provider.fetch_bars("AAPL", Timeframe.DAILY, self.days[0], self.days[-1]).bars
        assert bars.close.tolist() == [10.0, 11.0, 6.0]

    @pytest.mark.parametrize(
        "events",
        [
            {"splits": split_event(days[2], 10, 0)},
            {"splits": split_event(days[2], -2)},
            {"splits": {"x": {"date": "soon", "numerator": 2, "denominator": 1}}},
            {"splits": {"x": {"date": 10**20, "numerator": 2, "denominator": 1}}},
            {"splits": ["x"]},
            {"dividends": {"x": {"date": unix(days[2]), "amount": None}}},
        ],
    )
    def test_a_split_or_dividend_that_cannot_be_read_fails_the_symbol(
        self, canned: CannedServer, events: dict[str, Any]
    ) -> None:
        canned.answer = answering(chart([*self.stamps], [1.0] * 4, events=events))
        with pytest.raises(ProviderAnswerError, match="split or dividend"):
            self.provider(canned).fetch_bars("AAPL", Timeframe.DAILY, self.days[0], self.days[-1])


GOOD = chart([unix(date(2012, 1, 3))], [10.0])


def without(*path: str | int) -> dict[str, Any]:
    """The good chart without one of its parts."""
    spoilt = chart([unix(date(2012, 1, 3))], [10.0])
    part: Any = spoilt
    for key in path[:-1]:
        part = part[key]
    del part[path[-1]]
    return spoilt


@pytest.mark.parametrize(
    "answer",
    [
        Canned(b""),
        Canned(b"null"),
        Canned(b"[]"),
        Canned(b"{}"),
        Canned(b'{"chart": null}'),
        Canned(b'{"chart": {"result": [], "error": null}}'),
        Canned(b'{"chart": {"result": [[]], "error": null}}'),
        Canned(b'{"chart": {"result": [{}], "error": null}}'),
        Canned(b'{"chart": {"result": [{"meta": {}'),
        Canned(b"\xff\xfe\x00"),
        Canned(b"", 302, {"Location": "http://127.0.0.1:9/"}),
        Canned(b"<html>", 404),
        Canned(b"[" * 200_000),
        Canned.of({"chart": {"result": None, "error": {"code": "Bad Request", "description": "no"}}}, 400),
        Canned.of({"chart": {"result": None, "error": "no"}}),
        Canned.of(GOOD, 418),
        Canned.of(chart([unix(date(2012, 1, 3))], [10.0], symbol="MSFT")),
        Canned.of(chart([unix(date(2012, 1, 3))], [10.0], interval="3mo")),
        Canned.of(chart([unix(date(2012, 1, 3))], [10.0, 11.0])),
        Canned.of(chart([unix(date(2012, 1, 3))], ["10.0"])),  # type: ignore[list-item]
        Canned.of(chart([unix(date(2012, 1, 3)), 10**30], [10.0, 10.0])),
        Canned.of(without("chart", "result", 0, "meta", "currency")),
        Canned.of(without("chart", "result", 0, "meta", "symbol")),
        Canned.of(without("chart", "result", 0, "indicators")),
        Canned.of(without("chart", "result", 0, "indicators", "quote", 0, "low")),
    ],
)
def test_what_is_no_whole_chart_of_the_question_is_not_trusted(canned: CannedServer, answer: Canned) -> None:
    canned.answer = lambda request: answer
    provider = YahooProvider(canned.url, CountingBudget(), 5.0, now=lambda: NOW)
    with pytest.raises(ProviderAnswerError, match="AAPL") as raised:
        provider.fetch_bars("AAPL", Timeframe.DAILY, FIRST, LAST)
    assert raised.value.advice
    assert len(canned.requests) == 1


def test_a_symbol_of_another_clock_is_none_of_ours(canned: CannedServer) -> None:
    canned.answer = answering(chart([unix(date(2012, 1, 3))], [10.0], exchangeTimezoneName="Europe/London"))
    with pytest.raises(UnknownSymbolError, match="Europe/London"):
        YahooProvider(canned.url, CountingBudget(), 5.0, now=lambda: NOW).fetch_splits("AAPL")


@pytest.mark.parametrize(
    ("status", "description"),
    [
        (400, "Data doesn't exist for startDate = 1, endDate = 2"),
        (
            422,
            "1m data not available for startTime=1 and endTime=2. The requested range must be within the last 30 days.",
        ),
    ],
)
def test_a_range_without_data_is_empty(canned: CannedServer, status: int, description: str) -> None:
    failed = {"chart": {"result": None, "error": {"code": "Bad Request", "description": description}}}
    canned.answer = lambda request: Canned.of(GOOD) if request.query["interval"] == "1d" else Canned.of(failed, status)
    provider = YahooProvider(canned.url, CountingBudget(), 5.0, now=lambda: NOW)
    assert len(provider.fetch_bars("AAPL", Timeframe.MINUTE, date(2013, 2, 28), LAST).bars) == 0


def test_the_library_says_nothing_of_its_own(
    server: ReplayServer, provider: YahooProvider, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        provider.fetch_bars("AAPL", Timeframe.DAILY, FIRST, LAST)
        with pytest.raises(UnknownSymbolError):
            provider.fetch_bars("NOSUCHSYMBOL", Timeframe.DAILY, FIRST, LAST)
    assert not [record for record in caplog.records if record.name.startswith(("yfinance", "peewee", "curl"))]
