"""The live feed while Redis is slow, stopped, killed or emptied: reading is never held up, nothing is lost."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import redis

from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.messaging.bar_event import decode
from tickstock_pipeline.messaging.bar_stream import BAR_FIELD, shard_count, shard_of
from tickstock_pipeline.messaging.channels import FEED_STATE, bar_stream
from tickstock_pipeline.messaging.connection import connect
from tickstock_pipeline.replay.server import ReplayServer
from tickstock_pipeline.runtime.redis import EmbeddedRedis
from tickstock_pipeline.streaming.feed.history import live_bars
from tickstock_pipeline.streaming.feed.kept_stream import KeptStream

MakeFeed = Callable[..., Any]
Minutes = dict[str, Bars]

SESSION = date(2013, 2, 25)


def keys(minutes: Minutes) -> set[tuple[str, int]]:
    return {(symbol, int(time)) for symbol, bars in minutes.items() for time in bars.time.astype("int64")}


def test_bars_wait_while_redis_does_not_answer_and_the_wait_is_shown(
    make_feed: MakeFeed, server: ReplayServer, minutes: Minutes, hasty: Any
) -> None:
    with make_feed(options=replace(hasty, inbox_capacity=5)) as running:
        running.until_connected()
        running.client.execute_command("CLIENT", "PAUSE", 1_500, "ALL")
        playing = server.stream.play(SESSION, SESSION)
        running.until(lambda: running.feed.inbox.blocked_s > 0.2, "a reader that waits")
        assert running.feed.inbox.depth == 5
        playing.wait(20)
        running.until_keys(keys(minutes))

        assert len(running.bars()) == len(keys(minutes))
        running.until(lambda: float(running.state()["blocked_seconds"]) > 0.2, "the wait in the state")
        assert running.state()["queue_capacity"] == "5"


def test_what_has_been_read_goes_on_to_the_streams_before_the_feed_ends(
    make_feed: MakeFeed, server: ReplayServer, minutes: Minutes
) -> None:
    aapl = minutes["AAPL"][:60]
    with make_feed(symbols=["AAPL"]) as running:
        running.until_connected()
        assert server.stream.wait_for_subscribers()
        running.client.execute_command("CLIENT", "PAUSE", 800, "WRITE")
        for minute in range(len(aapl)):
            server.stream.send_minutes(aapl[minute : minute + 1])
        running.until(lambda: running.feed.inbox.n_put == len(aapl), "every message")
        assert running.feed.inbox.depth > 0
        running.stop()

        assert set(running.keys_on_streams()) == keys({"AAPL": aapl})


def test_what_redis_loses_when_it_is_killed_is_written_again(
    make_feed: MakeFeed, server: ReplayServer, minutes: Minutes, tmp_path: Path
) -> None:
    first = EmbeddedRedis(tmp_path)
    url = first.start()
    second = EmbeddedRedis(tmp_path)
    try:
        with make_feed(redis_url=url) as running:
            running.until_connected()
            playing = server.stream.play(SESSION, SESSION)
            running.until(lambda: running.feed.writer.written.bars > 300, "300 bars")
            os.kill(running.client.info("server")["process_id"], signal.SIGKILL)
            running.until(lambda: running.feed.writer.written.redis_problem != "", "a failed append")
            assert running.feed.signs.status == "unhealthy"
            assert second.start() == url
            playing.wait(20)
            running.until_keys(keys(minutes))

            assert running.feed.writer.written.redis_restarts == 1
            assert running.feed.state.connections == 1
            assert len(running.bars()) == len(keys(minutes))
    finally:
        first.stop()
        second.stop()


def test_streams_that_are_gone_are_written_again(
    make_feed: MakeFeed, server: ReplayServer, minutes: Minutes, tmp_path: Path
) -> None:
    half = server.stream
    first = EmbeddedRedis(tmp_path)
    url = first.start()
    second = EmbeddedRedis(tmp_path)
    try:
        with make_feed(redis_url=url) as running:
            running.until_connected()
            half.play(SESSION, SESSION).wait(20)
            running.until_keys(keys(minutes))
            running.client.flushall()
            running.client.shutdown(nosave=True)
            assert second.start() == url
            running.until_keys(keys(minutes))

            assert len(running.bars()) == len(keys(minutes))
            assert running.feed.writer.written.restored == len(keys(minutes))
    finally:
        first.stop()
        second.stop()


def test_a_bar_that_was_done_with_before_redis_was_lost_does_not_undo_its_correction(
    minutes: Minutes, tmp_path: Path
) -> None:
    wrong, right, newer = live_bars(minutes["IBM"][:3], "polygon", "confirmed")
    wrong = wrong._replace(time=right.time)
    first, second = EmbeddedRedis(tmp_path), EmbeddedRedis(tmp_path)
    try:
        with connect(first.start()) as client:
            kept = KeptStream(client)
            kept.check()
            stream = bar_stream(shard_of("IBM", shard_count(client)))
            kept.append([([wrong], None)], time.time())
            client.xtrim(stream, maxlen=0)
            kept.append([([right], None)], time.time())
            kept.append([([newer], None)], time.time())
            client.xdel(stream, client.xrevrange(stream, count=1)[0][0])  # as if it were lost with the last second
            first.stop()
            second.start()
            restored = kept.check()

            assert restored is not None
            assert restored.n_bars == 1
            assert [decode(fields[BAR_FIELD]) for _, fields in client.xrange(stream)] == [right, newer]
    finally:
        first.stop()
        second.stop()


def test_a_feed_that_is_started_again_sends_nothing_twice(
    make_feed: MakeFeed, server: ReplayServer, minutes: Minutes
) -> None:
    with make_feed() as running:
        running.until_connected()
        server.stream.play(SESSION, SESSION, symbols=["IBM"]).wait(20)
        running.until_keys({key for key in keys(minutes) if key[0] == "IBM"})
        assert running.client.exists(FEED_STATE)
    with make_feed() as running:
        running.until_connected()
        server.stream.play(SESSION, SESSION).wait(20)
        running.until_keys(keys(minutes))

        assert len(running.bars()) == len(keys(minutes))
        assert running.feed.writer.written.repeats == 390


@pytest.mark.parametrize("answer", [b"not a number of shards"])
def test_a_redis_that_cannot_be_used_ends_the_feed_with_its_reason(
    make_feed: MakeFeed, redis_url: str, answer: bytes
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.lpush("tickstock:bars:0", answer)
    with make_feed() as running:
        error = running.wait()

    assert "Redis refuses a command" in str(error)
