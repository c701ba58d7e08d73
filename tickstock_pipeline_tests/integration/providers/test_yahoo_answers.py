"""Charts of Yahoo that are not whole or not what was asked for are not trusted."""

from datetime import date
from typing import Any

import pytest

from tickstock_pipeline.errors import ProviderAnswerError, UnknownSymbolError
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.yahoo import YahooProvider
from tickstock_pipeline_tests.integration.providers.canned_server import Canned, CannedServer, CountingBudget
from tickstock_pipeline_tests.integration.providers.sample_history import FIRST, LAST, NOW
from tickstock_pipeline_tests.integration.providers.yahoo_charts import answering, chart, unix

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
