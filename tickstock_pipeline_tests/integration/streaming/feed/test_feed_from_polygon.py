"""The live feed from the provider's own client on a real socket: nothing lost, nothing doubled, whatever goes wrong."""

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from itertools import count, pairwise
from typing import Any

import pytest
import sqlalchemy as sa

from tickstock_pipeline.errors import DatabaseUnreachableError, ProviderRefusedError
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.messaging.bar_event import LiveBar
from tickstock_pipeline.messaging.channels import HEALTH, QUOTES
from tickstock_pipeline.replay.server import ReplayServer
from tickstock_pipeline.replay.source import MemorySource
from tickstock_pipeline.runtime.ports import any_free_port
from tickstock_pipeline.settings import Settings

MakeFeed = Callable[..., Any]
Minutes = dict[str, Bars]

SESSION = date(2013, 2, 25)
OPENING_MS = 1_361_802_600_000  # 2013-02-25 09:30 in New York


def truth(minutes: Minutes) -> dict[tuple[str, int], tuple[float, ...]]:
    """The values of each bar that the provider has."""
    return {
        (symbol, int(bars.time[at].astype("int64"))): tuple(
            float(getattr(bars, name)[at]) for name in ("open", "high", "low", "close", "volume")
        )
        for symbol, bars in minutes.items()
        for at in range(len(bars))
    }


def repeats_on_stream(bars: list[LiveBar]) -> int:
    """Entries that say what the entry before them of the same minute has said."""
    by_key = defaultdict(list)
    for bar in bars:
        by_key[bar.symbol, bar.time].append((bar.open, bar.high, bar.low, bar.close, bar.volume))
    return sum(one == other for values in by_key.values() for one, other in pairwise(values))


def minute(symbol: str, start_ms: int, price: float = 100.0, **changes: Any) -> dict[str, Any]:
    """An AM event by hand."""
    event = {"ev": "AM", "sym": symbol, "o": price, "h": price, "l": price, "c": price, "v": 100}
    return {**event, "s": start_ms, "e": start_ms + 60_000, **changes}


def test_every_minute_of_a_session_is_on_the_stream_once(
    make_feed: MakeFeed, server: ReplayServer, minutes: Minutes
) -> None:
    with make_feed() as running:
        server.stream.play(SESSION, SESSION).wait(20)
        running.until_keys(set(truth(minutes)))

        assert len(running.bars()) == 1170
        assert running.latest() == truth(minutes)
        assert {bar.source for bar in running.bars()} == {"polygon.io"}


@pytest.mark.parametrize("kind", ["cut", "close-1000", "close-1001", "mute"])
def test_a_connection_that_ends_loses_and_doubles_nothing(
    make_feed: MakeFeed, server: ReplayServer, minutes: Minutes, history: Any, hasty: Any, kind: str
) -> None:
    options = replace(hasty, patience=replace(hasty.patience, silence=0.4)) if kind == "mute" else hasty
    with make_feed(history=history, options=options) as running:
        running.until_connected()
        running.until(lambda: running.feed.gaps.filling.answers == 3, "the first fill")
        for nth in (40, 100, 101):
            server.faults.add(kind, provider="stream", path="frame", nth=nth)
        server.stream.play(SESSION, SESSION).wait(20)
        running.until_connected(2)
        running.until_keys(set(truth(minutes)))

        assert running.latest() == truth(minutes)
        assert repeats_on_stream(running.bars()) == 0
        assert running.feed.writer.written.filled > 0
        assert running.feed.state.reasons


def test_frames_that_are_wrong_or_very_large_do_not_end_the_connection(
    make_feed: MakeFeed, server: ReplayServer, minutes: Minutes
) -> None:
    with make_feed() as running:
        running.until_connected()
        for nth, kind in ((40, "not-json"), (80, "no-message"), (120, "huge-frame")):
            server.faults.add(kind, provider="stream", path="frame", nth=nth)
        server.stream.play(SESSION, SESSION).wait(20)
        running.until_keys(set(truth(minutes)))

        assert len(running.bars()) == 1170
        assert (running.feed.state.connections, running.feed.state.failures) == (1, 0)
        assert server.faults.hits() == 3


def test_what_the_provider_complains_about_is_shown_and_counts_as_no_message(
    make_feed: MakeFeed, server: ReplayServer
) -> None:
    with make_feed(symbols=["AAPL", "X,Y"]) as running:
        running.until_connected()
        running.until(lambda: running.feed.state.warnings > 0, "a complaint")
        running.until(lambda: "error: there is no topic Y" in running.state().get("reasons", ""), "the reason")

        assert running.state()["status"] == "degraded"
        assert running.feed.inbox.n_put == 0
        assert running.feed.state.connections == 1


