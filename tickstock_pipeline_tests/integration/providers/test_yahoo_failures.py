"""What comes of Yahoo's failures: asked again, given up or raised at once."""

import pytest

from tickstock_pipeline.errors import (
    ProviderError,
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
from tickstock_pipeline_tests.integration.providers.failure_contract import FailureContract
from tickstock_pipeline_tests.integration.providers.sample_history import FIRST, LAST, NOW
from tickstock_pipeline_tests.integration.providers.yahoo_charts import answering, chart, unix


@pytest.fixture
def provider(server: ReplayServer, budget: CountingBudget) -> HistoricalProvider:
    return YahooProvider(server.url, budget, 5.0, now=lambda: NOW)


class TestFailures(FailureContract):
    not_found = UnknownSymbolError
    url_setting = "TICKSTOCK_YAHOO_URL"

    def provider_at(self, url: str, budget: CountingBudget, timeout: float) -> HistoricalProvider:
        return YahooProvider(url, budget, timeout, now=lambda: NOW)


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
