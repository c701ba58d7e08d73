"""Yahoo's chart API, asked by yfinance, whose requests to Yahoo's hosts are sent to the replay server instead."""

from collections.abc import Iterator
from datetime import date
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import numpy as np
import pytest
import yfinance
from curl_cffi.requests import Session
from yfinance.config import YfConfig
from yfinance.data import YfData
from yfinance.exceptions import YFRateLimitError

from tickstock_pipeline.market.adjustment import Dividend, Split
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.replay.server import ReplayServer
from tickstock_pipeline.replay.source import MemorySource

# yfinance's own, with the pandas of today
pytestmark = pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")


class Redirected(Session):  # type: ignore[type-arg]
    """A session of yfinance's kind that knows no host but one."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.base = urlsplit(url)

    def request(self, method: Any, url: str, *arguments: Any, **options: Any) -> Any:
        return super().request(
            method,
            urlunsplit(urlsplit(url)._replace(scheme=self.base.scheme, netloc=self.base.netloc)),
            *arguments,
            **options,
        )


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    yfinance.set_tz_cache_location(str(tmp_path_factory.mktemp("yfinance")))


@pytest.fixture
def session(server: ReplayServer) -> Iterator[Redirected]:
    YfData.cache_get.cache_clear()
    with Redirected(server.url) as found:
        yield found


def history(session: Redirected, symbol: str, **options: Any) -> Any:
    return yfinance.Ticker(symbol, session=session).history(**{"auto_adjust": False, "actions": True, **options})


def test_days_are_split_adjusted(session: Redirected, bars_of_2005: dict[str, Bars]) -> None:
    frame = history(session, "AAPL", start="2005-01-01", end="2006-01-01")
    bars = bars_of_2005["AAPL"]
    factor = np.where(bars.time < np.datetime64("2005-02-28"), 2.0, 1.0)

    assert frame["Close"].tolist() == (bars.close / factor).tolist()
    assert frame["Volume"].tolist() == (bars.volume * factor).tolist()
    assert str(frame.index[0]) == "2005-01-03 00:00:00-05:00"
    assert frame["Stock Splits"]["2005-02-28"] == 2.0


def test_the_adjusted_close_has_the_dividends_in_it(session: Redirected, bars_of_2005: dict[str, Bars]) -> None:
    frame = history(session, "IBM", start="2005-05-01", end="2005-05-10")

    assert frame["Dividends"]["2005-05-06"] == 0.20
    assert frame["Adj Close"]["2005-05-06"] == frame["Close"]["2005-05-06"]
    assert frame["Adj Close"]["2005-05-05"] == pytest.approx(frame["Close"]["2005-05-05"] - 0.20)


def test_dividends_before_a_split_are_on_todays_scale_too(bars_of_2005: dict[str, Bars]) -> None:
    source = MemorySource(
        [bars_of_2005["AAPL"]],
        [Split("AAPL", date(2005, 2, 28), 2.0)],
        [Dividend("AAPL", date(2005, 2, 14), 0.5)],
    )
    with ReplayServer(source) as server:
        chart = httpx.get(f"{server.url}/v8/finance/chart/AAPL?range=1y&events=div").json()["chart"]["result"][0]

    assert [item["amount"] for item in chart["events"]["dividends"].values()] == [0.25]


def test_minutes_are_those_of_regular_hours(session: Redirected) -> None:
    frame = history(session, "IBM", start="2005-11-23", end="2005-11-26", interval="1m")

    assert len(frame) == 390 + 210
    assert str(frame.index[0]) == "2005-11-23 09:30:00-05:00"
    assert str(frame.index[-1]) == "2005-11-25 12:59:00-05:00"


def test_minutes_of_more_than_eight_days_are_refused(server: ReplayServer) -> None:
    answer = httpx.get(f"{server.url}/v8/finance/chart/IBM?interval=1m&period1=1131000000&period2=1132000000")

    assert answer.status_code == 422
    assert "8 days" in answer.json()["chart"]["error"]["description"]


@pytest.mark.parametrize(("interval", "first"), [("1wk", "2005-02-21"), ("1mo", "2005-02-01")])
def test_weeks_and_months_are_stamped_with_their_first_day(session: Redirected, interval: str, first: str) -> None:
    frame = history(
        session, "AAPL", start="2005-02-21" if interval == "1wk" else "2005-02-01", end="2005-04-01", interval=interval
    )

    assert str(frame.index[0].date()) == first


def test_share_classes_are_spelt_with_a_dash(session: Redirected) -> None:
    assert len(history(session, "BRK-B", start="2005-01-01", end="2005-02-01")) == 20


def test_the_whole_history_can_be_asked_for(session: Redirected, bars_of_2005: dict[str, Bars]) -> None:
    assert len(history(session, "IBM", period="max")) == len(bars_of_2005["IBM"])


def test_an_unknown_symbol_is_an_empty_frame(session: Redirected, monkeypatch: pytest.MonkeyPatch) -> None:
    # yfinance's default, which our provider changes for the whole process
    monkeypatch.setitem(YfConfig.debug.data, "hide_exceptions", True)

    assert history(session, "NOPE", start="2005-01-01", end="2005-02-01").empty


def test_yfinance_understands_a_spent_quota(session: Redirected, server: ReplayServer) -> None:
    server.faults.add("429", provider="yahoo", times=None)

    with pytest.raises(YFRateLimitError):
        history(session, "IBM", start="2005-01-01", end="2005-02-01")


def test_a_cookie_and_a_crumb_are_given(server: ReplayServer) -> None:
    cookie = httpx.get(server.url)

    assert cookie.cookies["A3"]
    assert httpx.get(f"{server.url}/v1/test/getcrumb").text
    assert "csrfToken" in httpx.get(f"{server.url}/consent").text
