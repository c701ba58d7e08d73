"""States as live processes show them, for tests of those who look at them."""

import time

import redis
import sqlalchemy as sa


def show_worker(client: "redis.Redis", name: str = "one", **changes: str) -> None:
    """Show a worker."""
    state = {
        **{"worker": name, "status": "healthy", "shards": "0,1", "lag_ms": "3.5", "bars": "1234", "patterns": "17"},
        **{"last_batch_ms": "8.25", "breaker": "closed", "errors_last_minute": "0", "quarantined": "2"},
        **{"updated_at": f"{time.time():.3f}"},
    }
    client.hset(f"tickstock:workers:{name}", mapping={**state, **changes})


def show_feed(client: "redis.Redis", **changes: str) -> None:
    """Show a feed."""
    state = {
        **{"source": "polygon", "provider": "polygon", "status": "healthy", "is_connected": "True"},
        **{"market": "regular", "symbols": "1000", "bars": "99000", "queue_depth": "4", "connections": "3"},
    }
    client.hset("tickstock:feed", mapping={**state, **changes})


def log_flow(connection: sa.Connection, flow: str, seconds_ago: float, *stages_ms: float) -> None:
    """Log a flow with this many checkpoints after its publication, each so long after the one before."""
    connection.execute(
        sa.text("""
            INSERT INTO integration_events (event_type, source_system, flow_id, checkpoint, symbol, "timestamp")
            SELECT 'pattern', CASE place WHEN 1 THEN 'TickStockPL' ELSE 'Consumer' END, cast(:flow AS uuid),
                (ARRAY['PATTERN_PUBLISHED', 'EVENT_RECEIVED', 'EVENT_PARSED', 'WEBSOCKET_DELIVERED'])[place], 'AAPL',
                now() - make_interval(secs => :ago) + (
                    SELECT sum(ms) FROM unnest(cast(:stages AS float8[])) WITH ORDINALITY AS stage (ms, at)
                    WHERE at <= place
                ) * interval '1 millisecond'
            FROM generate_series(1, cardinality(cast(:stages AS float8[]))) AS place
        """),
        {"flow": flow, "ago": seconds_ago, "stages": [0.0, *stages_ms]},
    )
