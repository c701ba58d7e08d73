"""Splits and dividends of Yahoo, and prices and volumes with its adjustment undone."""

from datetime import UTC, date, datetime
from typing import Any

import pytest

from tickstock_pipeline.errors import ProviderAnswerError
from tickstock_pipeline.market.adjustment import Dividend, Split
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.yahoo import YahooProvider
from tickstock_pipeline.replay.server import ReplayServer
from tickstock_pipeline.replay.source import MemorySource
from tickstock_pipeline_tests.integration.providers.canned_server import CannedServer, CountingBudget
from tickstock_pipeline_tests.integration.providers.sample_history import NOW, raw
from tickstock_pipeline_tests.integration.providers.yahoo_charts import NEW_YORK, answering, chart, unix


def split_event(day: date, numerator: float, denominator: float = 1) -> dict[str, Any]:
    return {str(unix(day)): {"date": unix(day), "numerator": numerator, "denominator": denominator}}


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