def test_bars_that_come_twice_late_or_wrong_at_first_end_up_right(
    make_feed: MakeFeed, server: ReplayServer, minutes: Minutes
) -> None:
    for kind in ("duplicates", "out-of-order", "late", "corrected"):
        server.faults.add(kind, provider="stream", path="AM", times=None, rate=0.1)
    with make_feed() as running:
        server.stream.play(SESSION, SESSION).wait(20)
        running.until_keys(set(truth(minutes)))
        running.until(lambda: running.latest() == truth(minutes), "the last correction")

        assert repeats_on_stream(running.bars()) == 0
        assert len(running.bars()) == 1170 + server.faults.hits("corrected")
        assert running.feed.writer.written.repeats >= server.faults.hits("duplicates")


def test_bars_that_break_a_rule_go_to_quarantine_and_the_others_on(
    make_feed: MakeFeed, server: ReplayServer, minutes: Minutes, engine: sa.Engine
) -> None:
    with make_feed() as running:
        running.until_connected()
        server.stream.send([minute("AAPL", OPENING_MS, h=1.0), minute("IBM", OPENING_MS), {"ev": "AM", "sym": "MSFT"}])
        server.stream.send([minute("MSFT", 10**20), minute("MSFT", OPENING_MS, v=float("nan"))])
        running.until_keys({("IBM", OPENING_MS * 1_000)})
        running.until(lambda: running.feed.writer.written.refused == 4, "four refused")

    with engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT symbol, reason, source FROM quarantined_bars ORDER BY symbol")).all()
    assert [tuple(row) for row in rows] == [
        ("", "the message cannot be read", "polygon.io"),
        ("", "the message cannot be read", "polygon.io"),
        ("AAPL", "high is below low", "polygon.io"),
        ("MSFT", "volume is missing or not finite", "polygon.io"),
    ]


def test_minutes_outside_the_session_are_counted_and_dropped(make_feed: MakeFeed, server: ReplayServer) -> None:
    before, after = OPENING_MS - 60_000, OPENING_MS + 390 * 60_000
    with make_feed() as running:
        running.until_connected()
        server.stream.send([minute("AAPL", start) for start in (before, OPENING_MS, after - 60_000, after)])
        running.until_keys({("AAPL", OPENING_MS * 1_000), ("AAPL", (after - 60_000) * 1_000)})

        assert running.feed.writer.written.outside_session == 2


def test_symbols_change_without_a_new_connection(make_feed: MakeFeed, server: ReplayServer) -> None:
    symbols = ["AAPL"]
    with make_feed(symbols=lambda: tuple(symbols)) as running:
        running.until_connected()
        symbols.append("IBM")
        symbols.remove("AAPL")
        running.do(running.feed.look_again)
        starts = (OPENING_MS + number * 60_000 for number in count())

        def only_one_comes() -> bool:
            start = next(starts)
            before = {symbol for symbol, time in running.keys_on_streams() if time == (start - 60_000) * 1_000}
            server.stream.send([minute("AAPL", start), minute("IBM", start)])
            return before == {"IBM"}

        running.until(only_one_comes, "a change of symbols")

        assert running.feed.state.connections == 1


def test_a_wrong_key_ends_the_feed_with_advice(make_feed: MakeFeed, server: ReplayServer) -> None:
    with make_feed(key="wr0ng-s3cret") as running:
        error = running.wait()

    assert isinstance(error, ProviderRefusedError)
    assert "refuses the API key" in error.message
    assert "TICKSTOCK_POLYGON_API_KEY" in error.advice
    assert "wr0ng" not in str(error)
    assert running.feed.state.failures == 0


def test_a_server_that_is_down_is_asked_again_until_it_is_up(make_feed: MakeFeed, minutes: Minutes) -> None:
    port = any_free_port()
    with make_feed(url=f"ws://127.0.0.1:{port}") as running:
        running.until(lambda: running.feed.state.failures >= 3, "three failures")
        assert running.feed.state.reasons[-1][1] == "the connection was refused"
        assert running.feed.signs.status == "unhealthy"
        with ReplayServer(MemorySource(minutes.values()), port=port) as server:
            running.until_connected()
            server.stream.send([minute("AAPL", OPENING_MS)])
            running.until_keys({("AAPL", OPENING_MS * 1_000)})


