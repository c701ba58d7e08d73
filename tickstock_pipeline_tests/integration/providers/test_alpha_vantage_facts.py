"""Splits and dividends as Alpha Vantage lists them."""

from datetime import date
from typing import Any

import pytest

from tickstock_pipeline.errors import ProviderAnswerError
from tickstock_pipeline.market.adjustment import Dividend, Split
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.replay.server import ReplayServer
from tickstock_pipeline.replay.source import MemorySource
from tickstock_pipeline_tests.integration.providers.alpha_vantage_answers import answering, provider_of
from tickstock_pipeline_tests.integration.providers.canned_server import CannedServer, CountingBudget
from tickstock_pipeline_tests.integration.providers.sample_history import FIRST, LAST, raw


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
