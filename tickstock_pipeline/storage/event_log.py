"""Rows of the integration log that we write in bulk, in the transaction whose events they are about."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa

from tickstock_pipeline.storage.tables import INTEGRATION_EVENTS

PATTERN_PUBLISHED = "PATTERN_PUBLISHED"
PATTERN_RETRACTED = "PATTERN_RETRACTED"
PRODUCER_STARTED = "PRODUCER_STARTED"
PRODUCER_ALIVE = "PRODUCER_ALIVE"


class FlowStep(NamedTuple):
    """A checkpoint of one detection's way to the user."""

    flow_id: UUID
    event_type: str
    checkpoint: str
    channel: str
    symbol: str
    pattern: str
    confidence: float
    details: Mapping[str, Any]


def log_flow_steps(connection: sa.Connection, source: str, steps: Sequence[FlowStep]) -> None:
    """Store checkpoints; ``source`` is the system that speaks."""
    if steps:
        connection.execute(
            _LOG_STEPS,
            {
                "source": source,
                "types": [step.event_type for step in steps],
                "flows": [str(step.flow_id) for step in steps],
                "checkpoints": [step.checkpoint for step in steps],
                "symbols": [step.symbol for step in steps],
                "patterns": [step.pattern for step in steps],
                "confidences": [step.confidence for step in steps],
                "channels": [step.channel for step in steps],
                "details": [json.dumps(dict(step.details)) for step in steps],
            },
        )


def logged_flows(connection: sa.Connection, flows: Iterable[UUID], checkpoint: str) -> set[UUID]:
    """Those of ``flows`` that have passed a checkpoint."""
    table = INTEGRATION_EVENTS.c
    wanted = list(flows)
    if not wanted:
        return set()
    return set(
        connection.scalars(
            sa.select(table.flow_id).where(
                table.flow_id == sa.any_(sa.literal(wanted, sa.ARRAY(sa.Uuid))), table.checkpoint == checkpoint
            )
        )
    )


def log_sign_of_life(connection: sa.Connection, source: str, checkpoint: str, details: Mapping[str, Any]) -> None:
    """Store :data:`PRODUCER_STARTED` or :data:`PRODUCER_ALIVE`."""
    connection.execute(
        sa.text("""
            SELECT log_integration_event(
                NULL, 'heartbeat', :source, :checkpoint, NULL, NULL, NULL, NULL, NULL, cast(:details AS jsonb)
            )
        """),
        {"source": source, "checkpoint": checkpoint, "details": json.dumps(details)},
    )


_LOG_STEPS = sa.text("""
    INSERT INTO integration_events (
        event_type, source_system, flow_id, checkpoint, symbol, pattern_name, confidence, channel, details
    )
    SELECT event_type, :source, cast(flow_id AS uuid), checkpoint, symbol, pattern, confidence, channel,
        cast(details AS jsonb)
    FROM unnest(
        cast(:types AS text[]), cast(:flows AS text[]), cast(:checkpoints AS text[]), cast(:symbols AS text[]),
        cast(:patterns AS text[]), cast(:confidences AS float8[]), cast(:channels AS text[]), cast(:details AS text[])
    ) AS step (event_type, flow_id, checkpoint, symbol, pattern, confidence, channel, details)
""")
