"""Bars as messages: what goes in comes out, and what cannot be read says why."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.messaging.bar_event import LiveBar, decode, encode, is_ours
from tickstock_pipeline.messaging.bar_stream import shard_of

PRICES = st.floats(min_value=1e-6, max_value=1e9)
FROM_THE_CONTRACT = (
    b'{"symbol": "AAPL", "timestamp": "2025-08-26T14:30:00.000Z", "timeframe": "1min",'
    b' "ohlcv": {"open": 150.25, "high": 150.75, "low": 150.10, "close": 150.50, "volume": 125000},'
    b' "source": "polygon.io",'
    b' "metadata": {"market_session": "regular", "data_quality": "confirmed", "ingestion_latency_ms": 45}}'
)


@given(
    prices=st.tuples(PRICES, PRICES, PRICES, PRICES),
    volume=st.integers(0, 2**53),
    minute=st.integers(0, 60_000_000),
)
def test_a_bar_comes_back_bit_for_bit(prices: tuple[float, ...], volume: int, minute: int) -> None:
    bar = LiveBar("BRK.B", Timeframe.MINUTE, minute * 60_000_000, *prices, float(volume), "test")
    assert decode(encode(bar)) == bar


def test_the_consumers_own_event_is_read_and_told_from_ours() -> None:
    bar = decode(FROM_THE_CONTRACT)
    assert bar == LiveBar(
        "AAPL",
        Timeframe.MINUTE,
        1_756_218_600_000_000,
        150.25,
        150.75,
        150.10,
        150.50,
        125000.0,
        "polygon.io",
        ingestion_latency_ms=45.0,
    )
    assert not is_ours(FROM_THE_CONTRACT)
    assert is_ours(encode(bar))
    assert not is_ours(b"[]")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"symbol": None}, "no symbol"),
        ({"symbol": "a b"}, "is not a symbol"),
        ({"timeframe": "2min"}, "unknown timeframe, '2min'"),
        ({"timestamp": "yesterday"}, "unreadable timestamp, 'yesterday'"),
        ({"timestamp": 5}, "no timestamp"),
        ({"ohlcv": [1, 2]}, "no ohlcv"),
    ],
)
def test_what_is_missing_is_named(change: dict[str, object], reason: str) -> None:
    event = json.loads(FROM_THE_CONTRACT) | change
    with pytest.raises(ValueError, match=reason):
        decode(json.dumps(event).encode())


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xfe", b"17", b"[]", b"[" * 100_000])
def test_what_is_no_object_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="JSON"):
        decode(raw)


@pytest.mark.parametrize("value", [None, "12", True, [], 10**400])
def test_what_is_no_number_is_left_to_the_rules_of_bars(value: object) -> None:
    event = json.loads(FROM_THE_CONTRACT)
    event["ohlcv"]["close"] = value
    assert math.isnan(decode(json.dumps(event).encode()).close)


def test_a_symbols_shard_never_changes() -> None:
    # the check value of CRC-32 (ITU-T V.42, the catalogue of parametrised CRC algorithms)
    assert shard_of("123456789", 2**32) == 0xCBF43926
