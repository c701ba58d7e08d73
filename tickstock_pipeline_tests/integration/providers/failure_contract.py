"""What must come of failures at every provider that sends all of a history in one answer."""

from abc import abstractmethod

import pytest
import stamina

from tickstock_pipeline.errors import (
    ProviderAnswerError,
    ProviderError,
    ProviderRefusedError,
    ProviderUnavailableError,
)
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.base import HistoricalProvider
from tickstock_pipeline.replay.server import ReplayServer
from tickstock_pipeline_tests.integration.providers.canned_server import CountingBudget
from tickstock_pipeline_tests.integration.providers.sample_history import FIRST, LAST, raw
from tickstock_pipeline_tests.same_bars import assert_same_bars


class FailureContract:
    """Inherited by the tests of each such provider.

    Attributes
    ----------
    not_found : what HTTP's status 404 means at this provider
    url_setting : of the environment
    """

    not_found: type[ProviderError]
    url_setting: str

    @abstractmethod
    def provider_at(self, url: str, budget: CountingBudget, timeout: float) -> HistoricalProvider:
        """A provider whose server is at ``url``."""

    @pytest.mark.parametrize(
        ("fault", "error"),
        [
            ("401", ProviderRefusedError),
            ("403", ProviderRefusedError),
            ("404", None),
            ("html", ProviderAnswerError),
            ("truncated", ProviderAnswerError),
        ],
    )
    def test_what_no_retry_mends_fails_at_once(
        self, server: ReplayServer, budget: CountingBudget, fault: str, error: type[ProviderError] | None
    ) -> None:
        provider = self.provider_at(server.url, budget, 5.0)
        server.faults.add(fault, symbol="AAPL")
        with pytest.raises(error or self.not_found, match="AAPL") as raised:
            provider.fetch_bars("AAPL", Timeframe.DAILY, FIRST, LAST)
        assert raised.value.advice
        assert len(server.requests) == 1
        assert len(provider.fetch_bars("MSFT", Timeframe.DAILY, FIRST, LAST).bars)

    @pytest.mark.parametrize("fault", ["429", "quota", "500", "502", "503", "cut"])
    def test_what_a_retry_mends_is_asked_again_and_the_budget_knows(
        self, server: ReplayServer, budget: CountingBudget, fault: str
    ) -> None:
        server.faults.add(fault, symbol="AAPL", times=2)
        fetched = self.provider_at(server.url, budget, 5.0).fetch_bars("AAPL", Timeframe.DAILY, FIRST, LAST)
        assert_same_bars(fetched.bars, raw())
        assert len(server.requests) == budget.acquired == 3

    def test_a_silent_server_is_given_up_after_the_timeout(self, server: ReplayServer, budget: CountingBudget) -> None:
        server.faults.add("hang", times=None)
        with stamina.set_testing(True, attempts=1), pytest.raises(ProviderUnavailableError, match="AAPL"):
            self.provider_at(server.url, budget, 0.2).fetch_splits("AAPL")
        assert len(server.requests) == 1

    def test_nobody_listening_is_no_answer(self, budget: CountingBudget) -> None:
        with pytest.raises(ProviderUnavailableError, match=self.url_setting):
            self.provider_at("http://127.0.0.1:9", budget, 2.0).fetch_splits("AAPL")
