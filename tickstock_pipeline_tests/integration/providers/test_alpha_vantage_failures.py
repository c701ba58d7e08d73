"""What comes of Alpha Vantage's failures and notices, and its key, which nobody sees."""

import logging
import traceback
from datetime import UTC, date, datetime, timedelta

import httpx
import pytest
from pydantic import SecretStr

from tickstock_pipeline.errors import (
    ProviderAnswerError,
    ProviderError,
    ProviderRefusedError,
    RateLimitedError,
    UnknownSymbolError,
)
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
from tickstock_pipeline_tests.integration.providers.canned_server import Canned, CannedServer, CountingBudget, Request
from tickstock_pipeline_tests.integration.providers.failure_contract import FailureContract
from tickstock_pipeline_tests.integration.providers.sample_history import FIRST, LAST, NOW

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


@pytest.fixture
def provider(server: ReplayServer, budget: CountingBudget) -> HistoricalProvider:
    return provider_of(server.url, budget)


class TestFailures(FailureContract):
    not_found = ProviderAnswerError
    url_setting = "TICKSTOCK_ALPHA_VANTAGE_URL"

    def provider_at(self, url: str, budget: CountingBudget, timeout: float) -> HistoricalProvider:
        return AlphaVantageProvider(url, SecretStr(KEY), budget, timeout, now=lambda: NOW)


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