def test_another_provider_stands_in_while_the_source_is_down_and_leaves_when_it_is_back(
    make_feed: MakeFeed, minutes: Minutes, settings: Settings, stand_in: Any, hasty: Any
) -> None:
    port = any_free_port()
    with make_feed(url=f"ws://127.0.0.1:{port}", stand_in=stand_in.provider) as running:
        with ReplayServer(MemorySource(minutes.values()), port=port) as server:
            running.until_connected()
            server.stream.send([minute("AAPL", OPENING_MS)])
            running.until_keys({("AAPL", OPENING_MS * 1_000)})
        running.until(lambda: running.state().get("provider") == "alpha_vantage", "a stand-in")
        assert "has given nothing for" in running.state()["provider_reason"]
        assert running.state()["status"] == "degraded"
        running.until(lambda: running.feed.writer.written.stood_in > 100, "bars of the stand-in")
        with ReplayServer(MemorySource(minutes.values()), port=port) as server:
            running.until_connected(2)
            assert server.stream.wait_for_subscribers()
            server.stream.send([minute("AAPL", OPENING_MS)])
            running.until(lambda: running.state().get("provider") == "polygon", "the end of the stand-in")

        stood_in = [bar for bar in running.bars() if bar.source == "alpha_vantage"]
        assert {bar.quality for bar in stood_in} == {"stand-in"}
        assert ("AAPL", OPENING_MS * 1_000) not in {(bar.symbol, bar.time) for bar in stood_in}
        known = truth(minutes)
        assert all(known[bar.symbol, bar.time][:4] == (bar.open, bar.high, bar.low, bar.close) for bar in stood_in)


def test_another_provider_stands_in_for_a_source_that_connects_and_gives_nothing(
    make_feed: MakeFeed, server: ReplayServer, minutes: Minutes, history: Any, stand_in: Any, hasty: Any
) -> None:
    is_open = True
    options = replace(hasty, patience=replace(hasty.patience, silence=0.3), is_watched=lambda: is_open)
    aapl = minutes["AAPL"]
    with make_feed(symbols=["AAPL"], options=options, stand_in=stand_in.provider, history=history) as running:
        running.until_connected()
        assert server.stream.wait_for_subscribers()
        server.stream.send_minutes(aapl[:1])
        running.until(lambda: running.state().get("provider") == "alpha_vantage", "a stand-in")
        running.until_connected(2)
        server.stream.send_minutes(aapl[300:301])
        running.until(lambda: running.state().get("provider") == "polygon", "the end of the stand-in")
        running.until_keys(set(truth({"AAPL": aapl})))

        running.until(lambda: running.feed.state.is_silent, "another silence")
        is_open = False
        running.until(lambda: running.feed.state.is_connected, "a connection")
        running.until(lambda: running.feed.gaps.filling.waiting == 0, "the fill after it")
        asked = server.requests.count(path="/v2/aggs")
        assert server.stream.wait_for_subscribers()
        server.stream.send_minutes(aapl[389:])
        running.until(lambda: server.requests.count(path="/v2/aggs") > asked, "a question about the silence")


def test_trades_make_minutes_before_the_provider_does(make_feed: MakeFeed, server: ReplayServer) -> None:
    def trade(symbol: str, at_ms: int, price: float, size: int = 100, *conditions: int) -> dict[str, Any]:
        return {"ev": "T", "sym": symbol, "p": price, "s": size, "c": list(conditions), "t": at_ms, "q": at_ms}

    start = OPENING_MS + 60_000
    with make_feed(source_options={"traded": ["AAPL"]}) as running:
        running.until_connected()
        server.stream.send([trade("AAPL", start - 1_000, 99.0), trade("AAPL", start + 5, 100.0)])
        server.stream.send([trade("AAPL", start + 900, 50.0, 7, 37), trade("AAPL", start + 59_999, 101.0)])
        server.stream.send([trade("AAPL", start + 60_000, 102.0)])
        running.until_keys({("AAPL", start * 1_000)})
        (bar,) = running.bars()
        assert (bar.open, bar.high, bar.low, bar.close, bar.volume) == (100.0, 101.0, 100.0, 101.0, 207.0)

        server.stream.send([trade("AAPL", start + 30_000, 103.0)])
        running.until(lambda: len(running.bars()) == 2, "a revision")
        assert running.bars()[-1].high == 103.0
        server.stream.send([minute("AAPL", start, 104.0)])
        running.until(lambda: len(running.bars()) == 3, "the provider's own bar")
        assert running.bars()[-1].open == 104.0


