"""Polygon's REST API, asked by its own client."""

from collections.abc import Iterator
from datetime import UTC, date, datetime

import httpx
import numpy as np
import pytest
from massive import RESTClient
from massive.exceptions import BadResponse

from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.replay.bridge import minutes_from_days
from tickstock_pipeline.replay.server import ReplayServer
from tickstock_pipeline.replay.source import MemorySource

YEAR = "2005-01-01", "2005-12-31"


@pytest.fixture
def client(server: ReplayServer) -> Iterator[RESTClient]:
    found = RESTClient("any key", base=server.url, retries=0)
    yield found
    found.client.clear()


def new_york(text: str) -> int:
    """Unix milliseconds of an instant with its offset."""
    return int(datetime.fromisoformat(text).timestamp() * 1_000)


def test_days_are_as_traded_and_stamped_at_midnight_in_new_york(
    client: RESTClient, bars_of_2005: dict[str, Bars]
) -> None:
    found = list(client.list_aggs("AAPL", 1, "day", *YEAR, adjusted=False))
    bars = bars_of_2005["AAPL"]

    assert [bar.close for bar in found] == bars.close.tolist()
    assert [bar.volume for bar in found] == bars.volume.tolist()
    assert found[0].timestamp == new_york("2005-01-03T00:00-05:00")
    assert found[-1].timestamp == new_york("2005-12-30T00:00-05:00")
    assert found[150].timestamp == new_york("2005-08-08T00:00-04:00")


def test_days_are_split_adjusted_unless_told_otherwise(client: RESTClient) -> None:
    # Apple split 2:1 on 2005-02-28; its close of the day before was 88.99
    friday, monday = client.get_aggs("AAPL", 1, "day", "2005-02-25", "2005-02-28")
    raw = client.get_aggs("AAPL", 1, "day", "2005-02-25", "2005-02-25", adjusted=False)[0]

    assert (friday.close, monday.close) == (44.495, 44.86)
    assert (raw.close, raw.volume * 2) == (88.99, friday.volume)


@pytest.mark.parametrize("sort", ["asc", "desc"])
def test_pages_add_up_to_the_whole(client: RESTClient, server: ReplayServer, sort: str) -> None:
    whole = list(client.list_aggs("AAPL", 1, "day", *YEAR, sort=sort, adjusted=False))
    server.requests.clear()
    paged = list(client.list_aggs("AAPL", 1, "day", *YEAR, sort=sort, adjusted=False, limit=100))

    assert paged == whole
    assert server.requests.count(path="/v2/aggs") == 3
    times = [bar.timestamp for bar in whole]
    assert times == sorted(times, reverse=sort == "desc")


def test_a_page_says_what_is_in_it_and_where_the_next_one_is(server: ReplayServer) -> None:
    page = httpx.get(f"{server.url}/v2/aggs/ticker/AAPL/range/1/day/2005-01-01/2005-12-31?limit=2&apiKey=k").json()

    assert page["ticker"] == "AAPL"
    assert page["queryCount"] == page["resultsCount"] == page["count"] == len(page["results"]) == 2
    assert page["adjusted"] is True
    assert page["status"] == "OK"
    assert page["request_id"]
    assert page["next_url"].startswith(server.url)
    assert "apiKey" not in page["next_url"]
    assert set(page["results"][0]) == {"v", "vw", "o", "c", "h", "l", "t", "n"}


def test_minutes_add_up_to_their_days(client: RESTClient, bars_of_2005: dict[str, Bars]) -> None:
    found = client.get_aggs("IBM", 1, "minute", "2005-11-23", "2005-11-25", adjusted=False, limit=50_000)
    days = bars_of_2005["IBM"]
    invented = minutes_from_days(
        days[(days.time >= np.datetime64("2005-11-23")) & (days.time <= np.datetime64("2005-11-25"))],
        trading_calendar(),
    )

    # the Friday after Thanksgiving closes at 13:00
    assert len(found) == 390 + 210
    assert found[0].timestamp == new_york("2005-11-23T09:30-05:00")
    assert found[-1].timestamp == new_york("2005-11-25T12:59-05:00")
    assert [bar.close for bar in found] == invented.close.tolist()


