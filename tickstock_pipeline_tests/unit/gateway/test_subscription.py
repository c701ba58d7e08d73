"""Which events a client gets, for any sequence of its requests."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickstock_pipeline.errors import SubscriptionError
from tickstock_pipeline.gateway.subscription import ALL, Filter, Request, Subscription, Traits, parse_request

SYMBOLS = ("AAPL", "MSFT", "BRK.B")
PATTERNS = ("doji", "hammer")
TIMEFRAMES = ("1min", "daily")

confidences = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
some_of = {
    "patterns": st.none() | st.frozensets(st.sampled_from(PATTERNS), min_size=1),
    "timeframes": st.none() | st.frozensets(st.sampled_from(TIMEFRAMES), min_size=1),
}
filters = st.builds(Filter, **some_of, min_confidence=confidences, retractions=st.booleans())
symbol_sets = st.frozensets(st.sampled_from((*SYMBOLS, ALL)), min_size=1)
steps = st.lists(st.tuples(st.sampled_from(["subscribe", "unsubscribe"]), symbol_sets, filters), max_size=8)
events = st.builds(
    Traits,
    symbol=st.sampled_from(SYMBOLS),
    pattern=st.sampled_from(PATTERNS),
    timeframe=st.sampled_from(TIMEFRAMES),
    confidence=confidences,
    is_retraction=st.booleans(),
)


def passes(wanted: Filter, event: Traits) -> bool:
    """The filter's words, one after the other."""
    if wanted.patterns is not None and event.pattern not in wanted.patterns:
        return False
    if wanted.timeframes is not None and event.timeframe not in wanted.timeframes:
        return False
    return wanted.retractions if event.is_retraction else event.confidence >= wanted.min_confidence


@given(steps=steps, event=events)
def test_the_last_word_on_a_symbol_and_the_last_word_on_all_decide(
    steps: list[tuple[str, frozenset[str], Filter]], event: Traits
) -> None:
    subscription = Subscription()
    for action, symbols, wanted in steps:
        if action == "subscribe":
            subscription.subscribe(symbols, wanted)
        else:
            subscription.unsubscribe(symbols)

    expected = False
    for name in (event.symbol, ALL):
        last_word: Filter | None = None
        for action, symbols, wanted in steps:
            if action == "unsubscribe" and (name in symbols or ALL in symbols):
                last_word = None
            elif action == "subscribe" and name in symbols:
                last_word = wanted
        expected = expected or (last_word is not None and passes(last_word, event))
    assert subscription.wants(event) is expected


@given(wanted=filters, event=events, lower=confidences)
def test_a_wider_filter_lets_through_no_less(wanted: Filter, event: Traits, lower: float) -> None:
    wider = Filter(None, wanted.timeframes, min(lower, wanted.min_confidence), wanted.retractions)

    assert wider.passes(event) or not wanted.passes(event)


@given(
    json_value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(["subscribe"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["action", "symbols", "patterns", "timeframes", "min_confidence", "retractions", "last_event_id"]
                ),
                inner,
            )
        ),
    )
)
def test_whatever_a_client_sends_is_understood_or_refused(json_value: Any) -> None:
    try:
        request = parse_request(json.dumps(json_value))
    except SubscriptionError:
        return
    assert request.action in ("subscribe", "unsubscribe", "ping")
    assert 0 <= request.filter.min_confidence <= 1


@given(text=st.text())
def test_no_text_is_more_than_refused(text: str) -> None:
    with pytest.raises(SubscriptionError):
        parse_request(text)


def test_a_request_is_read_as_it_was_meant() -> None:
    text = (
        '{"action": "subscribe", "symbols": [" aapl ", "*"], "patterns": ["doji"], "timeframes": ["daily"],'
        ' "min_confidence": 1, "retractions": true, "last_event_id": "17-3", "request_id": "a", "colour": "blue"}'
    )

    assert parse_request(text) == Request(
        "subscribe",
        frozenset({"AAPL", ALL}),
        Filter(frozenset({"doji"}), frozenset({"daily"}), 1.0, True),
        (17, 3),
        "a",
    )
