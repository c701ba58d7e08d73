"""Events about detections: their flow, and that they are JSON whatever the numbers are."""

import json
import math

from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.messaging.pattern_event import (
    LiveDetection,
    RealtimeContext,
    flow_id,
    pattern_detected,
    pattern_retracted,
)

DETECTION = LiveDetection(
    symbol="AAPL",
    timeframe=Timeframe.MINUTE,
    pattern="doji",
    bar_time=1_756_218_600_000_000,
    instant=1_756_218_600_000_000,
    revision=1,
    direction="neutral",
    confidence=0.5,
    signal_strength="moderate",
    volume_confirmed=False,
    formation_bars=1,
    price_change=None,
    current_price=150.5,
    volume=10,
    context={"body_ratio": 0.1, "odd": math.nan},
    levels={"stop": math.nan},
)
CONTEXT = RealtimeContext("node", 1_756_218_661.5, 1.5, 1500.0)


def test_a_flow_is_the_same_for_the_same_detection_and_another_for_anything_else() -> None:
    same = ("AAPL", Timeframe.MINUTE, "doji", 1, 1)
    others = [
        ("MSFT", Timeframe.MINUTE, "doji", 1, 1),
        ("AAPL", Timeframe.HOURLY, "doji", 1, 1),
        ("AAPL", Timeframe.MINUTE, "hammer", 1, 1),
        ("AAPL", Timeframe.MINUTE, "doji", 2, 1),
        ("AAPL", Timeframe.MINUTE, "doji", 1, 2),
    ]
    assert flow_id(*same) == flow_id(*same)
    assert len({flow_id(*one) for one in [same, *others]}) == 6
    # Written down, since another release must recognise the repeats of this one. By RFC 9562 from what coreutils'
    # sha1sum prints of the namespace's 16 bytes and 'AAPL|1min|doji|1|1'.
    assert str(flow_id(*same)) == "1a149d53-0a95-5f86-9a86-2fddf8c6f580"


def test_a_number_that_json_does_not_have_is_left_out() -> None:
    data = json.loads(pattern_detected(DETECTION, CONTEXT), parse_constant=lambda name: 1 / 0)["data"]
    assert data["metadata"]["technical_context"] == {"body_ratio": 0.1}
    assert data["levels"] == {}
    assert data["price_change"] == 0.0
    assert "late" not in data["realtime_context"]


def test_a_retraction_is_the_same_flow_with_a_reason() -> None:
    detected = json.loads(pattern_detected(DETECTION, CONTEXT))
    retracted = json.loads(pattern_retracted(DETECTION, CONTEXT, "bar corrected"))
    assert retracted["event_type"] == "pattern_retracted"
    assert retracted["data"].pop("reason") == "bar corrected"
    assert retracted["data"] == detected["data"]