def test_bounds_in_milliseconds_are_both_included(client: RESTClient) -> None:
    start, end = new_york("2005-03-01T09:31-05:00"), new_york("2005-03-01T09:33-05:00")
    found = client.get_aggs("IBM", 1, "minute", start, end)

    assert [bar.timestamp for bar in found] == [start, start + 60_000, end]


@pytest.mark.parametrize(
    ("timespan", "first", "last", "stamp", "count"),
    [
        # a week is stamped with its Sunday, a month with its first day
        ("week", "2005-02-20", "2005-03-05", "2005-02-20T00:00-05:00", 2),
        ("month", "2005-02-01", "2005-03-31", "2005-02-01T00:00-05:00", 2),
        ("hour", "2005-02-25", "2005-02-25", "2005-02-25T09:00-05:00", 7),
    ],
)
def test_coarser_aggregates_begin_where_polygons_do(
    client: RESTClient, timespan: str, first: str, last: str, stamp: str, count: int
) -> None:
    found = client.get_aggs("AAPL", 1, timespan, first, last)

    assert len(found) == count
    assert found[0].timestamp == new_york(stamp)


def test_a_week_that_spans_a_split_is_on_one_scale(client: RESTClient) -> None:
    week = client.get_aggs("AAPL", 1, "week", "2005-02-20", "2005-02-20")[0]
    days = client.get_aggs("AAPL", 1, "day", "2005-02-22", "2005-02-25")

    assert (week.open, week.close) == (days[0].open, days[-1].close)
    assert week.volume == sum(day.volume for day in days)


def test_an_unknown_symbol_is_an_empty_answer_among_the_bars(client: RESTClient) -> None:
    assert client.get_aggs("NOPE", 1, "day", *YEAR) == []


def test_an_unknown_symbol_is_not_found_among_the_tickers(client: RESTClient) -> None:
    with pytest.raises(BadResponse, match="NOT_FOUND"):
        client.get_ticker_details("NOPE")


@pytest.mark.parametrize(
    "path", ["5/minute/2005-01-01/2005-02-01", "1/fortnight/2005-01-01/2005-02-01", "1/day/yesterday/2005-02-01"]
)
def test_a_question_that_it_cannot_answer_is_refused(server: ReplayServer, path: str) -> None:
    answer = httpx.get(f"{server.url}/v2/aggs/ticker/AAPL/range/{path}?apiKey=k")

    assert answer.status_code == 400
    assert answer.json()["status"] == "ERROR"


def test_the_previous_close_is_the_last_day(client: RESTClient, bars_of_2005: dict[str, Bars]) -> None:
    found = client.get_previous_close_agg("IBM")[0]

    assert (found.ticker, found.close) == ("IBM", bars_of_2005["IBM"].close[-1])


def test_tickers_are_listed_by_pages(client: RESTClient, server: ReplayServer) -> None:
    found = list(client.list_tickers(limit=2))

    assert [ticker.ticker for ticker in found] == ["AAPL", "BRK.B", "IBM"]
    assert found[0].name == "Apple Inc."
    assert server.requests.count(path="/v3/reference/tickers") == 2


def test_tickers_can_be_searched_and_bounded(client: RESTClient) -> None:
    assert [ticker.ticker for ticker in client.list_tickers(search="apple")] == ["AAPL"]
    assert [ticker.ticker for ticker in client.list_tickers(ticker_gt="AAPL", order="desc")] == ["IBM", "BRK.B"]


def test_ticker_details_say_since_when_it_is_listed(client: RESTClient) -> None:
    assert client.get_ticker_details("AAPL").list_date == "2005-01-03"


def test_splits_in_both_forms(client: RESTClient) -> None:
    (old,) = client.list_splits("AAPL")
    (new,) = client.list_stocks_splits("AAPL")

    assert (old.execution_date, old.split_from, old.split_to) == ("2005-02-28", 1, 2)
    assert (new.execution_date, new.split_from, new.split_to) == ("2005-02-28", 1.0, 2.0)
    assert (new.adjustment_type, new.historical_adjustment_factor) == ("forward_split", 0.5)
    assert list(client.list_splits("IBM")) == []


