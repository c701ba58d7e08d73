"""One feed at a time: a turn in Redis that is kept, lost and taken."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tickstock_pipeline.errors import AlreadyRunningError, RedisUnreachableError
from tickstock_pipeline.messaging.channels import FEED_TURN
from tickstock_pipeline.messaging.connection import connect
from tickstock_pipeline.runtime.redis import EmbeddedRedis
from tickstock_pipeline.streaming.feed.turn import TURN_S, FeedTurn


@pytest.fixture
def client(redis_url: str) -> Iterator["redis.Redis"]:
    with connect(redis_url) as found:
        yield found


def test_a_turn_is_anothers_only_once_it_is_given_up(client: "redis.Redis") -> None:
    one, other = FeedTurn(client), FeedTurn(client)

    assert one.take()
    assert not other.take()
    one.give_up()
    assert other.take()


def test_a_turn_that_is_kept_lasts_and_a_dead_ones_ends(client: "redis.Redis") -> None:
    one = FeedTurn(client)
    one.take()
    client.pexpire(FEED_TURN, 1_000)
    one.keep()

    assert client.pttl(FEED_TURN) > 1_000
    assert client.pttl(FEED_TURN) <= TURN_S * 1_000


def test_a_turn_that_redis_has_lost_is_taken_again(client: "redis.Redis") -> None:
    one = FeedTurn(client)
    one.take()
    client.flushall()
    one.keep()

    assert not FeedTurn(client).take()


def test_who_was_held_up_until_another_took_over_has_to_end(client: "redis.Redis") -> None:
    one = FeedTurn(client)
    one.take()
    client.delete(FEED_TURN)
    FeedTurn(client).take()

    with pytest.raises(AlreadyRunningError, match="Another feed has taken over"):
        one.keep()
    one.give_up()


def test_who_stands_by_outlasts_a_failure_of_redis(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second = EmbeddedRedis(tmp_path), EmbeddedRedis(tmp_path)
    url = first.start()

    async def scenario(one: FeedTurn, other: FeedTurn) -> None:
        standing_by = asyncio.create_task(other.taken())
        while "standing by" not in caplog.text:
            await asyncio.sleep(0.01)
        os.kill(first.process.pid, signal.SIGKILL)
        first.process.wait(10.0)
        with pytest.raises(RedisUnreachableError):
            one.take()
        while "cannot be asked for" not in caplog.text:
            await asyncio.sleep(0.01)
        assert second.start() == url
        one.keep()
        one.give_up()
        await asyncio.wait_for(standing_by, 2 * TURN_S)

    try:
        with connect(url) as client, connect(url) as others:
            one = FeedTurn(client)
            assert one.take()
            asyncio.run(scenario(one, FeedTurn(others)))
    finally:
        first.stop()
        second.stop()
