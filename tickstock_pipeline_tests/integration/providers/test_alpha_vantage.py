"""Provider ``alpha_vantage`` against a local server, with everything that goes wrong; its key, which nobody sees."""

import logging
import traceback
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import numpy as np
import pytest
import stamina
from pydantic import SecretStr

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
from tickstock_pipeline.providers.alpha_vantage import AlphaVantageProvider
from tickstock_pipeline.providers.base import HistoricalProvider
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

KEY = "K3Y0FTHEACCOUNT"
ZONE = "US/Eastern"

# Notices as users of the service report them.
BURST = (
    "Thank you for using Alpha Vantage! Please consider spreading out your free API requests more sparingly "
    "(1 request per second). You may subscribe to any of the premium plans to lift the free key rate limit "
    "(25 requests per day), raise the per-second burst limit, and instantly unlock all premium endpoints."
)
OF_THE_MINUTE = "Our standard API call frequency is 5 calls per minute and 500 calls per day."
OF_THE_DAY = (
    f"We have detected your API key as {KEY} and our standard API rate limit is 25 requests per day. Please subscribe "
    "to any of the premium plans to instantly remove all daily rate limits."
)
FULL_IS_PREMIUM = (
    "Thank you for using Alpha Vantage! The outputsize=full parameter value is a premium feature for the "
    "TIME_SERIES_DAILY endpoint. You may subscribe to any of the premium plans to unlock all premium features."
)
PREMIUM = "Thank you for using Alpha Vantage! This is a premium endpoint."
NO_KEY = "the parameter apikey is invalid or missing. Please claim your free API key."
NO_SYMBOL = "Invalid API call. Please retry or visit the documentation for TIME_SERIES_DAILY."


def provider_of(url: str, budget: CountingBudget, *, now: datetime = NOW, key: str = KEY) -> AlphaVantageProvider:
    return AlphaVantageProvider(url, SecretStr(key), budget, 5.0, now=lambda: now)


@pytest.fixture
def provider(server: ReplayServer, budget: CountingBudget) -> HistoricalProvider:
    return provider_of(server.url, budget)


def row(price: Any = "10.0000", volume: Any = "1000") -> dict[str, Any]:
    return {"1. open": price, "2. high": price, "3. low": price, "4. close": price, "5. volume": volume}


def daily(rows: dict[str, Any], **meta: str) -> dict[str, Any]:
    said = {"2. Symbol": "AAPL", "4. Output Size": "Full size", "5. Time Zone": ZONE}
    named = {key: meta.get(key.partition(". ")[2].replace(" ", "_"), value) for key, value in said.items()}
    return {"Meta Data": {"1. Information": "Daily Prices", **named}, "Time Series (Daily)": rows}


def minutes(rows: dict[str, Any], **meta: str) -> dict[str, Any]:
    said = {"2. Symbol": "AAPL", "4. Interval": "1min", "5. Output Size": "Full size", "6. Time Zone": ZONE}
    named = {key: meta.get(key.partition(". ")[2].replace(" ", "_"), value) for key, value in said.items()}
    return {"Meta Data": {"1. Information": "Intraday", **named}, "Time Series (1min)": rows}


def answering(value: Any) -> Callable[[Request], Canned]:
    return lambda request: Canned.of(value)


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


def test_splits_and_dividends(budget: CountingBudget) -> None:
    paid = (Dividend("BRK.B", date(2012, 8, 9), 2.65), Dividend("BRK.B", date(2012, 11, 7), 2.65))
    splits = (Split("BRK.B", date(2012, 2, 1), 50.0), Split("BRK.B", date(2012, 3, 1), 0.125))
    bars = raw(date(2012, 1, 3), date(2012, 12, 31))
    series = Bars("BRK.B", bars.timeframe, bars.time, bars.open, bars.high, bars.low, bars.close, bars.volume)
    with ReplayServer(MemorySource([series], splits, paid)) as server:
        provider = provider_of(server.url, budget)
        assert provider.fetch_splits("BRK.B") == splits
        assert provider.fetch_dividends("BRK.B") == paid
        assert {request.query["symbol"] for request in server.requests.all()} == {"BRK-B"}
        assert provider.fetch_bars("BRK.B", Timeframe.DAILY, FIRST, LAST).bars.symbol == "BRK.B"


