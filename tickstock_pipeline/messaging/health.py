"""Signs of life for other programs: health events and heartbeats."""

import json
import time
from collections.abc import Mapping
from typing import Any, Literal

import redis

from tickstock_pipeline.messaging.channels import HEALTH, HEARTBEATS, SOURCE
from tickstock_pipeline.messaging.connection import named_errors

Status = Literal["healthy", "degraded", "unhealthy", "stopped"]

HEARTBEAT_S = 60
_EXPIRY_S = 3 * HEARTBEAT_S


def system_health(component: str, status: Status, details: Mapping[str, Any], *, at: float | None = None) -> str:
    """The event ``system_health``, as JSON.

    Parameters
    ----------
    component : which process speaks, such as ``worker:alpha``
    details : numbers and words about it; nothing secret
    at : Unix seconds; None: now
    """
    moment = time.time() if at is None else at
    return json.dumps(
        {
            "event_type": "system_health",
            "source": SOURCE,
            "timestamp": moment,
            "data": {"component": component, "status": status, "timestamp": moment, **details},
        }
    )


def publish_health(client: "redis.Redis", component: str, status: Status, details: Mapping[str, Any]) -> None:
    """Publish :func:`system_health`."""
    with named_errors():
        client.publish(HEALTH, system_health(component, status, details))


def beat(client: "redis.Redis") -> None:
    """Refresh the heartbeat keys; call it every :data:`HEARTBEAT_S` seconds."""
    with named_errors():
        pipeline = client.pipeline(transaction=False)
        for key in HEARTBEATS:
            pipeline.set(key, f"{time.time():.3f}", ex=_EXPIRY_S)
        pipeline.execute()