def test_dividends_in_both_forms_the_newest_first(client: RESTClient) -> None:
    old = list(client.list_dividends("IBM", limit=1))
    new = list(client.list_stocks_dividends("IBM", ex_dividend_date_gte=date(2005, 5, 1)))

    assert [(item.ex_dividend_date, item.cash_amount) for item in old] == [("2005-05-06", 0.20), ("2005-02-08", 0.18)]
    assert [(item.ex_dividend_date, item.split_adjusted_cash_amount) for item in new] == [("2005-05-06", 0.20)]


def test_the_upcoming_holidays_are_the_exchanges(client: RESTClient) -> None:
    holidays = client.get_market_holidays()
    dates = {holiday.date for holiday in holidays if holiday.status == "closed"}
    calendar = trading_calendar()

    assert {holiday.exchange for holiday in holidays} == {"NYSE", "NASDAQ"}
    assert not calendar.is_session(np.array(sorted(dates), "datetime64[D]")).any()
    christmas = {f"{year}-12-25" for year in range(2026, 2036) if date(year, 12, 25).weekday() < 5}
    assert dates & christmas or datetime.now(UTC).year >= 2036


@pytest.mark.parametrize(
    ("now", "market", "early", "after"),
    [
        ("2005-11-23T14:29", "extended-hours", True, False),
        ("2005-11-23T14:30", "open", False, False),
        ("2005-11-23T21:00", "extended-hours", False, True),
        ("2005-11-24T16:00", "closed", False, False),
        ("2005-11-25T17:59", "open", False, False),
        ("2005-11-25T18:00", "extended-hours", False, True),
        ("2005-11-25T22:00", "closed", False, False),
    ],
)
def test_the_market_is_open_when_the_exchange_is(
    source: MemorySource, now: str, market: str, early: bool, after: bool
) -> None:
    with ReplayServer(source) as server:
        server.set_now(np.datetime64(now, "us"))
        status = RESTClient("k", base=server.url, retries=0).get_market_status()

    assert (status.market, status.early_hours, status.after_hours) == (market, early, after)


def test_bars_that_have_not_closed_yet_are_not_there(source: MemorySource) -> None:
    with ReplayServer(source) as server:
        server.set_now(np.datetime64("2005-11-25T17:30", "us"))
        client = RESTClient("k", base=server.url, retries=0)
        minutes = client.get_aggs("IBM", 1, "minute", "2005-11-25", "2005-11-25")
        days = client.get_aggs("IBM", 1, "day", "2005-11-23", "2005-11-25")

    assert minutes[-1].timestamp == new_york("2005-11-25T12:29-05:00")
    assert [bar.timestamp for bar in days] == [new_york("2005-11-23T00:00-05:00")]


def test_minutes_that_the_source_has_are_not_invented(bars_of_2005: dict[str, Bars]) -> None:
    daily = bars_of_2005["IBM"][:2]
    time = np.array(["2005-01-03T14:30"], "datetime64[us]")
    stored = Bars("IBM", Timeframe.MINUTE, time, *(np.array([1.5]),) * 4, np.array([7]))
    with ReplayServer(MemorySource([daily, stored])) as server:
        client = RESTClient("k", base=server.url, retries=0)
        found = client.get_aggs("IBM", 1, "minute", "2005-01-03", "2005-01-04", limit=50_000)

    assert len(found) == 1 + 390
    assert (found[0].close, found[0].volume) == (1.5, 7)


def test_small_answers_are_sent_at_once(server: ReplayServer) -> None:
    # a packet that waits for the acknowledgement of the one before it waits 40 ms
    with httpx.Client() as client:
        waits = [client.get(f"{server.url}/v1/marketstatus/now?apiKey=k").elapsed for _ in range(20)]

    assert min(waits).total_seconds() < 0.035


def test_a_key_is_needed(server: ReplayServer) -> None:
    answer = httpx.get(f"{server.url}/v1/marketstatus/now")

    assert (answer.status_code, answer.json()["status"]) == (401, "ERROR")


def test_only_the_key_that_was_chosen_is_accepted(source: MemorySource) -> None:
    with ReplayServer(source, api_key="the key") as server:
        assert RESTClient("the key", base=server.url).get_market_status().market
        with pytest.raises(BadResponse, match="Unknown API Key"):
            RESTClient("another", base=server.url).get_market_status()
        assert httpx.get(f"{server.url}/v1/marketstatus/now", params={"apiKey": "the key"}).status_code == 200