def test_a_symbol_without_splits_is_looked_up_once(server: ReplayServer, provider: AlphaVantageProvider) -> None:
    assert provider.fetch_dividends("AAPL") == ()
    assert provider.fetch_dividends("AAPL") == ()
    functions = [request.query["function"] for request in server.requests.all()]
    assert functions == ["DIVIDENDS", "TIME_SERIES_DAILY", "DIVIDENDS"]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("401", ProviderRefusedError),
        ("403", ProviderRefusedError),
        ("404", ProviderAnswerError),
        ("html", ProviderAnswerError),
        ("truncated", ProviderAnswerError),
    ],
)
def test_what_no_retry_mends_fails_at_once(
    server: ReplayServer, provider: AlphaVantageProvider, fault: str, error: type[ProviderError]
) -> None:
    server.faults.add(fault, symbol="AAPL")
    with pytest.raises(error, match="AAPL") as raised:
        provider.fetch_bars("AAPL", Timeframe.DAILY, FIRST, LAST)
    assert raised.value.advice
    assert len(server.requests) == 1
    assert len(provider.fetch_bars("MSFT", Timeframe.DAILY, FIRST, LAST).bars)


@pytest.mark.parametrize("fault", ["429", "quota", "500", "502", "503", "cut"])
def test_what_a_retry_mends_is_asked_again_and_the_budget_knows(
    server: ReplayServer, provider: AlphaVantageProvider, budget: CountingBudget, fault: str
) -> None:
    server.faults.add(fault, symbol="AAPL", times=2)
    assert_same_bars(provider.fetch_bars("AAPL", Timeframe.DAILY, FIRST, LAST).bars, raw())
    assert len(server.requests) == budget.acquired == 3


@pytest.mark.parametrize("said", ["what\0ever\ud800\nand\x1b[31mmore", "\u202e"])
def test_what_it_says_is_shown_as_one_line_that_can_be_seen(
    canned: CannedServer, budget: CountingBudget, said: str
) -> None:
    for answer in (
        {"Information": said},
        daily({"2013-03-01": row()}) | {"Meta Data": {"2. Symbol": "AAPL", "5. Time Zone": said}},
    ):
        canned.answer = answering(answer)
        with pytest.raises(ProviderAnswerError) as raised:
            provider_of(canned.url, budget).fetch_bars("AAPL", Timeframe.DAILY, FIRST, LAST)
        assert raised.value.message.isprintable()


def test_a_month_that_fails_leaves_no_short_series(server: ReplayServer, provider: AlphaVantageProvider) -> None:
    server.faults.add("html", nth=2)
    with pytest.raises(ProviderAnswerError):
        provider.fetch_bars("AAPL", Timeframe.MINUTE, date(2005, 2, 22), date(2005, 4, 6))


def test_a_silent_server_is_given_up_after_the_timeout(server: ReplayServer, budget: CountingBudget) -> None:
    server.faults.add("hang", times=None)
    provider = AlphaVantageProvider(server.url, SecretStr(KEY), budget, 0.2, now=lambda: NOW)
    with stamina.set_testing(True, attempts=1), pytest.raises(ProviderUnavailableError, match="AAPL"):
        provider.fetch_splits("AAPL")
    assert len(server.requests) == 1


def test_nobody_listening_is_no_answer(budget: CountingBudget) -> None:
    with pytest.raises(ProviderUnavailableError, match="TICKSTOCK_ALPHA_VANTAGE_URL"):
        provider_of("http://127.0.0.1:9", budget).fetch_splits("AAPL")


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


