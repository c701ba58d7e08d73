"""The events of the stream: what is within a minute adds up to it, and faults lose nothing."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.replay.bridge import Whole
from tickstock_pipeline.replay.faults import Fault, FaultKind, FaultPlan
from tickstock_pipeline.replay.stream_events import Event, SecondEvents, event_of, minute_events
from tickstock_pipeline.replay.stream_faults import EventFaults

START = 1_362_148_200_000
MINUTE_MS = 60_000


@st.composite
def minutes(draw: st.DrawFn) -> Whole:
    low, *inner, high = sorted(draw(st.lists(st.integers(1, 10**6), min_size=4, max_size=4)))
    open_, close = draw(st.permutations(inner))
    return Whole(open_ / 100, high / 100, low / 100, close / 100, draw(st.integers(1, 10**7)))


def within(minute: Whole, type_: str) -> list[dict[str, Any]]:
    found = SecondEvents("AAPL", 0).within(START, minute, frozenset({type_}))
    return [json.loads(event.text) for second in sorted(found) for event in found[second]]


def minute_bars(n: int) -> Bars:
    time = np.datetime64("2013-03-01T14:30", "us") + np.arange(n) * np.timedelta64(1, "m")
    prices = np.arange(n) + 100.0
    return Bars("AAPL", Timeframe.MINUTE, time, prices, prices + 1, prices - 1, prices + 0.5, np.full(n, 1_000))


@given(minutes())
@settings(max_examples=100, deadline=None)
def test_seconds_add_up_to_the_minute(minute: Whole) -> None:
    seconds = within(minute, "A")

    assert seconds[0]["o"] == minute.open
    assert max(second["h"] for second in seconds) == minute.high
    assert min(second["l"] for second in seconds) == minute.low
    assert seconds[-1]["c"] == minute.close
    assert sum(second["v"] for second in seconds) == minute.volume == seconds[-1]["av"]
    assert all(second["e"] - second["s"] == 1_000 for second in seconds)


@given(minutes())
@settings(max_examples=100, deadline=None)
def test_trades_add_up_to_the_minute(minute: Whole) -> None:
    trades = within(minute, "T")
    prices = [trade["p"] for trade in trades]

    assert (prices[0], max(prices), min(prices), prices[-1]) == minute[:4]
    assert sum(trade["s"] for trade in trades) == minute.volume
    times = [trade["t"] for trade in trades]
    assert times == sorted(times)
    assert START <= times[0] <= times[-1] < START + MINUTE_MS
    assert len({trade["i"] for trade in trades}) == len(trades)


def test_a_quote_has_the_last_price_between_bid_and_ask() -> None:
    for quote in within(Whole(10.0, 11.0, 9.0, 10.5, 10_000), "Q"):
        assert quote["bp"] < quote["ap"]
        assert set(quote) == {"ev", "sym", "bx", "bp", "bs", "ax", "ap", "as", "c", "t", "q", "z"}


def test_a_minute_has_the_fields_of_the_protocol() -> None:
    # https://massive.com/docs/websocket/stocks/aggregates-per-minute
    fields = [json.loads(event.text) for event in minute_events(minute_bars(2))]

    assert fields[1] == {
        **{"ev": "AM", "sym": "AAPL", "v": 1_000, "av": 2_000, "op": 100.0, "vw": 101.125},
        **{"o": 101.0, "c": 101.5, "h": 102.0, "l": 100.0, "a": 100.625, "z": 100},
        **{"s": START + MINUTE_MS, "e": START + 2 * MINUTE_MS},
    }


@pytest.mark.parametrize("fields", [{"sym": "AAPL"}, {"ev": "AM"}])
def test_an_event_needs_a_type_and_a_symbol(fields: dict[str, Any]) -> None:
    with pytest.raises(KeyError):
        event_of(fields)


@given(
    st.lists(
        st.sampled_from([FaultKind.DUPLICATES, FaultKind.LATE, FaultKind.OUT_OF_ORDER, FaultKind.CORRECTED]),
        max_size=4,
        unique=True,
    ),
    st.integers(0, 2**32),
)
@settings(max_examples=100, deadline=None)
def test_whatever_happens_to_events_the_last_one_for_each_key_is_right(kinds: list[FaultKind], seed: int) -> None:
    events = minute_events(minute_bars(60))
    plan = FaultPlan([Fault(kind, times=None, rate=0.3) for kind in kinds], seed=seed)
    faults = EventFaults(plan, seed)
    sent: list[Event] = []
    for event in events:
        sent += faults.passed([event], event.start + MINUTE_MS)
    sent += faults.rest()

    assert {event.start: event.text for event in sent} == {event.start: event.text for event in events}


def sent_with(kind: FaultKind, *, n: int = 10) -> list[list[Event]]:
    """What is sent at the end of each minute if the first one suffers."""
    faults = EventFaults(FaultPlan([Fault(kind)]), 0)
    events = minute_events(minute_bars(n))
    return [faults.passed([event], event.start + MINUTE_MS) for event in events]


def test_a_duplicate_follows_at_once() -> None:
    assert [len(events) for events in sent_with(FaultKind.DUPLICATES, n=2)] == [2, 1]


def test_a_late_bar_comes_one_to_three_minutes_later() -> None:
    minutes_sent = sent_with(FaultKind.LATE)

    assert minutes_sent[0] == []
    assert START in {event.start for events in minutes_sent[1:4] for event in events}


def test_a_bar_out_of_order_comes_at_most_five_minutes_later() -> None:
    minutes_sent = sent_with(FaultKind.OUT_OF_ORDER)

    assert START in {event.start for events in minutes_sent[1:6] for event in events}


def test_a_corrected_bar_has_less_volume_at_first() -> None:
    minutes_sent = sent_with(FaultKind.CORRECTED)
    first = json.loads(minutes_sent[0][0].text)
    again = next(json.loads(event.text) for events in minutes_sent[1:4] for event in events if event.start == START)

    assert (first["v"], again["v"]) == (500, 1_000)
    assert first["c"] != again["c"]


@pytest.mark.parametrize(
    ("kind", "is_bad"),
    [
        (FaultKind.BAD_OHLC, lambda fields: fields["h"] < fields["l"]),
        (FaultKind.FRACTIONAL_VOLUME, lambda fields: fields["v"] % 1 == 0.25),
    ],
)
def test_a_bad_bar_is_bad(kind: FaultKind, is_bad: Any) -> None:
    assert is_bad(json.loads(sent_with(kind)[0][0].text))
