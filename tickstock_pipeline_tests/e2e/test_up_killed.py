"""More symbols than years, and kill -9 of one process after the other: the tables end as if nothing had happened.

What they must be is computed in this process, symbol by symbol and year by year in order, in another database.
"""

import os
import signal
from collections.abc import Sequence

import pytest
import sqlalchemy as sa

from tickstock_pipeline.batch.analysis import analyse_partitions
from tickstock_pipeline.batch.imports import import_bars
from tickstock_pipeline.batch.roll_ups import roll_up_bars
from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.sample import SampleProvider
from tickstock_pipeline.storage.engine import create_engine
from tickstock_pipeline_tests.e2e.waiting import wait_until

SYMBOLS = [f"S{number:02d}" for number in range(60)]
YEARS = range(2019, 2023)
RESULTS = {
    "ohlcv_daily": "SELECT symbol, date, open, high, low, close, volume FROM ohlcv_daily",
    "ohlcv_weekly": "SELECT symbol, week_ending, open, high, low, close, volume FROM ohlcv_weekly",
    "ohlcv_monthly": "SELECT symbol, month_ending, open, high, low, close, volume FROM ohlcv_monthly",
    "bar_indicators": "SELECT symbol, timeframe, time, l.outputs::text, v.values::text FROM bar_indicators v "
    "JOIN indicator_layouts l ON l.id = v.layout_id",
    "daily_patterns": "SELECT symbol, timeframe, pattern_type, detection_timestamp, confidence, direction, "
    "levels::text, metadata::text, retracted_at, revision FROM daily_patterns",
    "daily_indicators": "SELECT symbol, timeframe, indicator_type, value_data::text FROM daily_indicators",
    "quarantined_bars": "SELECT symbol, timeframe, bar_time, reason FROM quarantined_bars",
}


def results(url: str) -> dict[str, list[tuple[object, ...]]]:
    engine = create_engine(url)
    with engine.connect() as connection:
        found = {
            name: [tuple(row) for row in connection.exec_driver_sql(f"{query} ORDER BY 1, 2, 3, 4")]
            for name, query in RESULTS.items()
        }
    engine.dispose()
    return found


def scalar(url: str, query: str) -> object:
    engine = create_engine(url)
    with engine.connect() as connection:
        value = connection.scalar(sa.text(query))
    engine.dispose()
    return value


def compute_in_order(engine: sa.Engine, provider: SampleProvider, symbols: Sequence[str], years: Sequence[int]) -> None:
    calendar = trading_calendar()
    for symbol in symbols:
        for year in years:
            partition = [Partition(symbol, year)]
            import_bars(engine, provider, calendar, Timeframe.DAILY, partition)
            for into in (Timeframe.WEEKLY, Timeframe.MONTHLY):
                roll_up_bars(engine, calendar, into, partition)
            for timeframe in (Timeframe.DAILY, Timeframe.WEEKLY, Timeframe.MONTHLY):
                analyse_partitions(engine, calendar, timeframe, partition)


def wait_for_rows(url: str, table: str, seconds: float = 180) -> None:
    """Return once ``table`` has rows: nothing tells another process of a row, so it is asked for."""
    query = f"SELECT EXISTS (SELECT FROM {table})"
    wait_until(lambda: bool(scalar(url, query)), f"no row in {table} after {seconds} s", seconds)


@pytest.mark.timeout(1_200)
def test_more_symbols_than_years_are_done_in_one_backfill_as_if_symbol_by_symbol(
    workplace, engine, database_url, write_universe
):
    # Runs hold fifty symbols and one year, in any order of years: what keeps a year from being analysed before the
    # years that it warms up on is the mappings alone. Had it happened, the ledger would ask for a second backfill.
    path = write_universe(SYMBOLS, YEARS)
    up = workplace.up(TICKSTOCK_SAMPLE_FILE=str(path), TICKSTOCK_FIRST_YEAR=str(YEARS[0]))
    compute_in_order(engine, SampleProvider(path), SYMBOLS, YEARS)
    up.wait_for("Ctrl-C stops everything", timeout=900)
    url = up.services().database_url
    found, expected = results(url), results(database_url)
    backfills = scalar(url, "SELECT count(*) FROM dagster.bulk_actions")
    up.signal(signal.SIGINT)
    assert up.wait(60) == 0

    assert backfills == 1
    for name in RESULTS:
        assert found[name] == expected[name], name
    assert len(found["ohlcv_daily"]) == len(SYMBOLS) * (252 + 253 + 252 + 251)


@pytest.mark.timeout(1_200)
def test_whatever_is_killed_the_tables_end_the_same(workplace, engine, database_url, write_universe):
    symbols, years = SYMBOLS[:3], YEARS[:2]
    path = write_universe(symbols, years)
    variables = {"TICKSTOCK_SAMPLE_FILE": str(path), "TICKSTOCK_FIRST_YEAR": str(years[0])}

    # Each of the processes of an instance, while the first job is under way: the instance ends and names it. Redis,
    # the daemon and the gateway are killed in the middle of an import job, see test_import_jobs.
    for name in ("postgres", "code-server", "webserver"):
        up = workplace.up(**variables)
        up.wait_for("partitions")
        if name == "postgres":
            wait_for_rows(up.services().database_url, "ohlcv_daily")
        os.kill(up.services().processes[name].pid, signal.SIGKILL)
        assert up.wait(90) == 1, up.output
        assert f"{name} ended by itself" in up.output, up.output
        assert not workplace.leftovers()

    # The instance itself, in the middle of a run.
    up = workplace.up(**variables)
    up.wait_for("partitions")
    up.run_process()
    up.signal(signal.SIGKILL)
    up.wait()

    # A single run: Dagster itself notices and repeats it.
    up = workplace.up(**variables)
    up.wait_for("partitions")
    up.run_process().kill()
    up.wait_for("Ctrl-C stops everything", timeout=600)
    assert "Not everything could be done" not in up.output
    found = results(up.services().database_url)
    up.signal(signal.SIGINT)
    assert up.wait(60) == 0

    compute_in_order(engine, SampleProvider(path), symbols, years)
    expected = results(database_url)
    for name in RESULTS:
        assert found[name] == expected[name], name
