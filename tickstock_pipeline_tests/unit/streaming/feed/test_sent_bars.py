"""What replaces what: the live source, a gap's fill, another provider that stands in."""

import pytest

from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.messaging.bar_event import LiveBar
from tickstock_pipeline.streaming.feed.sent_bars import SentBars
from tickstock_pipeline.streaming.feed.source import Delivery, Origin

LIVE, FILL, STANDBY = Origin.LIVE, Origin.FILL, Origin.STANDBY


def bar(price: float, time: int = 0) -> LiveBar:
    return LiveBar("A", Timeframe.MINUTE, time, price, price, price, price, 1.0, "test")


def send(sent: SentBars, origin: Origin, price: float, at: float = 0.0, time: int = 0) -> bool:
    return bool(sent.new_of(Delivery([], origin, at), [bar(price, time)]))


@pytest.mark.parametrize(
    ("first", "second", "is_sent"),
    [
        ((LIVE, 1.0, 1.0), (LIVE, 1.0, 2.0), False),
        ((LIVE, 1.0, 1.0), (LIVE, 2.0, 2.0), True),
        ((LIVE, 1.0, 1.0), (FILL, 1.0, 2.0), False),
        ((LIVE, 1.0, 1.0), (FILL, 2.0, 2.0), True),
        ((LIVE, 1.0, 3.0), (FILL, 2.0, 2.0), False),
        ((LIVE, 1.0, 1.0), (STANDBY, 2.0, 2.0), False),
        ((FILL, 1.0, 1.0), (STANDBY, 2.0, 2.0), False),
        ((STANDBY, 1.0, 1.0), (STANDBY, 2.0, 2.0), True),
        ((STANDBY, 1.0, 1.0), (STANDBY, 1.0, 2.0), False),
        ((STANDBY, 1.0, 1.0), (FILL, 2.0, 2.0), True),
        ((STANDBY, 1.0, 1.0), (LIVE, 1.0, 2.0), False),
    ],
)
def test_what_is_sent_after_what(
    first: tuple[Origin, float, float], second: tuple[Origin, float, float], is_sent: bool
) -> None:
    sent = SentBars()

    assert send(sent, *first)
    assert send(sent, *second) == is_sent


def test_what_the_source_has_confirmed_is_its_own() -> None:
    sent = SentBars()
    send(sent, STANDBY, 1.0, 1.0)
    send(sent, LIVE, 1.0, 2.0)

    assert not send(sent, STANDBY, 2.0, 3.0)


def test_minutes_that_come_in_any_order_are_known_again() -> None:
    sent = SentBars()
    times = [5, 1, 3, 2, 4]

    assert all(send(sent, LIVE, float(time), time=time) for time in times)
    assert not any(send(sent, LIVE, float(time), time=time) for time in times)


def test_only_the_last_sessions_are_remembered() -> None:
    sent = SentBars()
    for time in range(1_001):
        send(sent, LIVE, 1.0, time=time)

    assert not send(sent, LIVE, 1.0, time=1_000)
    assert send(sent, LIVE, 1.0, time=0)