@pytest.mark.parametrize("name", ["Information", "Note", "Error Message"])
@pytest.mark.parametrize(
    ("notice", "error", "seconds"),
    [
        (BURST, RateLimitedError, 2.0),
        (OF_THE_MINUTE, RateLimitedError, 60.0),
        # from 07:00 in New York to its midnight
        (OF_THE_DAY, RateLimitedError, 17 * 3600.0),
        (FULL_IS_PREMIUM, ProviderRefusedError, None),
        (PREMIUM, ProviderRefusedError, None),
        (NO_KEY, ProviderRefusedError, None),
        (NO_SYMBOL, UnknownSymbolError, None),
        ("All is well", ProviderAnswerError, None),
    ],
)
def test_notices_are_told_apart(
    canned: CannedServer,
    budget: CountingBudget,
    name: str,
    notice: str,
    error: type[ProviderError],
    seconds: float | None,
) -> None:
    canned.answer = answering({name: notice})
    with pytest.raises(error) as raised:
        provider_of(canned.url, budget).fetch_bars("AAPL", Timeframe.DAILY, FIRST, LAST)
    assert type(raised.value).__name__ == error.__name__
    assert KEY not in str(raised.value)
    if isinstance(raised.value, RateLimitedError):
        assert raised.value.retry_after_seconds == seconds
        assert budget.penalties
        assert set(budget.penalties) == {seconds}
        # only what is over soon is waited for
        assert (len(canned.requests) > 1) == (seconds is not None and seconds <= 60)
    else:
        assert len(canned.requests) == 1


def test_the_quota_of_the_day_ends_at_midnight_in_new_york_also_when_the_clock_changes(
    canned: CannedServer, budget: CountingBudget
) -> None:
    canned.answer = answering({"Information": OF_THE_DAY})
    # on 2012-11-04 at 01:30 EDT, half an hour before the clock goes back
    provider = provider_of(canned.url, budget, now=datetime(2012, 11, 4, 5, 30, tzinfo=UTC))
    with pytest.raises(RateLimitedError) as raised:
        provider.fetch_bars("AAPL", Timeframe.DAILY, FIRST, LAST)
    assert raised.value.retry_after_seconds == 23.5 * 3600


def test_what_the_plan_lacks_is_asked_for_once_a_day(canned: CannedServer, budget: CountingBudget) -> None:
    def answer(request: Request) -> Canned:
        if request.query["outputsize"] == "full":
            return Canned.of({"Information": FULL_IS_PREMIUM})
        return Canned.of(daily({"2013-03-01": row()}, Symbol=request.query["symbol"], Output_Size="Compact"))

    canned.answer = answer
    now = [NOW]
    provider = AlphaVantageProvider(canned.url, SecretStr(KEY), budget, 5.0, now=lambda: now[0])
    for symbol in ("AAPL", "MSFT", "IBM"):
        with pytest.raises(ProviderRefusedError, match=r"100 sessions.*premium"):
            provider.fetch_bars(symbol, Timeframe.DAILY, FIRST, LAST)
        assert len(provider.fetch_bars(symbol, Timeframe.DAILY, date(2013, 1, 2), LAST).bars) == 1
    assert len(canned.requests) == 4
    now[0] += timedelta(days=1)
    with pytest.raises(ProviderRefusedError):
        provider.fetch_bars("AAPL", Timeframe.DAILY, FIRST, LAST)
    assert len(canned.requests) == 5


def test_a_month_before_the_first_trade_is_empty_and_an_unknown_symbol_is_not(
    canned: CannedServer, budget: CountingBudget
) -> None:
    def answer(request: Request) -> Canned:
        if request.query["symbol"] != "AAPL":
            return Canned.of({"Error Message": NO_SYMBOL})
        if request.query["function"] == "TIME_SERIES_DAILY":
            return Canned.of(daily({"2013-03-01": row()}))
        if request.query["month"] < "2013-02":
            return Canned.of({"Error Message": NO_SYMBOL})
        return Canned.of(minutes({f"{request.query['month']}-01 09:30:00": row()}))

    canned.answer = answer
    provider = provider_of(canned.url, budget)
    fetched = provider.fetch_bars("AAPL", Timeframe.MINUTE, date(2012, 11, 1), LAST)
    assert fetched.bars.time.tolist() == [datetime(2013, 2, 1, 14, 30), datetime(2013, 3, 1, 14, 30)]
    # five months, and one question whether there is such a symbol
    assert len(canned.requests) == 6
    with pytest.raises(UnknownSymbolError, match="NOSUCH"):
        provider.fetch_bars("NOSUCH", Timeframe.MINUTE, date(2012, 1, 1), LAST)
    assert len(canned.requests) == 8


