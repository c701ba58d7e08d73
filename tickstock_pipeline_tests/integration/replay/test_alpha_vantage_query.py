"""Alpha Vantage's endpoint. The shapes are those of its documentation's examples."""

from typing import Any

import httpx
import pytest

from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.replay.server import ReplayServer


def ask(server: ReplayServer, function: str, **parameters: str) -> Any:
    return httpx.get(f"{server.url}/query", params={"function": function, "apikey": "key", **parameters}).json()


def test_days_come_newest_first_as_traded_and_as_text(server: ReplayServer, bars_of_2005: dict[str, Bars]) -> None:
    answer = ask(server, "TIME_SERIES_DAILY", symbol="AAPL", outputsize="full")
    series = answer["Time Series (Daily)"]

    assert answer["Meta Data"] == {
        "1. Information": "Daily Prices (open, high, low, close) and Volumes",
        "2. Symbol": "AAPL",
        "3. Last Refreshed": "2005-12-30",
        "4. Output Size": "Full size",
        "5. Time Zone": "US/Eastern",
    }
    assert list(series) == [str(day) for day in bars_of_2005["AAPL"].time.astype("datetime64[D]")[::-1]]
    assert series["2005-02-25"]["4. close"] == "88.9900"
    assert list(series["2005-02-25"]) == ["1. open", "2. high", "3. low", "4. close", "5. volume"]


def test_compact_is_a_hundred_days(server: ReplayServer) -> None:
    answer = ask(server, "TIME_SERIES_DAILY", symbol="AAPL")

    assert len(answer["Time Series (Daily)"]) == 100
    assert answer["Meta Data"]["4. Output Size"] == "Compact"


def test_adjusted_days_carry_splits_and_dividends(server: ReplayServer) -> None:
    apple = ask(server, "TIME_SERIES_DAILY_ADJUSTED", symbol="AAPL", outputsize="full")["Time Series (Daily)"]
    ibm = ask(server, "TIME_SERIES_DAILY_ADJUSTED", symbol="IBM", outputsize="full")["Time Series (Daily)"]

    assert apple["2005-02-25"]["4. close"] == "88.9900"
    assert apple["2005-02-25"]["5. adjusted close"] == "44.4950"
    assert apple["2005-02-28"]["8. split coefficient"] == "2.0"
    assert ibm["2005-05-06"]["7. dividend amount"] == "0.2000"
    before, after = ibm["2005-05-05"], ibm["2005-05-06"]
    assert after["5. adjusted close"] == after["4. close"]
    expected = float(before["4. close"]) - 0.20
    assert float(before["5. adjusted close"]) == pytest.approx(expected, abs=1e-4)


def test_a_month_of_minutes_is_stamped_with_their_start_in_new_york(server: ReplayServer) -> None:
    answer = ask(
        server,
        "TIME_SERIES_INTRADAY",
        symbol="IBM",
        interval="1min",
        month="2005-11",
        outputsize="full",
        adjusted="false",
        extended_hours="false",
    )
    times = list(answer["Time Series (1min)"])

    # 21 sessions, of which the Friday after Thanksgiving is a half day
    assert len(times) == 20 * 390 + 210
    assert (times[0], times[-1]) == ("2005-11-30 15:59:00", "2005-11-01 09:30:00")
    assert answer["Meta Data"]["4. Interval"] == "1min"


def test_minutes_are_split_adjusted_unless_told_otherwise(server: ReplayServer) -> None:
    parameters = {"symbol": "AAPL", "interval": "1min", "month": "2005-02", "outputsize": "full"}
    adjusted = ask(server, "TIME_SERIES_INTRADAY", **parameters)["Time Series (1min)"]
    raw = ask(server, "TIME_SERIES_INTRADAY", adjusted="false", **parameters)["Time Series (1min)"]

    assert (adjusted["2005-02-25 15:59:00"]["4. close"], raw["2005-02-25 15:59:00"]["4. close"]) == (
        "44.4950",
        "88.9900",
    )


def test_csv_has_the_same_rows(server: ReplayServer) -> None:
    text = httpx.get(
        f"{server.url}/query",
        params={"function": "TIME_SERIES_DAILY", "symbol": "IBM", "apikey": "key", "datatype": "csv"},
    ).text
    lines = text.splitlines()
    series = ask(server, "TIME_SERIES_DAILY", symbol="IBM")["Time Series (Daily)"]

    assert lines[0] == "timestamp,open,high,low,close,volume"
    assert lines[1:] == [",".join([day, *values.values()]) for day, values in series.items()]


def test_splits_and_dividends(server: ReplayServer) -> None:
    assert ask(server, "SPLITS", symbol="AAPL") == {
        "symbol": "AAPL",
        "data": [{"effective_date": "2005-02-28", "split_factor": "2.0000"}],
    }
    dividends = ask(server, "DIVIDENDS", symbol="IBM")["data"]
    assert [(item["ex_dividend_date"], item["amount"]) for item in dividends] == [
        ("2005-05-06", "0.2"),
        ("2005-02-08", "0.18"),
    ]


def test_the_quote_is_the_last_day(server: ReplayServer, bars_of_2005: dict[str, Bars]) -> None:
    quote = ask(server, "GLOBAL_QUOTE", symbol="IBM")["Global Quote"]
    closes = bars_of_2005["IBM"].close

    assert quote["07. latest trading day"] == "2005-12-30"
    assert (float(quote["05. price"]), float(quote["08. previous close"])) == (closes[-1], closes[-2])


def test_the_market_status_needs_no_symbol(server: ReplayServer) -> None:
    assert ask(server, "MARKET_STATUS")["markets"][0]["current_status"] in {"open", "closed"}


@pytest.mark.parametrize("spelling", ["BRK.B", "BRK-B", "brk.b"])
def test_share_classes_are_found_in_any_spelling(server: ReplayServer, spelling: str) -> None:
    assert "Time Series (Daily)" in ask(server, "TIME_SERIES_DAILY", symbol=spelling)


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        ("TIME_SERIES_DAILY", {"symbol": "NOPE"}),
        ("TIME_SERIES_DAILY", {}),
        ("TIME_SERIES_YEARLY", {"symbol": "IBM"}),
        ("TIME_SERIES_INTRADAY", {"symbol": "IBM"}),
        ("TIME_SERIES_INTRADAY", {"symbol": "IBM", "interval": "1min", "month": "2005-13"}),
        ("TIME_SERIES_DAILY", {"symbol": "IBM", "apikey": ""}),
    ],
)
def test_a_call_that_it_cannot_answer_is_an_error_inside_a_200(
    server: ReplayServer, function: str, parameters: dict[str, str]
) -> None:
    assert list(ask(server, function, **parameters)) == ["Error Message"]
