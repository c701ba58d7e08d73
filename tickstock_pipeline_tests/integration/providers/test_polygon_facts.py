"""Splits and dividends as Polygon lists them, and which symbols it knows."""

from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr

from tickstock_pipeline.errors import ProviderAnswerError
from tickstock_pipeline.market.adjustment import Dividend, Split
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.polygon import PolygonProvider
from tickstock_pipeline.replay.server import ReplayServer
from tickstock_pipeline.replay.source import MemorySource
from tickstock_pipeline_tests.integration.providers.canned_server import Canned, CannedServer, CountingBudget, Request
from tickstock_pipeline_tests.integration.providers.polygon_answers import AGGREGATES, KEY, daily, on, page


def test_an_empty_answer_for_a_known_symbol_is_no_bars(polygon: PolygonProvider, server: ReplayServer) -> None:
    server.faults.add("empty", path=AGGREGATES, times=None)

    assert len(daily(polygon)) == 0
    assert len(daily(polygon)) == 0
    # the listing is looked up once
    assert server.requests.count(path="/v3/reference/tickers") == 1


def test_splits_and_dividends_are_those_of_the_market() -> None:
    days = trading_calendar().sessions(date(2024, 1, 2), date(2024, 12, 31))
    flat = np.full(len(days), 50.0)
    bars = Bars(
        "BRK.B",
        Timeframe.DAILY,
        days.astype("datetime64[us]"),
        flat,
        flat,
        flat,
        flat,
        np.full(len(days), 100, np.int64),
    )
    splits = [Split("BRK.B", date(2024, 3, 1), 0.1), Split("BRK.B", date(2024, 9, 3), 1.5)]
    dividends = [Dividend("BRK.B", date(2024, 2, 8 + n), 0.25) for n in range(3)]
    with ReplayServer(MemorySource([bars], splits, dividends)) as server:
        provider = PolygonProvider(server.url, SecretStr(KEY), CountingBudget(), 5.0)

        assert provider.fetch_splits("BRK.B") == tuple(splits)
        assert provider.fetch_dividends("BRK-B") == tuple(Dividend("BRK-B", one.ex_date, 0.25) for one in dividends)


def test_reference_pages_are_followed(canned: CannedServer) -> None:
    def answer(request: Request) -> Canned:
        n = int(request.query.get("cursor", "0"))
        results = [
            {"ticker": "AAPL", "ex_dividend_date": f"2020-01-{n + 1:02d}", "cash_amount": 0.5, "currency": "USD"}
        ]
        link = {"next_url": f"{canned.url}/v3/reference/dividends?cursor={n + 1}"} if n < 4 else {}
        return Canned.of({"status": "OK", "results": results, **link})

    canned.answer = answer
    assert [one.ex_date.day for one in on(canned).fetch_dividends("AAPL")] == [1, 2, 3, 4, 5]


def test_what_is_announced_only_is_left_out(canned: CannedServer) -> None:
    def answer(request: Request) -> Canned:
        dates = ["2025-12-31", "2026-01-02", "2026-01-05"]
        return Canned.of(
            {
                "status": "OK",
                "results": [
                    {
                        "ticker": "AAPL",
                        "execution_date": day,
                        "split_from": 1,
                        "split_to": 2,
                        "ex_dividend_date": day,
                        "cash_amount": 1,
                    }
                    for day in dates
                ],
            }
        )

    canned.answer = answer
    provider = on(canned, now=datetime(2026, 1, 2, 15, tzinfo=UTC))

    assert [split.ex_date.day for split in provider.fetch_splits("AAPL")] == [31, 2]
    assert [dividend.ex_date.day for dividend in provider.fetch_dividends("AAPL")] == [31, 2]


def test_dividends_of_a_day_are_added_up_and_other_currencies_left_out(canned: CannedServer) -> None:
    amounts = [("USD", 0.1), ("USD", 0.2), ("CAD", 5.0), ("USD", 0.0)]
    canned.answer = lambda request: Canned.of(
        {
            "status": "OK",
            "results": [
                {"ticker": "AAPL", "ex_dividend_date": "2020-02-07", "cash_amount": amount, "currency": currency}
                for currency, amount in amounts
            ],
        }
    )

    assert on(canned).fetch_dividends("AAPL") == (Dividend("AAPL", date(2020, 2, 7), 0.30000000000000004),)


def test_facts_that_are_sent_twice_count_once_and_splits_of_a_day_are_one(canned: CannedServer) -> None:
    def facts(id_: str, split_to: int, kind: str) -> dict[str, Any]:
        dividend = {"ex_dividend_date": "2020-12-09", "cash_amount": 0.5, "dividend_type": kind, "currency": "USD"}
        split = {"execution_date": "2020-12-09", "split_from": 2, "split_to": split_to}
        return {"id": id_, "ticker": "AAPL", **dividend, **split}

    rows = [facts("1", 4, "CD"), facts("2", 4, "CD"), facts("3", 3, "SC"), facts("4", 4, "SC")]
    canned.answer = lambda request: Canned.of({"status": "OK", "results": rows})

    assert on(canned).fetch_dividends("AAPL") == (Dividend("AAPL", date(2020, 12, 9), 1.0),)
    assert on(canned).fetch_splits("AAPL") == (Split("AAPL", date(2020, 12, 9), 3.0),)


@pytest.mark.parametrize(
    "wrong",
    [
        {"ticker": "MSFT"},
        {"execution_date": "soon", "ex_dividend_date": None},
        {"split_from": 0, "cash_amount": "much"},
        {"split_to": -1, "cash_amount": float("nan")},
        {"split_from": None, "cash_amount": None},
        {"split_to": float("inf"), "cash_amount": float("inf")},
    ],
)
def test_a_fact_that_cannot_be_read_is_never_left_out(wrong: dict[str, Any], canned: CannedServer) -> None:
    good = {
        "ticker": "AAPL",
        "execution_date": "2020-08-31",
        "split_from": 1,
        "split_to": 4,
        "ex_dividend_date": "2020-02-07",
        "cash_amount": 0.77,
    }
    canned.answer = lambda request: Canned.of({"status": "OK", "results": [good, good | wrong]})

    with pytest.raises(ProviderAnswerError, match="splits of AAPL"):
        on(canned).fetch_splits("AAPL")
    with pytest.raises(ProviderAnswerError, match="dividends of AAPL"):
        on(canned).fetch_dividends("AAPL")


def test_a_symbol_that_trades_no_more_is_known(canned: CannedServer) -> None:
    def answer(request: Request) -> Canned:
        if request.path.startswith("/v2/aggs"):
            return Canned.of(page(results=[], ticker="LEHMQ"))
        if request.path == "/v3/reference/tickers":
            assert request.query["active"] == "false"
            return Canned.of({"status": "OK", "results": [{"ticker": request.query["ticker"], "active": False}]})
        return Canned.of({"status": "NOT_FOUND", "message": "Ticker not found."}, 404)

    canned.answer = answer

    assert len(daily(on(canned), "LEHMQ")) == 0
