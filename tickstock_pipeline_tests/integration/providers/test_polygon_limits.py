"""Polygon's limits on requests hold for everybody on the account, and what a plan lacks is known as such."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from limits import RateLimitItemPerMinute, RateLimitItemPerSecond
from pydantic import SecretStr

from tickstock_pipeline.errors import NotInPlanError, RateLimitedError
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.limits import budget_of
from tickstock_pipeline.providers.polygon import PolygonProvider
from tickstock_pipeline.replay.server import ReplayServer
from tickstock_pipeline.replay.synthetic import SyntheticSource
from tickstock_pipeline_tests.integration.providers.canned_server import Canned, CannedServer, CountingBudget, Request
from tickstock_pipeline_tests.integration.providers.polygon_answers import AGGREGATES, KEY, YEAR, daily, on, page, row


def test_a_plan_that_has_a_day_once_it_is_over_gives_what_comes_before_it(canned: CannedServer) -> None:
    # New York, 2 January at 18:30, and two days later
    evening, later = datetime(2026, 1, 2, 23, 30, tzinfo=UTC), datetime(2026, 1, 5, 5, 30, tzinfo=UTC)
    clock = [evening]
    said = "Attempted to request today's data before end of day. Please upgrade your plan."
    days = {date(2025, 12, 31): 1767157200000, date(2026, 1, 2): 1767330000000}

    def answer(request: Request) -> Canned:
        first, last = (date.fromisoformat(text) for text in request.path.split("/")[-2:])
        if last >= exchange_today(clock[0]):
            return Canned.of({"status": "NOT_AUTHORIZED", "message": said}, 403)
        return Canned.of(page(*(row(stamp) for day, stamp in days.items() if first <= day <= last)))

    canned.answer = answer
    provider = PolygonProvider(canned.url, SecretStr(KEY), CountingBudget(), 5.0, now=lambda: clock[0])
    asked = date(2025, 12, 30), date(2026, 1, 2)

    fetched = provider.fetch_bars("AAPL", Timeframe.DAILY, *asked)
    assert (len(fetched.bars), fetched.ends) == (1, date(2026, 1, 1))
    assert "2026-01-02 once it is over" in fetched.reason
    assert len(canned.requests) == 2
    # it has learnt that, and a day alone is not worth a request
    assert len(provider.fetch_bars("AAPL", Timeframe.DAILY, *asked).bars) == 1
    fetched = provider.fetch_bars("AAPL", Timeframe.DAILY, asked[1], asked[1])
    assert (len(fetched.bars), fetched.ends) == (0, date(2026, 1, 1))
    assert len(canned.requests) == 3

    clock[0] = later
    fetched = provider.fetch_bars("AAPL", Timeframe.DAILY, *asked)
    assert (len(fetched.bars), fetched.ends, fetched.reason) == (2, None, "")


def exchange_today(now: datetime) -> date:
    return now.astimezone(ZoneInfo("America/New_York")).date()


def test_what_the_plan_lacks_is_told_apart(canned: CannedServer) -> None:
    said = {"status": "NOT_AUTHORIZED", "message": "Your plan doesn't include this data timeframe."}
    canned.answer = lambda request: Canned.of(said, 403)

    with pytest.raises(NotInPlanError, match="timeframe"):
        daily(on(canned))


def test_everybody_waits_as_long_as_the_provider_asks(
    polygon: PolygonProvider, server: ReplayServer, budget: CountingBudget
) -> None:
    server.faults.add("429", retry_after=7)
    server.faults.add("429", reset_after=30)
    server.faults.add("429")
    daily(polygon)

    assert budget.penalties[0] == 7.0
    assert budget.penalties[1] == pytest.approx(30.0, abs=1.5)
    assert budget.penalties[2] is None
    # on the budget's own clock: the two pauses and one for a server that did not say how long
    assert budget.now == pytest.approx(38.0, abs=2.0)


def test_a_pause_of_an_hour_is_not_waited_for(polygon: PolygonProvider, server: ReplayServer) -> None:
    server.faults.add("429", retry_after=3600, times=None)

    with pytest.raises(RateLimitedError) as raised:
        daily(polygon)
    assert raised.value.retry_after_seconds == 3600.0
    assert server.requests.count(path=AGGREGATES) == 1


def test_the_limit_holds_at_the_server(redis_url: str) -> None:
    with ReplayServer(SyntheticSource(4, *YEAR), calls_per_minute=5, window_seconds=2.0) as limited:
        provider = PolygonProvider(
            limited.url,
            SecretStr(KEY),
            budget_of("polygon", "limit", [RateLimitItemPerSecond(5, 2)], redis_url, longest_wait=30.0),
            5.0,
        )
        start = time.monotonic()
        with ThreadPoolExecutor(provider.concurrency) as pool:
            symbols = ["SYN0001", "SYN0002", "SYN0003", "SYN0004"]
            assert all(pool.map(lambda symbol: len(daily(provider, symbol)), symbols))
            assert not any(pool.map(provider.fetch_splits, symbols))
            assert not any(pool.map(provider.fetch_dividends, symbols))

        assert limited.requests.count(provider="polygon") == 12
        assert limited.requests.violations == 0
        assert time.monotonic() - start >= 4.0


def test_history_and_concurrency_follow_from_the_plan(server: ReplayServer) -> None:
    free = budget_of("polygon", "free", [RateLimitItemPerMinute(5)], None, longest_wait=1.0)
    paid = budget_of("polygon", "paid", [], None, longest_wait=1.0)
    official = "https://api.massive.com"
    on_leap_day = date(2028, 2, 29)

    assert PolygonProvider(official, SecretStr(KEY), free, 1.0).earliest(Timeframe.DAILY, on_leap_day) == date(
        2026, 2, 28
    )
    assert PolygonProvider(official, SecretStr(KEY), paid, 1.0).earliest(Timeframe.DAILY, on_leap_day) == date(
        2003, 9, 10
    )
    assert PolygonProvider(server.url, SecretStr(KEY), free, 1.0).earliest(Timeframe.DAILY, on_leap_day) is None
    assert PolygonProvider(official, SecretStr(KEY), free, 1.0).concurrency < 3
    assert PolygonProvider(official, SecretStr(KEY), paid, 1.0).concurrency == 8
