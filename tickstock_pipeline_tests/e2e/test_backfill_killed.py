"""kill -9 of Dagster's daemon in the middle of a backfill of 200 symbols: after a restart, all is done, and done once.

The symbols' bars were imported without analysis, as by a job that did not ask for it, or their analysis has become
stale; their years are analysed by one backfill of a person's. A trigger of the test's takes down each time that a
partition is stated to be analysed.
"""

import os
import signal
import time
from contextlib import closing

import httpx
import psycopg2
import pytest
import sqlalchemy as sa

from tickstock_pipeline.batch.analysis import analyse_partitions
from tickstock_pipeline.batch.imports import import_bars
from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.sample import SampleProvider
from tickstock_pipeline.storage.engine import create_engine
from tickstock_pipeline.storage.ingestion import record_imported

PARTITIONS = [Partition(f"K{number:03d}", 2013) for number in range(200)]
ANALYSED_BEFORE = PARTITIONS[150:]
"""Of these `tickstock up` knows that they are stale, and would see to them itself."""
SESSIONS = 252
RESULTS = {
    "bar_indicators": "SELECT symbol, timeframe, time, l.outputs::text, v.values::text FROM bar_indicators v "
    "JOIN indicator_layouts l ON l.id = v.layout_id",
    "daily_patterns": "SELECT symbol, timeframe, detection_timestamp, pattern_type, confidence, direction, "
    "levels::text, metadata::text, retracted_at IS NULL, revision FROM daily_patterns",
    "daily_indicators": "SELECT symbol, timeframe, indicator_type, value_data::text FROM daily_indicators",
}
TAKE_DOWN = """
CREATE TABLE analysed (symbol text, timeframe text, year int, at timestamptz DEFAULT clock_timestamp());
CREATE FUNCTION take_down() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO analysed (symbol, timeframe, year) VALUES (NEW.symbol, NEW.timeframe, NEW.year);
    RETURN NULL;
END $$;
CREATE TRIGGER take_down AFTER INSERT OR UPDATE OF analysed_at ON analysis_coverage
    FOR EACH ROW EXECUTE FUNCTION take_down();
"""


def prepare(engine: sa.Engine, provider: SampleProvider) -> None:
    """Import as a run of Dagster's does it, so that its sensor has no news; then make a part of them stale."""
    with engine.begin() as connection:
        # the sensor must not look before it can know who wrote the bars
        connection.exec_driver_sql("LOCK TABLE reported_bars")
        outcomes = import_bars(engine, provider, trading_calendar(), Timeframe.DAILY, PARTITIONS)
        record_imported(connection, Timeframe.DAILY, [(one.partition, one.revision) for one in outcomes])
    analyse(engine, ANALYSED_BEFORE)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE pattern_definitions SET enabled = false WHERE name = 'hammer'")


def analyse(engine: sa.Engine, partitions: list[Partition]) -> None:
    outcomes = analyse_partitions(engine, trading_calendar(), Timeframe.DAILY, partitions)
    assert {outcome.error for outcome in outcomes} == {""}


def contents(engine: sa.Engine) -> dict[str, list[tuple[object, ...]]]:
    with engine.connect() as connection:
        return {
            name: [tuple(row) for row in connection.exec_driver_sql(f"{query} ORDER BY 1, 2, 3, 4")]
            for name, query in RESULTS.items()
        }


def ask(web_port: int, query: str) -> dict[str, object]:
    answer = httpx.post(f"http://127.0.0.1:{web_port}/graphql", json={"query": query}, timeout=60).json()
    assert "errors" not in answer, answer
    return answer["data"]


def wait_until_a_run_waits(engine: sa.Engine, seconds: float = 300) -> int:
    """How many partitions are analysed, once there are any and a run waits for a lock."""
    query = "SELECT (SELECT count(*) FROM analysed), count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with engine.connect() as connection:
            n_analysed, n_waiting = connection.execute(sa.text(query)).one()
        if n_analysed and n_waiting:
            return n_analysed
        time.sleep(0.05)
    raise AssertionError(f"no run was in the middle of its work in {seconds} s")


@pytest.mark.timeout(900)
def test_a_backfill_of_200_symbols_survives_kill_9_of_the_daemon(workplace, engine, write_universe):
    # A provider that cannot list its symbols: `tickstock up` itself has nothing to import, and nobody asks it.
    workplace.environment |= {
        "TICKSTOCK_PROVIDER": "polygon",
        "TICKSTOCK_POLYGON_API_KEY": "unused",
        "TICKSTOCK_LIVE_SOURCE": "none",
        "TICKSTOCK_FIRST_YEAR": "2013",
        "TICKSTOCK_AUTOMATIONS_OFF": "after_close,catch_up",
    }
    provider = SampleProvider(write_universe([one.symbol for one in PARTITIONS], range(2013, 2014)))
    up = workplace.up()
    prepare(engine, provider)
    analyse(engine, PARTITIONS)
    undisturbed = contents(engine)

    up.wait_for("Ctrl-C stops everything", timeout=300)
    killed = create_engine(up.services().database_url)
    prepare(killed, provider)
    with killed.begin() as connection:
        connection.exec_driver_sql(TAKE_DOWN)
    launched = workplace.run("backfill", "--timeframe", "daily", "--detach")
    assert launched.returncode == 0, launched.stderr
    backfill_id = launched.stdout.strip()
    with closing(psycopg2.connect(up.services().database_url)) as holder:
        # what the run of this symbol has open is neither committed nor given up when the end comes
        holder.cursor().execute("SELECT FROM bar_series WHERE symbol = 'K060' FOR UPDATE")
        n_analysed = wait_until_a_run_waits(killed)
        os.kill(up.services().processes["daemon"].pid, signal.SIGKILL)
        assert up.wait(90) == 1, up.output
    assert "daemon ended by itself" in up.output
    assert n_analysed < len(PARTITIONS)
    killed.dispose()

    again = workplace.up()
    again.wait_for("Ctrl-C stops everything", timeout=300)
    assert "An earlier instance was killed in the middle of" in again.output
    watched = workplace.run("backfill", "--timeframe", "daily", timeout=400)
    resumed = create_engine(again.services().database_url)
    found = contents(resumed)
    with resumed.connect() as connection:
        times = connection.execute(sa.text("SELECT count(*), count(DISTINCT symbol) FROM analysed")).one()
    status = ask(
        workplace.web_port,
        f'{{partitionBackfillOrError(backfillId: "{backfill_id}") {{... on PartitionBackfill {{status}}}}'
        "assetNodes{assetKey{path} partitionStats{numMaterialized numFailed numMaterializing}}"
        "partitionBackfillsOrError{... on PartitionBackfills{results{id}}}}",
    )
    resumed.dispose()
    again.signal(signal.SIGINT)
    assert again.wait(60) == 0

    assert watched.returncode == 0, watched.stderr
    assert status["partitionBackfillOrError"] == {"status": "COMPLETED_SUCCESS"}
    assert status["partitionBackfillsOrError"] == {"results": [{"id": backfill_id}]}
    green = {node["assetKey"]["path"][0]: node["partitionStats"] for node in status["assetNodes"]}
    for asset in ("indicators_daily", "patterns_daily"):
        assert green[asset] == {"numMaterialized": len(PARTITIONS), "numFailed": 0, "numMaterializing": 0}, asset
    # exactly once: what the killed runs had open was rolled back, what they had committed was left alone
    assert times == (len(PARTITIONS), len(PARTITIONS))
    assert len(found["bar_indicators"]) == len(PARTITIONS) * SESSIONS
    for name in RESULTS:
        assert found[name] == undisturbed[name], name
