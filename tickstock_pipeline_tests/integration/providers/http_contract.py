"""What every provider must do that asks over HTTP, whatever the answers mean."""

import time
from abc import abstractmethod

import pytest
import stamina

from tickstock_pipeline.errors import ProviderUnavailableError
from tickstock_pipeline.providers.base import HistoricalProvider
from tickstock_pipeline_tests.integration.providers.canned_server import (
    Canned,
    CannedServer,
    CountingBudget,
    trickling_server,
)


class HttpContract:
    """Inherited by the tests of each provider.

    Attributes
    ----------
    deadline_in_timeouts : how much longer than the longest silence a whole answer may take
    """

    deadline_in_timeouts = 4

    @abstractmethod
    def provider_at(self, url: str, budget: CountingBudget, timeout: float) -> HistoricalProvider:
        """A provider whose server is at ``url``."""

    def test_a_body_that_trickles_in_is_given_up_though_it_is_never_silent(self, budget: CountingBudget) -> None:
        timeout = 0.2
        with trickling_server() as url:
            provider = self.provider_at(url, budget, timeout)
            start = time.monotonic()
            with stamina.set_testing(True, attempts=1, cap=True), pytest.raises(ProviderUnavailableError):
                provider.fetch_splits("AAPL")
            elapsed = time.monotonic() - start

        assert timeout * self.deadline_in_timeouts * 0.99 <= elapsed < 20.0

    @pytest.mark.parametrize("status", [408, 425, 500, 503])
    def test_a_server_that_cannot_answer_now_is_asked_again_when_it_says(
        self, canned: CannedServer, budget: CountingBudget, status: int
    ) -> None:
        answers = [Canned(b"", status, {"Retry-After": "0"}), Canned(b"", status, {"Retry-After": "999"})]
        canned.answer = lambda request: answers[len(canned.requests) - 1]

        with pytest.raises(ProviderUnavailableError, match="AAPL") as raised:
            self.provider_at(canned.url, budget, 5.0).fetch_splits("AAPL")
        assert len(canned.requests) == budget.acquired == 2
        assert raised.value.retry_after_seconds == 999
