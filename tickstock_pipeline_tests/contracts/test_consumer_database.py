"""The statements of the consumer application, with the names and types that it knows, run as they stand."""

import uuid
from datetime import datetime
from typing import Any

import psycopg2
import pytest
import sqlalchemy as sa

COLUMNS = {
    "ohlcv_1min": "symbol, timestamp, open, high, low, close, volume",
    "ohlcv_hourly": "symbol, timestamp, open, high, low, close, volume",
    "ohlcv_daily": "symbol, date, open, high, low, close, volume",
    "ohlcv_weekly": "symbol, week_ending, open, high, low, close, volume",
    "ohlcv_monthly": "symbol, month_ending, open, high, low, close, volume",
    "daily_patterns": (
        "id, symbol, pattern_type, confidence, pattern_data, detection_timestamp, expiration_date, levels,"
        " timeframe, metadata"
    ),
    "daily_indicators": (
        "symbol, indicator_type, value_data, calculation_timestamp, expiration_date, timeframe, metadata"
    ),
    "indicator_definitions": (
        "name, display_name, category, enabled, applicable_timeframes, min_bars_required, instantiation_params,"
        " display_order"
    ),
    "pattern_definitions": (
        "name, display_name, category, enabled, applicable_timeframes, min_bars_required, instantiation_params,"
        " display_order, confidence_threshold, risk_level"
    ),
    "sector_mapping": "symbol, sector_name, industry, rs_score, is_sector_leader, last_updated",
    "integration_events": (
        "id, timestamp, event_type, source_system, target_system, flow_id, checkpoint, symbol, pattern_name,"
        " confidence, user_count, channel, details, error_message, processing_time_ms"
    ),
}

TYPES = {
    ("ohlcv_1min", "timestamp"): "timestamp with time zone",
    ("ohlcv_hourly", "timestamp"): "timestamp with time zone",
    ("ohlcv_daily", "date"): "date",
    ("ohlcv_weekly", "week_ending"): "date",
    ("ohlcv_monthly", "month_ending"): "date",
    ("ohlcv_daily", "volume"): "bigint",
    ("daily_patterns", "pattern_data"): "jsonb",
    ("daily_patterns", "detection_timestamp"): "timestamp with time zone",
    ("daily_patterns", "levels"): "jsonb",
    ("daily_patterns", "metadata"): "jsonb",
    ("daily_indicators", "value_data"): "jsonb",
    ("daily_indicators", "metadata"): "jsonb",
    ("indicator_definitions", "applicable_timeframes"): "ARRAY",
    ("indicator_definitions", "instantiation_params"): "jsonb",
    ("sector_mapping", "rs_score"): "numeric",
    ("sector_mapping", "is_sector_leader"): "boolean",
    ("integration_events", "flow_id"): "uuid",
    ("integration_events", "details"): "jsonb",
}


def execute(connection: sa.Connection, statement: str, parameters: Any = None) -> sa.CursorResult[Any]:
    return connection.exec_driver_sql(statement, parameters)


@pytest.mark.parametrize(("relation", "columns"), COLUMNS.items())
def test_every_relation_has_the_columns_that_the_consumer_selects(
    engine: sa.Engine, relation: str, columns: str
) -> None:
    with engine.connect() as connection:
        execute(connection, f"SELECT {columns} FROM {relation}").all()


@pytest.mark.parametrize(("column", "data_type"), TYPES.items())
def test_columns_have_the_types_that_the_consumer_uses(
    engine: sa.Engine, column: tuple[str, str], data_type: str
) -> None:
    with engine.connect() as connection:
        found = execute(
            connection,
            "SELECT data_type FROM information_schema.columns WHERE table_name = %s AND column_name = %s",
            column,
        )
        assert found.scalar() == data_type


def test_a_detection_is_deleted_and_inserted_with_the_columns_that_the_consumer_knows(engine: sa.Engine) -> None:
    key = ("AAPL", "engulfing", "1min", datetime.fromisoformat("2025-08-26T14:30:00+00:00"))
    with engine.begin() as connection:
        for confidence in (0.7, 0.85):
            execute(
                connection,
                "DELETE FROM daily_patterns WHERE symbol = %s AND pattern_type = %s AND timeframe = %s"
                " AND detection_timestamp = %s",
                key,
            )
            execute(
                connection,
                "INSERT INTO daily_patterns (symbol, pattern_type, timeframe, detection_timestamp, confidence,"
                " pattern_data, expiration_date, levels, metadata)"
                " VALUES (%s, %s, %s, %s, %s, '{\"direction\": \"bullish\"}', now() + interval '1 day', '{}', '{}')",
                (*key, confidence),
            )
        rows = execute(connection, "SELECT confidence, pattern_data ->> 'direction' FROM daily_patterns").all()
    assert [tuple(row) for row in rows] == [(0.85, "bullish")]


def test_one_row_per_detection(engine: sa.Engine) -> None:
    insert = (
        "INSERT INTO daily_patterns (symbol, pattern_type, timeframe, detection_timestamp, confidence)"
        " VALUES ('A', 'doji', 'daily', '2013-01-02 14:30+00', 1)"
    )
    with engine.connect() as connection:
        execute(connection, insert)
        with pytest.raises(sa.exc.IntegrityError):
            execute(connection, insert)


