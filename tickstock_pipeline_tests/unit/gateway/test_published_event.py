"""Entries of the stream of pattern events, as the gateway reads them."""

import json
from typing import Any

import pytest

from tickstock_pipeline.gateway.published_event import read_event


def entry(**changes: Any) -> dict[bytes, bytes]:
    data = {"symbol": "AAPL", "pattern": "doji", "timeframe": "1min", "confidence": 0.5, **changes}
    return {b"event": json.dumps({"event_type": "pattern_detected", "timestamp": 1.5, "data": data}).encode()}


def test_an_event_goes_on_with_its_place_in_the_stream() -> None:
    found = read_event(b"12-3", entry())
    assert json.loads(found.text)["data"]["event_id"] == "12-3"
    assert found.id == (12, 3)


@pytest.mark.parametrize(
    "fields", [{}, {b"event": b"[" * 100_000}, {b"event": b"17"}, {b"event": b"{"}, entry(confidence=10**400)]
)
def test_what_is_no_event_is_refused_and_nothing_worse(fields: dict[bytes, bytes]) -> None:
    with pytest.raises(ValueError, match="the entry"):
        read_event(b"1-1", fields)


def test_half_a_character_can_be_sent_on() -> None:
    assert read_event(b"1-1", entry(direction="\ud800")).text.encode()