@pytest.mark.parametrize(
    "answer",
    [
        Canned(b""),
        Canned(b"null"),
        Canned(b"[]"),
        Canned(b"{}"),
        Canned(b"<html>"),
        Canned(b"[" * 200_000),
        Canned(b"\xff\xfe\x00"),
        Canned(b'{"Meta Data": {"2. Symbol": "AAPL"'),
        Canned(b"timestamp,open,high,low,close,volume\r\n"),
        Canned(b"", 302, {"Location": "http://127.0.0.1:9/"}),
        Canned.of(daily({}), 404),
        Canned.of({"Meta Data": {}}),
        Canned.of({"Meta Data": [], "Time Series (Daily)": {}}),
        Canned.of({"Meta Data": {"2. Symbol": "AAPL"}, "Time Series (Daily)": []}),
        Canned.of(minutes({})),
        Canned.of(daily({"2012-01-03": row()}, Symbol="MSFT")),
        Canned.of(daily({"2012-01-03": row()}, Output_Size="Compact")),
        Canned.of(daily({"2012-01-03": row()}, Time_Zone="UTC")),
    ],
)
def test_what_is_no_answer_to_the_question_is_not_trusted(
    canned: CannedServer, budget: CountingBudget, answer: Canned
) -> None:
    canned.answer = lambda request: answer
    with pytest.raises(ProviderAnswerError, match="AAPL") as raised:
        provider_of(canned.url, budget).fetch_bars("AAPL", Timeframe.DAILY, FIRST, LAST)
    assert raised.value.advice
    assert len(canned.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        daily({}),
        minutes({"2013-02-01 09:30:00": row()}, Interval="5min"),
        minutes({"2013-02-01 09:30:00": row()}, Symbol="MSFT"),
        minutes({"2013-02-01 09:30:00": row()}, Output_Size="Compact"),
        # the month was ignored
        minutes({"2013-02-01 09:30:00": row(), "2013-03-01 09:30:00": row()}),
    ],
)
def test_minutes_of_something_else_are_not_trusted(
    canned: CannedServer, budget: CountingBudget, answer: dict[str, Any]
) -> None:
    canned.answer = answering(answer)
    with pytest.raises(ProviderAnswerError, match="AAPL"):
        provider_of(canned.url, budget).fetch_bars("AAPL", Timeframe.MINUTE, date(2013, 2, 1), date(2013, 2, 28))


@pytest.mark.parametrize(
    "answer",
    [
        {"symbol": "AAPL"},
        {"symbol": "MSFT", "data": []},
        {"symbol": "AAPL", "data": ["x"]},
        {"symbol": "AAPL", "data": [{"effective_date": "2005-02-28"}]},
        {"symbol": "AAPL", "data": [{"effective_date": "soon", "split_factor": "2.0"}]},
        {"symbol": "AAPL", "data": [{"effective_date": "2005-02-28", "split_factor": "nan"}]},
        {"symbol": "AAPL", "data": [{"effective_date": "2005-02-28", "split_factor": "0"}]},
        {"symbol": "AAPL", "data": [{"effective_date": "2005-02-28", "split_factor": "inf"}]},
        {"symbol": "AAPL", "data": [{"effective_date": "None", "split_factor": "2.0"}]},
    ],
)
def test_a_split_that_cannot_be_read_fails_the_symbol(
    canned: CannedServer, budget: CountingBudget, answer: dict[str, Any]
) -> None:
    canned.answer = answering(answer)
    with pytest.raises(ProviderAnswerError, match="splits"):
        provider_of(canned.url, budget).fetch_splits("AAPL")


@pytest.mark.parametrize(
    ("factors", "ratio"),
    [
        (["2.0000"], 2.0),
        # a row that is sent twice, and what really are two
        (["7.0000", "7.0000"], 7.0),
        (["2.0000", "3.0000"], 6.0),
        # four decimals are all that it gives
        (["1.3333"], 4 / 3),
        (["0.3333"], 1 / 3),
        (["0.0667"], 1 / 15),
        (["0.0286"], 1 / 35),
        (["0.0050"], 1 / 200),
        # of a spin-off, which is no fraction of anything
        (["1.0461"], 1.0461),
    ],
)
def test_the_splits_of_a_day_are_one_whose_ratio_is_what_was_rounded(
    canned: CannedServer, budget: CountingBudget, factors: list[str], ratio: float
) -> None:
    rows = [{"effective_date": "2012-08-09", "split_factor": factor} for factor in factors]
    canned.answer = answering({"symbol": "AAPL", "data": rows})

    assert provider_of(canned.url, budget).fetch_splits("AAPL") == (Split("AAPL", date(2012, 8, 9), ratio),)


