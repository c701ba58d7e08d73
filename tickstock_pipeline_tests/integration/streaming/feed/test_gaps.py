"""Gaps that are filled from a provider's history: which, how far back, and what stops it."""

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.base import FetchedBars
from tickstock_pipeline.providers.limits import request_budget
from tickstock_pipeline.providers.polygon import PolygonProvider
from tickstock_pipeline.providers.sample import SampleProvider
from tickstock_pipeline.replay.server import ReplayServer
from tickstock_pipeline.settings import Settings
from tickstock_pipeline.storage.bars import write_bars

MakeFeed = Callable[..., Any]
Minutes = dict[str, Bars]


def send(server: ReplayServer, bars: Bars) -> None:
    """One minute over the socket, so that the feed knows what time it is on the market."""
    # a client is connected once it has asked for its topics, which the server may not have read yet
    assert server.stream.wait_for_subscribers()
    server.stream.send_minutes(bars)


def keys(bars: Bars) -> set[tuple[str, int]]:
    return {(bars.symbol, int(time)) for time in bars.time.astype("int64")}


@pytest.fixture
def patient(hasty: Any) -> Any:
    """Options with a moment between the connection and the first fill."""
    return replace(hasty, settling=0.3)


def test_at_the_start_what_the_last_sessions_lack_is_filled(
    make_feed: MakeFeed, server: ReplayServer, minutes: Minutes, history: Any, engine: sa.Engine, patient: Any
) -> None:
    aapl, ibm = minutes["AAPL"], minutes["IBM"]
    with engine.begin() as connection:
        write_bars(connection, [aapl[:100]], "polygon")
    with make_feed(history=history, symbols=["AAPL", "IBM"], options=patient) as running:
        running.until_connected()
        send(server, aapl[389:])
        # of IBM nothing is stored: the last sessions are filled, and only this one has any
        running.until_keys(keys(aapl[100:]) | keys(ibm))

        assert len(running.bars()) == 290 + 390
        assert {bar.quality for bar in running.bars()} == {"confirmed", "filled"}
        assert running.feed.writer.written.filled == 289 + 390


def test_holes_before_the_last_stored_minute_are_filled_too(
    make_feed: MakeFeed, server: ReplayServer, minutes: Minutes, history: Any, engine: sa.Engine, patient: Any
) -> None:
    aapl = minutes["AAPL"]
    with engine.begin() as connection:
        # a feed died at 100, its successor began at 150 and died before it had asked
        write_bars(connection, [aapl[np.r_[:100, 150:200]]], "polygon")
    with make_feed(history=history, symbols=["AAPL"], options=patient) as running:
        running.until_connected()
        send(server, aapl[200:201])
        running.until_keys(keys(aapl[100:150]) | keys(aapl[200:]))

        assert len(running.bars()) == 50 + 190


def test_a_minute_that_is_stored_after_the_connection_hides_no_older_gap(
    make_feed: MakeFeed, server: ReplayServer, minutes: Minutes, history: Any, engine: sa.Engine, patient: Any
) -> None:
    aapl = minutes["AAPL"]
    later = replace(aapl, time=aapl.time + np.timedelta64(7, "D"))
    with engine.begin() as connection:
        write_bars(connection, [aapl[:10]], "polygon")
    with make_feed(history=history, symbols=["AAPL"], options=replace(patient, settling=1.0)) as running:
        running.until_connected()
        send(server, aapl[389:])
        running.until(lambda: running.bars() != [], "the minute")
        with engine.begin() as connection:
            write_bars(connection, [later[:1]], "polygon")
        running.until_keys(keys(aapl[10:]))


def test_what_was_refused_is_filled_with_the_next_wish(
    make_feed: MakeFeed, server: ReplayServer, minutes: Minutes, history: Any, patient: Any
) -> None:
    server.faults.add("403", path="/v2/aggs", times=1)
    with make_feed(history=history, symbols=["AAPL"], options=patient) as running:
        running.until_connected()
        send(server, minutes["AAPL"][389:])
        running.until(lambda: "polygon refuses" in running.state().get("gaps_problem", ""), "the reason")
        server.stream.disrupt("close-1000")
        running.until_connected(2)
        running.until_keys(keys(minutes["AAPL"]))


