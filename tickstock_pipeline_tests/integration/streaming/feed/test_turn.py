"""One feed at a time: a turn in Redis that is kept, lost and taken."""

from collections.abc import Iterator

import pytest
import redis

from tickstock_pipeline.errors import AlreadyRunningError
from tickstock_pipeline.messaging.channels import FEED_TURN
from tickstock_pipeline.messaging.connection import connect
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