def test_dividends_without_a_date_are_left_out_and_two_on_a_day_are_one(
    canned: CannedServer, budget: CountingBudget
) -> None:
    rows = [("None", "1.0"), ("2012-08-09", "2.65"), ("2012-08-09", "0.35"), ("2012-02-09", "0")]
    rows += rows[1:2]
    canned.answer = answering(
        {"symbol": "AAPL", "data": [{"ex_dividend_date": day, "amount": amount} for day, amount in rows]}
    )
    assert provider_of(canned.url, budget).fetch_dividends("AAPL") == (Dividend("AAPL", date(2012, 8, 9), 3.0),)


def test_rows_that_are_not_numbers_are_refused_one_by_one(canned: CannedServer, budget: CountingBudget) -> None:
    rows = {
        "2013-03-01": row(),
        "2013-02-28": row("ten"),
        "2013-02-27": {"1. open": "1.0"},
        "2013-02-26": "\0",
        "yesterday": row(),
        "2013-02-25": row("nan"),
        "2012-02-24": row("outside of the range"),
    }
    canned.answer = answering(daily(rows))
    fetched = provider_of(canned.url, budget).fetch_bars("AAPL", Timeframe.DAILY, date(2013, 1, 1), LAST)
    assert fetched.bars.time.tolist() == [datetime(2013, 3, 1)]
    assert [refused.time for refused in fetched.refused] == [
        "2013-02-28",
        "2013-02-27",
        "2013-02-26",
        "yesterday",
        "2013-02-25",
    ]
    assert not any("\0" in str(refused.raw) for refused in fetched.refused)


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


class TestKey:
    def test_a_wrong_key_is_refused_in_words_that_help(self, server: ReplayServer, budget: CountingBudget) -> None:
        provider = provider_of(server.url, budget, key="WRONGKEY")
        with pytest.raises(ProviderRefusedError, match="TICKSTOCK_ALPHA_VANTAGE_API_KEY") as raised:
            provider.fetch_splits("AAPL")
        assert "WRONGKEY" not in str(raised.value)

    def test_the_key_is_sent_and_nobody_sees_it(
        self, server: ReplayServer, canned: CannedServer, budget: CountingBudget, caplog: pytest.LogCaptureFixture
    ) -> None:
        seen: list[str] = []
        with caplog.at_level(logging.DEBUG):
            provider = provider_of(server.url, budget)
            provider.fetch_bars("AAPL", Timeframe.DAILY, FIRST, LAST)
            seen += [repr(provider), repr(vars(provider)), repr(vars(provider._client))]
            for url, answer in (
                ("http://127.0.0.1:9", None),
                (canned.url, Canned.of({"Information": OF_THE_DAY})),
                (canned.url, Canned.of({"Information": f"Unheard of: {KEY.lower()}"})),
                (canned.url, Canned(b"", 500)),
                (canned.url, Canned(b"x", length=10)),
                (canned.url, Canned(f"<html>{KEY}".encode())),
            ):
                if answer is not None:
                    canned.answer = lambda request, answer=answer: answer  # type: ignore[misc]
                with pytest.raises(ProviderError) as raised:
                    provider_of(url, budget).fetch_bars("AAPL", Timeframe.DAILY, FIRST, LAST)
                seen += [repr(raised.value), *traceback.format_exception(raised.value)]
                cause = raised.value.__cause__
                seen += [repr(vars(cause)), str(cause.request.url)] if isinstance(cause, httpx.RequestError) else []
        # not what the server of the test logs
        ours = [record for record in caplog.records if not record.name.startswith("uvicorn")]
        seen += [record.getMessage() + repr(record.args) for record in ours]
        assert any("HTTP Request" in text for text in seen), "httpx logs its URLs, and was heard"
        assert canned.requests[-1].query["apikey"] == KEY
        assert not [text for text in seen if KEY.lower() in text.lower()]