def test_an_id_that_the_consumer_chooses_is_taken(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        execute(
            connection,
            "INSERT INTO daily_patterns (id, symbol, pattern_type, confidence) VALUES (1000000, 'A', 'doji', 1)",
        )


def test_a_latest_value_is_deleted_and_inserted_with_the_columns_that_the_consumer_knows(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        for value in (142.37, 143.0):
            execute(
                connection,
                "DELETE FROM daily_indicators WHERE symbol = 'AAPL' AND indicator_type = 'sma_20' AND timeframe = %s",
                ("daily",),
            )
            execute(
                connection,
                "INSERT INTO daily_indicators (symbol, indicator_type, value_data, calculation_timestamp,"
                " expiration_date, timeframe, metadata)"
                " VALUES ('AAPL', 'sma_20', jsonb_build_object('sma_20', %s), now(), now(), 'daily', '{}')",
                (value,),
            )
        found = execute(connection, "SELECT value_data ->> 'sma_20' FROM daily_indicators").scalars().all()
    assert found == ["143.0"]


def test_the_definitions_that_are_enabled_from_the_start(engine: sa.Engine) -> None:
    averages = [f"{kind}_{period}" for kind in ("sma", "ema") for period in (5, 10, 20, 50, 100, 200)]
    others = ["macd", "rsi", "stochastic", "bollinger_bands", "atr", "adx"]
    candlesticks = [
        "doji",
        "hammer",
        "engulfing",
        "shooting_star",
        "hanging_man",
        "harami",
        "morning_star",
        "evening_star",
    ]
    with engine.connect() as connection:
        indicators = execute(connection, "SELECT name FROM indicator_definitions WHERE enabled").scalars().all()
        patterns = execute(connection, "SELECT name FROM pattern_definitions WHERE enabled").scalars().all()
        periods = execute(
            connection,
            "SELECT name, min_bars_required FROM indicator_definitions WHERE name LIKE 'sma%%' OR name LIKE 'ema%%'",
            {},
        ).all()
    assert sorted(indicators) == sorted(averages + others)
    assert sorted(patterns) == sorted(candlesticks)
    assert all(row.name.endswith(f"_{row.min_bars_required}") for row in periods)


def test_a_flow_is_logged_by_both_sides_and_seen_as_one_row(database_url: str) -> None:
    flow = str(uuid.uuid4())
    call = "SELECT log_integration_event(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
    steps = [
        ("TickStockPL", "PATTERN_PUBLISHED", None),
        ("TickStockAppV2", "EVENT_RECEIVED", None),
        ("TickStockAppV2", "EVENT_PARSED", None),
        ("TickStockAppV2", "WEBSOCKET_DELIVERED", 3),
    ]
    connection = psycopg2.connect(database_url)
    try:
        connection.autocommit = True
        cursor = connection.cursor()
        for step, (system, checkpoint, users) in enumerate(steps):
            cursor.execute(
                call,
                (
                    flow,
                    "pattern_detected",
                    system,
                    checkpoint,
                    "tickstock.events.patterns",
                    "AAPL",
                    "engulfing",
                    0.85,
                    users,
                    '{"a": 1}',
                ),
            )
            ((event_id,),) = cursor.fetchall()
            assert isinstance(event_id, int)
            cursor.execute("SELECT is_complete FROM pattern_flow_analysis")
            assert cursor.fetchall() == [(step == 3,)]
        cursor.execute("UPDATE integration_events SET timestamp = timestamptz '2025-01-01' + id * interval '5 ms'")
        # a heartbeat has no flow; a repeat of a checkpoint does not count
        cursor.execute("SELECT log_integration_event(NULL, 'heartbeat', 'TickStockPL', 'PRODUCER_ALIVE')")
        cursor.execute(call, (flow, "pattern_detected", "TickStockAppV2", "EVENT_RECEIVED", *[None] * 6))
        cursor.execute(
            "SELECT flow_id::text, symbol, pattern_name, publish_to_receive_ms, receive_to_parse_ms,"
            " parse_to_deliver_ms, total_ms, is_complete, user_count FROM pattern_flow_analysis"
        )
        assert cursor.fetchall() == [(flow, "AAPL", "engulfing", 5.0, 5.0, 5.0, 15.0, True, 3)]
    finally:
        connection.close()


def test_the_arguments_of_the_event_log_keep_their_order(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        execute(
            connection,
            "SELECT log_integration_event('00000000-0000-0000-0000-000000000001', 'type', 'system', 'checkpoint',"
            " 'channel', 'symbol', 'pattern', 0.5, 7, '{\"x\": 1}')",
        )
        row = execute(
            connection,
            "SELECT flow_id::text, event_type, source_system, checkpoint, channel, symbol, pattern_name, confidence,"
            " user_count, details FROM integration_events",
        ).one()
    assert row == (
        "00000000-0000-0000-0000-000000000001",
        "type",
        "system",
        "checkpoint",
        "channel",
        "symbol",
        "pattern",
        0.5,
        7,
        {"x": 1},
    )
