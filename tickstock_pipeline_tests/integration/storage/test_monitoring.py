"""What the database says of live work, on a log whose answers are known."""

import uuid
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from tickstock_pipeline.storage import monitoring
from tickstock_pipeline_tests.live_states import log_flow


def test_latencies_are_those_of_the_last_minutes_flows(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        for stage_ms in (1.0, 2.0, 3.0, 4.0, 100.0):
            log_flow(connection, str(uuid.uuid4()), 60, stage_ms, 1, 1)
        log_flow(connection, str(uuid.uuid4()), 60, 5.0)
        log_flow(connection, str(uuid.uuid4()), 3600, 9000.0, 1, 1)

        summary = monitoring.flow_summary(connection, minutes=10)

    assert (summary.published, summary.complete) == (6, 5)
    received, _, _, total = summary.latencies
    assert (received.stage, received.flows) == ("publish_to_receive", 6)
    # 1 2 3 4 5 100: the median between 3 and 4, the maximum 100
    assert (received.p50, received.max) == (pytest.approx(3.5), pytest.approx(100.0))
    assert (total.flows, total.p50, total.max) == (5, pytest.approx(5.0), pytest.approx(102.0))


def test_without_flows_there_are_no_latencies(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        summary = monitoring.flow_summary(connection, minutes=10)

    assert (summary.published, summary.complete) == (0, 0)
    assert all((one.flows, one.p50, one.p95, one.max) == (0, None, None, None) for one in summary.latencies)


def test_flows_are_counted_by_minute_and_checkpoint(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        log_flow(connection, str(uuid.uuid4()), 90, 1, 1, 1)
        log_flow(connection, str(uuid.uuid4()), 90, 1)
        minutes = monitoring.flow_minutes(connection, minutes=10)
        sources = monitoring.checkpoints(connection, minutes=10)

    assert [one.counts for one in minutes] == [(2, 2, 1, 1)]
    assert [(one.source, one.checkpoint, one.count) for one in sources] == [
        ("Consumer", "EVENT_PARSED", 1),
        ("Consumer", "EVENT_RECEIVED", 2),
        ("Consumer", "WEBSOCKET_DELIVERED", 1),
        ("TickStockPL", "PATTERN_PUBLISHED", 2),
    ]


def test_the_last_signs_of_both_sides_are_found(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        assert monitoring.last_sign_of_life(connection) is None
        assert monitoring.last_word_of_consumer(connection, "TickStockPL") is None
        for patterns in (1, 2):
            connection.execute(
                sa.text("""
                    INSERT INTO integration_events (event_type, source_system, checkpoint, details, "timestamp")
                    VALUES ('heartbeat', 'TickStockPL', 'PRODUCER_ALIVE',
                        jsonb_build_object('patterns_detected', cast(:patterns AS int)),
                        now() - make_interval(mins => 3 - :patterns))
                """),
                {"patterns": patterns},
            )
        log_flow(connection, str(uuid.uuid4()), 30, 1)
        alive = monitoring.last_sign_of_life(connection)
        consumer = monitoring.last_word_of_consumer(connection, "TickStockPL")

    assert alive is not None
    assert alive[1] == {"patterns_detected": 2}
    assert consumer is not None
    assert 28 < (datetime.now(UTC) - consumer).total_seconds() < 60


def test_leases_and_workers_that_vanished_are_told_apart(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            sa.text("""
                INSERT INTO shard_leases (shard, worker, expires_at) VALUES
                    (0, 'one', now() + interval '1 minute'), (1, 'two', now() - interval '1 second'),
                    (2, NULL, '-infinity')
            """)
        )
        connection.execute(
            sa.text("""
                INSERT INTO live_workers (worker, expires_at) VALUES
                    ('one', now() + interval '1 minute'), ('two', now() - interval '1 second'),
                    ('long ago', now() - interval '2 hours')
            """)
        )
        assert [lease.worker for lease in monitoring.leases(connection)] == ["one", None, None]
        assert monitoring.vanished_workers(connection) == ["two"]
