"""Answers of Alpha Vantage to another question are refused as a whole, and bad rows one by one."""

from datetime import date, datetime
from typing import Any

import pytest

from tickstock_pipeline.errors import ProviderAnswerError
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline_tests.integration.providers.alpha_vantage_answers import (
    answering,
    daily,
    minutes,
    provider_of,
    row,
)
from tickstock_pipeline_tests.integration.providers.canned_server import Canned, CannedServer, CountingBudget
from tickstock_pipeline_tests.integration.providers.sample_history import FIRST, LAST


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
