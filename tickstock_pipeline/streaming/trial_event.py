"""A pattern event that is no detection: published the way that real ones take, to see whether they arrive.

It is logged and put into the outbox in one transaction, and published from there by the worker's own publisher. Nothing
is stored in ``daily_patterns``. Everything that carries it says ``test``: its pattern's name, ``data.test``,
``data.metadata.test``, and the details of its row in the integration log.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from uuid import UUID

import redis
import sqlalchemy as sa

from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.messaging.channels import PATTERNS, SOURCE
from tickstock_pipeline.messaging.pattern_event import LiveDetection, RealtimeContext, pattern_detected
from tickstock_pipeline.storage.event_log import PATTERN_PUBLISHED, FlowStep, log_flow_steps
from tickstock_pipeline.storage.monitoring import FLOW_CHECKPOINTS, FlowProgress, flow_progress
from tickstock_pipeline.storage.outbox import Message, mark_published, put
from tickstock_pipeline.streaming.desk import Told
from tickstock_pipeline.streaming.publisher import Publisher

TEST_PATTERN = "test_event"
"""The pattern's name: no definition has it."""

_NODE = "test-event"
_LOOK_EVERY_S = 0.05


@dataclass(frozen=True, slots=True)
class Trial:
    """A test event that has been published."""

    flow_id: UUID
    payload: str


def publish_trial(engine: sa.Engine, client: "redis.Redis", symbol: str, *, kept_events: int) -> Trial:
    """Log and publish one test event.

    Parameters
    ----------
    kept_events : as the workers have it: the stream is trimmed to that length

    Raises
    ------
    StorageError
        If the database does not answer: nothing is published.
    MessagingError
        If Redis does not take it: a worker publishes it later.
    """
    now_us = time.time_ns() // 1000
    detection = LiveDetection(
        symbol=symbol,
        timeframe=Timeframe.MINUTE,
        pattern=TEST_PATTERN,
        # a flow of its own each time
        bar_time=now_us,
        instant=now_us,
        revision=1,
        direction="neutral",
        confidence=0.5,
        signal_strength="weak",
        volume_confirmed=False,
        formation_bars=1,
        price_change=0.0,
        current_price=1.0,
        volume=0,
        context={},
        levels={},
    )
    payload = _marked(pattern_detected(detection, RealtimeContext(_NODE, now_us / 1e6, 0.0, 0.0)))
    step = FlowStep(
        detection.flow_id,
        "pattern_detected",
        PATTERN_PUBLISHED,
        PATTERNS,
        symbol,
        TEST_PATTERN,
        detection.confidence,
        {"timeframe": detection.timeframe.value, "worker": _NODE, "test": True},
    )
    messages = [Message(PATTERNS, payload)]
    with engine.begin() as connection:
        log_flow_steps(connection, SOURCE, [step])
        outbox_id = put(connection, messages)
    Publisher(client, kept_events=kept_events).publish([Told(outbox_id, tuple(messages))])
    with engine.begin() as connection:
        mark_published(connection, [] if outbox_id is None else [outbox_id])
    return Trial(detection.flow_id, payload)


def follow_trial(
    engine: sa.Engine, trial: Trial, *, seconds: float, pause: Callable[[float], None] = time.sleep
) -> Iterator[FlowProgress]:
    """The checkpoints of a test event as they are logged, until all are there or the time is over."""
    deadline = time.monotonic() + seconds
    seen: set[str] = set()
    while True:
        with engine.connect() as connection:
            progress = flow_progress(connection, trial.flow_id)
        for step in progress:
            if step.checkpoint not in seen:
                seen.add(step.checkpoint)
                yield step
        if seen.issuperset(FLOW_CHECKPOINTS) or time.monotonic() >= deadline:
            return
        pause(_LOOK_EVERY_S)


def _marked(payload: str) -> str:
    event = json.loads(payload)
    event["data"]["test"] = True
    event["data"]["metadata"]["test"] = True
    return json.dumps(event)
