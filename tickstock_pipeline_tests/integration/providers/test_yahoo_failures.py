"""What comes of Yahoo's failures: asked again, given up or raised at once."""

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
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.base import HistoricalProvider
from tickstock_pipeline.providers.retries import ATTEMPTS
from tickstock_pipeline.providers.yahoo import YahooProvider
from tickstock_pipeline.replay.server import ReplayServer
from tickstock_pipeline_tests.integration.providers.canned_server import CannedServer, CountingBudget
from tickstock_pipeline_tests.integration.providers.sample_history import FIRST, LAST, NOW, raw
from tickstock_pipeline_tests.integration.providers.yahoo_charts import answering, chart, unix
from tickstock_pipeline_tests.same_bars import assert_same_bars


@pytest.fixture
def provider(server: ReplayServer, budget: CountingBudget) -> HistoricalProvider:
    return YahooProvider(server.url, budget, 5.0, now=lambda: NOW)


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