def test_a_stored_minute_that_the_provider_has_corrected_is_sent_again(
    make_feed: MakeFeed, server: ReplayServer, minutes: Minutes, history: Any, engine: sa.Engine, patient: Any
) -> None:
    aapl = minutes["AAPL"]
    wrong = replace(aapl, volume=aapl.volume + (np.arange(390) == 389))
    with engine.begin() as connection:
        write_bars(connection, [wrong], "polygon")
    with make_feed(history=history, symbols=["AAPL"], options=patient) as running:
        running.until_connected()
        send(server, aapl[388:389])
        running.until_keys(keys(aapl[388:]))

        assert running.latest()["AAPL", int(aapl.time[389].astype("int64"))][-1] == float(aapl.volume[389])


def test_a_fill_that_fails_is_tried_again_and_one_that_is_refused_says_why(
    make_feed: MakeFeed, server: ReplayServer, minutes: Minutes, history: Any, patient: Any
) -> None:
    server.faults.add("truncated", path="/v2/aggs", times=2)
    with make_feed(history=history, symbols=["AAPL"], options=patient) as running:
        running.until_connected()
        send(server, minutes["AAPL"][:1])
        running.until_keys(keys(minutes["AAPL"]))
        assert running.feed.gaps.filling.failures > 0

        server.faults.add("403", path="/v2/aggs", times=None)
        server.stream.disrupt("close-1000")
        running.until_connected(2)
        running.until(lambda: "polygon refuses" in running.state().get("gaps_problem", ""), "the reason")


class Stumbling(PolygonProvider):
    """A provider whose library fails in its own way at the first question."""

    n_asked = 0

    def fetch_bars(self, symbol: str, timeframe: Timeframe, first: date, last: date) -> FetchedBars:
        self.n_asked += 1
        if self.n_asked == 1:
            raise KeyError("chart")
        return super().fetch_bars(symbol, timeframe, first, last)


def test_a_library_that_stumbles_is_asked_again_and_does_not_end_the_feed(
    make_feed: MakeFeed, server: ReplayServer, minutes: Minutes, settings: Settings, patient: Any
) -> None:
    budget = request_budget(settings, "polygon", None, 0, 0)
    stumbling = Stumbling(base_url=server.url, api_key=SecretStr("right"), budget=budget, timeout=5.0)
    with make_feed(history=stumbling, symbols=["AAPL"], options=patient) as running:
        running.until_connected()
        send(server, minutes["AAPL"][389:])
        running.until_keys(keys(minutes["AAPL"]))

        assert running.feed.gaps.filling.failures == 1


def test_a_provider_without_minutes_leaves_gaps_and_says_so(make_feed: MakeFeed, server: ReplayServer) -> None:
    with make_feed(history=SampleProvider()) as running:
        running.until_connected()
        running.until(lambda: "gaps are not filled" in running.state().get("gaps_problem", ""), "the reason")


def test_a_feed_that_is_to_end_does_not_wait_for_its_turn_to_ask(
    make_feed: MakeFeed, server: ReplayServer, settings: Settings
) -> None:
    budget = request_budget(settings, "polygon", None, 1, 0)
    budget.acquire()
    slow = PolygonProvider(base_url=server.url, api_key=SecretStr("right"), budget=budget, timeout=5.0)
    with make_feed(history=slow, ask_market=lambda: str(budget.acquire())) as running:
        running.until_connected()
        running.until(lambda: asking() != [], "a question that waits for its turn")
        running.stop()
        running.until(lambda: not asking(), "the end of the threads")


def asking() -> list[str]:
    """Threads that ask a provider for history."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("feed-history")]