def test_the_clock_closes_no_minute_that_the_connection_broke_in(make_feed: MakeFeed, server: ReplayServer) -> None:
    def second(at_ms: int) -> dict[str, Any]:
        return minute("AAPL", at_ms, ev="A", e=at_ms + 1_000)

    start = OPENING_MS + 60_000
    with make_feed(symbols=["AAPL"], source_options={"with_seconds": True}) as running:
        running.until_connected()
        server.stream.send([second(start - 1_000)])
        for at in range(0, 60_000, 1_000):
            server.stream.send([second(start + at)])
        server.stream.send([second(start + 60_000)])
        running.until_keys({("AAPL", start * 1_000)})
        server.stream.disrupt("close-1000")
        running.until_connected(2)
        # a minute and a half go by
        running.do(lambda: running.feed.clock.saw(start + 150_000))
        running.until(lambda: running.feed.clock.now_ms() > start + 150_500, "half a second")
        assert set(running.keys_on_streams()) == {("AAPL", start * 1_000)}
        server.stream.send([minute("AAPL", start + 60_000)])
        running.until_keys({("AAPL", start * 1_000), ("AAPL", (start + 60_000) * 1_000)})
        assert running.bars()[-1].volume == 100


def test_seconds_add_up_to_the_minutes_of_a_session(make_feed: MakeFeed, minutes: Minutes) -> None:
    hour = minutes["IBM"][:60]
    with (
        ReplayServer(MemorySource([hour])) as server,
        make_feed(url=server.websocket_url, symbols=["IBM"], source_options={"with_seconds": True}) as running,
    ):
        server.stream.play(SESSION, SESSION, symbols=["IBM"]).wait(30)
        running.until_keys(set(truth({"IBM": hour})))

        assert running.latest() == truth({"IBM": hour})
        assert running.feed.state.events > 60 * 50


def test_the_latest_quotes_are_kept(make_feed: MakeFeed, server: ReplayServer) -> None:
    def quote(bid: float) -> dict[str, Any]:
        return {"ev": "Q", "sym": "AAPL", "bp": bid, "bs": 2, "ap": bid + 0.01, "as": 3, "t": OPENING_MS}

    with make_feed(source_options={"with_quotes": True}) as running:
        running.until_connected()
        server.stream.send([quote(10.0), quote(11.0)])
        running.until(lambda: running.client.hexists(QUOTES, "AAPL"), "a quote")

        assert json.loads(running.client.hget(QUOTES, "AAPL")) == {
            **{"bid": 11.0, "bid_size": 2, "ask": 11.01, "ask_size": 3},
            "timestamp": OPENING_MS / 1_000,
        }


def test_health_events_tell_of_each_change_with_the_market(make_feed: MakeFeed, server: ReplayServer) -> None:
    with make_feed() as running, running.client.pubsub(ignore_subscribe_messages=True) as events:
        events.subscribe(HEALTH)
        running.until_connected()
        server.stream.disrupt("close-1001")
        running.until_connected(2)
        told: list[dict[str, Any]] = []

        def reason_is_told() -> bool:
            message = events.get_message(timeout=0.1)
            told.extend([] if message is None else [json.loads(message["data"])])
            return bool(told) and "closed the connection with 1001" in told[-1]["data"]["reasons"]

        running.until(reason_is_told, "an event with the reason")
        event = told[-1]
        assert event["event_type"] == "system_health"
        assert event["data"]["component"] == "feed"
        assert event["data"]["market"] in {"pre", "regular", "post", "closed"}
        assert event["data"]["status"] in {"unhealthy", "degraded"}
        assert running.state()["failures"] == "1"


def test_a_second_feed_stands_by_until_the_first_ends(make_feed: MakeFeed, server: ReplayServer) -> None:
    with make_feed() as first:
        first.until_connected()
        with make_feed() as second:
            second.until(lambda: bool(second.feed), "a start")
            assert server.stream.n_clients == 1
            first.stop()
            second.until_connected()


def test_a_feed_that_cannot_read_its_symbols_at_the_start_asks_again_soon(
    make_feed: MakeFeed, server: ReplayServer, minutes: Minutes, hasty: Any
) -> None:
    answers: list[list[str]] = []

    def symbols() -> list[str]:
        answers.append(["IBM"])
        if len(answers) == 1:
            raise DatabaseUnreachableError("It is starting up.")
        return answers[-1]

    with make_feed(symbols=symbols, options=replace(hasty, symbols_every=3_600.0)) as running:
        server.stream.play(SESSION, SESSION).wait(20)
        running.until(lambda: len(running.bars()) == len(minutes["IBM"]), "all bars")
