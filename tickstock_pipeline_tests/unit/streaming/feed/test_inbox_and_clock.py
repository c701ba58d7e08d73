"""The bounded queue between reading and work, the market's clock, and how the feed's state is summed up."""

import asyncio
import time

import pytest

from tickstock_pipeline.messaging.health import Status
from tickstock_pipeline.streaming.feed.inbox import Inbox
from tickstock_pipeline.streaming.feed.market_clock import MarketClock
from tickstock_pipeline.streaming.feed.state import FeedState, feed_status, quantile


def test_a_full_inbox_makes_its_reader_wait_and_says_for_how_long() -> None:
    async def run() -> None:
        inbox = Inbox(2)
        for payload in ("a", "b"):
            await inbox.put(payload)
        waiting = asyncio.create_task(inbox.put("c"))
        while not inbox.blocked_s:
            await asyncio.sleep(0)
        assert (inbox.depth, inbox.deepest) == (2, 2)

        taken = await inbox.take(1.0)
        await waiting
        taken += await inbox.take(1.0)

        assert [message.payload for message in taken] == ["a", "b", "c"]
        assert inbox.n_put == 3
        blocked = inbox.blocked_s
        assert blocked > 0
        await asyncio.sleep(0)
        assert inbox.blocked_s == blocked

    asyncio.run(run())


def test_what_was_missed_before_comes_a_little_at_a_time_after_what_happens_now() -> None:
    async def run() -> None:
        inbox = Inbox()

        async def fill() -> None:
            for number in range(20):
                await inbox.put_aside(number)

        filling = asyncio.create_task(fill())
        # one that waits is woken by either
        taken = [message.payload for message in await inbox.take(1.0)]
        assert taken == [0]
        order = []
        for number in range(1, 20):
            await inbox.put(f"live {number}")
            order += [message.payload for message in await inbox.take(1.0)]
        await filling

        assert order == [one for number in range(1, 20) for one in (f"live {number}", number)]
        assert inbox.n_put == 19
        assert await inbox.take(0.001) == []

    asyncio.run(run())


def test_who_fills_waits_until_some_of_it_is_done() -> None:
    async def run() -> None:
        inbox = Inbox()
        filling = asyncio.gather(*(inbox.put_aside(number) for number in range(50)))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not filling.done()

        taken = [message.payload for _ in range(50) for message in await inbox.take(1.0)]

        await filling
        assert taken == list(range(50))
        # reading has waited for nothing of it
        assert (inbox.blocked_s, inbox.deepest) == (0.0, 0)

    asyncio.run(run())


def test_an_empty_inbox_gives_nothing_after_the_wait() -> None:
    assert asyncio.run(Inbox().take(0.001)) == []


def test_the_markets_clock_is_ours_until_something_is_heard_and_never_goes_back() -> None:
    clock = MarketClock()
    assert abs(clock.now_ms() - time.time() * 1_000) < 1_000

    clock.saw(1_361_802_600_000)
    assert 0 <= clock.now_ms() - 1_361_802_600_000 < 1_000
    clock.saw(1_361_802_500_000)
    assert clock.newest_ms == 1_361_802_600_000


def test_a_moment_in_the_future_is_no_moment_of_the_market() -> None:
    clock = MarketClock()
    clock.saw(int(time.time() * 1_000) + 3_600_000)

    assert clock.newest_ms == 0


@pytest.mark.parametrize(
    ("is_connected", "redis_problem", "stands_in", "is_blocked", "status"),
    [
        (True, "", False, False, "healthy"),
        (True, "", False, True, "degraded"),
        (False, "", True, False, "degraded"),
        (False, "", False, False, "unhealthy"),
        (True, "Redis does not answer.", False, False, "unhealthy"),
    ],
)
def test_the_status_says_whether_bars_come_and_whose(
    is_connected: bool, redis_problem: str, stands_in: bool, is_blocked: bool, status: Status
) -> None:
    state = FeedState("polygon")
    state.up()
    if not is_connected:
        state.down_since = 1.0

    assert feed_status(state, redis_problem=redis_problem, stands_in=stands_in, is_blocked=is_blocked) == status


def test_trouble_is_shown_for_a_while_after_it_is_over() -> None:
    state = FeedState("polygon")
    state.up()
    state.down("the connection broke")
    state.up()

    assert feed_status(state, redis_problem="", stands_in=False, is_blocked=False) == "degraded"
    assert state.recent_reasons().endswith("the connection broke")


def test_quantiles_of_a_few_values() -> None:
    assert [quantile([3.0, 1.0, 2.0], share) for share in (0.0, 0.5, 0.99)] == [1.0, 2.0, 3.0]
    assert quantile([], 0.5) == 0.0
