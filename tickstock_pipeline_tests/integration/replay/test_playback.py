"""Market time that passes: what arrives over the stream is what the REST answers have, when they have it."""

import io
import json
import time
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
from massive import RESTClient

from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.replay.playback import Progress
from tickstock_pipeline.replay.server import ReplayServer
from tickstock_pipeline.replay.source import MemorySource
from tickstock_pipeline_tests.integration.replay.listening import listening

# The Friday after Thanksgiving closes at 13:00.
HALF_DAY = date(2005, 11, 25)


@pytest.fixture
def server(source: MemorySource) -> Iterator[ReplayServer]:
    with ReplayServer(source) as running:
        yield running


def values(event: Any) -> tuple[object, ...]:
    return (event.start_timestamp, event.open, event.high, event.low, event.close, event.volume)


def rest_minutes(server: ReplayServer, symbol: str, first: date, last: date) -> list[tuple[object, ...]]:
    client = RESTClient("key", base=server.url, retries=0)
    found = client.get_aggs(symbol, 1, "minute", str(first), str(last), adjusted=False, limit=50_000)
    return [(bar.timestamp, bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in found]


def test_every_minute_of_every_symbol_is_played_in_order_as_rest_has_it(server: ReplayServer) -> None:
    with listening(server, "AM.*") as listener:
        playing = server.stream.play(date(2005, 11, 23), HALF_DAY)
        assert playing.wait(20) == 3 * (390 + 210)
        heard = listener.wait_for(3 * (390 + 210))

    for symbol in ("AAPL", "IBM"):
        theirs = [values(event) for event in heard if event.symbol == symbol]
        assert theirs == rest_minutes(server, symbol, date(2005, 11, 23), HALF_DAY)


def test_the_last_minute_has_the_days_volume_and_average(server: ReplayServer, bars_of_2005: dict[str, Bars]) -> None:
    with listening(server, "AM.IBM") as listener:
        server.stream.play(HALF_DAY, HALF_DAY, symbols=["IBM"]).wait(20)
        last = listener.wait_for(210)[-1]

    day = bars_of_2005["IBM"]
    day = day[[str(time)[:10] == str(HALF_DAY) for time in day.time]]  # type: ignore[index]
    assert last.accumulated_volume == day.volume[0]
    assert last.official_open_price == day.open[0]
    assert day.low[0] <= last.aggregate_vwap <= day.high[0]


def test_rest_has_what_was_sent_and_nothing_of_what_comes(server: ReplayServer) -> None:
    minutes_seen: list[int] = []

    def look(progress: Progress) -> None:
        now = server.market.now()
        assert now == progress.now
        bars = server.market.bars("IBM", Timeframe.MINUTE, HALF_DAY, HALF_DAY)
        minutes_seen.append(len(bars))

    server.stream.play(HALF_DAY, HALF_DAY, symbols=["IBM"], subscribers=0, on_progress=look).wait(20)

    assert minutes_seen == list(range(1, 211))


def test_seconds_and_trades_add_up_to_the_minutes_that_follow_them(server: ReplayServer) -> None:
    with listening(server, "AM.IBM", "A.IBM", "T.IBM", "Q.IBM") as listener:
        count = server.stream.play(HALF_DAY, HALF_DAY, symbols=["IBM"]).wait(20)
        assert count is not None
        heard = listener.wait_for(count)

    pending: dict[str, list[Any]] = {"A": [], "T": [], "Q": []}
    n_minutes = 0
    for event in heard:
        if event.event_type != "AM":
            pending[event.event_type].append(event)
            continue
        n_minutes += 1
        seconds, trades = pending["A"], pending["T"]
        prices = [trade.price for trade in trades]
        whole = (event.open, event.high, event.low, event.close, event.volume)
        assert whole == (
            seconds[0].open,
            max(second.high for second in seconds),
            min(second.low for second in seconds),
            seconds[-1].close,
            sum(second.volume for second in seconds),
        )
        assert whole == (prices[0], max(prices), min(prices), prices[-1], sum(trade.size for trade in trades))
        assert len(pending["Q"]) == len(seconds)
        pending = {"A": [], "T": [], "Q": []}
    assert n_minutes == 210


def test_who_subscribes_to_seconds_during_a_playback_gets_the_same_as_the_others(server: ReplayServer) -> None:
    with listening(server, "A.IBM") as first:
        playing = server.stream.play(HALF_DAY, HALF_DAY, symbols=["IBM", "AAPL"], speed=240)
        first.wait_for(60)
        with listening(server, "A.IBM", "A.AAPL") as second:
            heard = second.wait_for(360)
        playing.stop()

    seconds = {event.start_timestamp: values(event) for event in first.events}
    of_both = [event for event in heard if event.symbol == "IBM" and event.start_timestamp in seconds]
    assert len(of_both) > 60
    assert all(values(event) == seconds[event.start_timestamp] for event in of_both)
    # the other symbol's begin with a minute, and no later than the one after next
    starts = [event.start_timestamp for event in heard if event.symbol == "AAPL"]
    assert starts[0] % 60_000 == 0
    assert starts == list(range(starts[0], starts[-1] + 1, 1_000))
    assert starts[0] - heard[0].start_timestamp <= 120_000


@pytest.mark.parametrize("kind", ["duplicates", "late", "out-of-order", "corrected"])
def test_with_faults_the_last_message_for_each_minute_is_the_right_one(server: ReplayServer, kind: str) -> None:
    server.faults.add(kind, provider="stream", times=None, rate=0.2)
    with listening(server, "AM.*") as listener:
        count = server.stream.play(HALF_DAY, HALF_DAY).wait(20)
        assert count is not None
        heard = listener.wait_for(count)

    starts = [(event.symbol, event.start_timestamp) for event in heard]
    assert starts != sorted(set(starts), key=lambda key: (key[1], key[0]))
    assert server.faults.hits() > 50
    final = {(event.symbol, event.start_timestamp): values(event) for event in heard}
    for symbol in ("AAPL", "IBM", "BRK.B"):
        theirs = [final[key] for key in sorted(final) if key[0] == symbol]
        assert theirs == rest_minutes(server, symbol, HALF_DAY, HALF_DAY)


def test_after_a_cut_rest_fills_the_gap(server: ReplayServer) -> None:
    server.faults.add("cut", provider="stream", nth=50)
    with listening(server, "AM.IBM", max_reconnects=0) as listener:
        server.stream.play(HALF_DAY, HALF_DAY, symbols=["IBM"]).wait(20)
        listener.wait_for_end()

    heard = [values(event) for event in listener.events]
    whole = rest_minutes(server, "IBM", HALF_DAY, HALF_DAY)
    assert 0 < len(heard) < 210
    assert heard == whole[: len(heard)]


def test_the_log_has_every_event_that_was_sent(server: ReplayServer) -> None:
    server.faults.add("corrected", provider="stream", times=None, rate=0.2)
    log = io.StringIO()
    count = server.stream.play(HALF_DAY, HALF_DAY, subscribers=0, log=log).wait(20)
    lines = [json.loads(line) for line in log.getvalue().splitlines()]

    assert len(lines) == count == server.stream.n_sent
    final = {line["event"]["s"]: line["event"]["c"] for line in lines if line["event"]["sym"] == "IBM"}
    closes = [minute[4] for minute in rest_minutes(server, "IBM", HALF_DAY, HALF_DAY)]
    assert [final[start] for start in sorted(final)] == closes
    assert all(line["market"] == line["event"]["s"] for line in lines)


def test_time_passes_as_fast_as_asked_for(server: ReplayServer) -> None:
    started = time.monotonic()
    server.stream.play(HALF_DAY, HALF_DAY, symbols=["IBM"], speed=25_200, subscribers=0).wait(20)

    # 210 minutes at 25,200 times the clock's speed are half a second
    assert 0.5 <= time.monotonic() - started < 10


def test_a_playback_can_be_stopped(server: ReplayServer) -> None:
    playing = server.stream.play(HALF_DAY, HALF_DAY, speed=1, subscribers=0)
    playing.stop()

    assert playing.wait(5) is None
    assert playing.is_over


def test_it_waits_for_a_subscriber(server: ReplayServer) -> None:
    playing = server.stream.play(HALF_DAY, HALF_DAY, symbols=["IBM"])

    assert playing.wait(0.05) is None
    assert server.stream.n_sent == 0
    assert rest_minutes(server, "IBM", HALF_DAY, HALF_DAY) == []
    assert len(rest_minutes(server, "IBM", date(2005, 11, 23), HALF_DAY)) == 390
    with listening(server, "AM.IBM") as listener:
        assert playing.wait(20) == 210
        assert len(listener.wait_for(210)) == 210


def test_days_without_a_session_cannot_be_played(server: ReplayServer) -> None:
    with pytest.raises(ValueError, match="no session"):
        server.stream.play(date(2005, 11, 26), date(2005, 11, 27))


def test_a_client_that_leaves_does_not_hold_up_the_others(server: ReplayServer) -> None:
    with listening(server, "AM.*") as listener:
        with listening(server, "AM.*"):
            assert server.stream.wait_for_subscribers(2)
            playing = server.stream.play(date(2005, 11, 21), HALF_DAY)
        count = playing.wait(30)
        assert count is not None
        assert len(listener.wait_for(count)) == count
