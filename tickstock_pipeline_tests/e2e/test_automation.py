"""Automation through the real daemon: bars written past it are found, and a backfill of missing analysis is watched."""

import signal
import time

import pytest
import sqlalchemy as sa

from tickstock_pipeline.storage.engine import create_engine


@pytest.fixture
def pipeline(workplace, write_universe):
    """A running instance whose provider has two symbols' year 2013."""
    workplace.environment |= {
        "TICKSTOCK_SAMPLE_FILE": str(write_universe(["AAA", "BBB"], range(2013, 2014))),
        "TICKSTOCK_FIRST_YEAR": "2013",
    }
    up = workplace.up()
    up.wait_for("Ctrl-C stops everything", timeout=420)
    yield up
    up.signal(signal.SIGINT)
    assert up.wait(60) == 0


def wait_for(engine: sa.Engine, query: str, seconds: float) -> float:
    """Seconds until a query has a row."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        with engine.connect() as connection:
            if connection.execute(sa.text(query)).first() is not None:
                return time.monotonic() - began
        time.sleep(0.1)
    raise AssertionError(f"no row in {seconds} s: {query}")


@pytest.mark.timeout(900)
def test_bars_written_past_dagster_are_analysed_and_a_backfill_names_what_fails(workplace, pipeline) -> None:
    engine = create_engine(pipeline.services().database_url)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO ohlcv_daily (symbol, date, open, high, low, close, volume)"
            " VALUES ('NEW', '2024-03-04', 10, 12, 9, 11, 100)"
        )

    wait_for(engine, "SELECT 1 FROM dagster.run_tags WHERE key = 'tickstock/automation' AND value = 'new_bars'", 60)
    wait_for(engine, "SELECT 1 FROM analysis_coverage WHERE symbol = 'NEW' AND timeframe = 'daily'", 120)

    with engine.begin() as connection:
        # otherwise the schedule might be faster than the command
        connection.exec_driver_sql("UPDATE symbols SET active = false")
        connection.exec_driver_sql("ALTER TABLE bar_indicators ADD CONSTRAINT no_bbb CHECK (symbol <> 'BBB') NOT VALID")
        connection.exec_driver_sql("UPDATE pattern_definitions SET enabled = false WHERE name = 'doji'")
        connection.exec_driver_sql("UPDATE ohlcv_daily SET volume = volume + 1 WHERE symbol = 'BBB'")
    done = workplace.run("backfill", "--timeframe", "daily", "--symbols", "AAA,BBB", timeout=420)

    assert done.returncode == 2, done.stderr
    assert "Processed 252 / 504 bars" in done.stderr
    assert "BBB 2013 daily: " in done.stderr
    assert "no_bbb" in done.stderr
    assert "AAA 2013" not in done.stderr
    engine.dispose()
