"""kill -9 of Dagster's daemon in the middle of a backfill of 200 symbols: after a restart, all is done, and done once.

The symbols' bars were imported without analysis, as by a job that did not ask for it; their years are then analysed by
one backfill of a person's. A trigger of the test's takes down each time that a partition is stated to be analysed.
"""

import os
import signal
import time

import httpx
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
SESSIONS = 252
RESULTS = {
    "bar_indicators": "SELECT symbol, timeframe, time, l.outputs::text, v.values::text FROM bar_indicators v "
    "JOIN indicator_layouts l ON l.id = v.layout_id",
    "daily_patterns": "SELECT symbol, timeframe, detection_timestamp, pattern_type, confidence, direction, "
    "levels::text, metadata::text, retracted_at, revision FROM daily_patterns",
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


def import_all(engine: sa.Engine, provider: SampleProvider) -> None:
    """As a run of Dagster's does it, which is what makes the bars no news for its sensor."""
    outcomes = import_bars(engine, provider, trading_calendar(), Timeframe.DAILY, PARTITIONS)
    with engine.begin() as connection:
        record_imported(connection, Timeframe.DAILY, [(one.partition, one.revision) for one in outcomes])


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


def wait_until_some_are_analysed(engine: sa.Engine, seconds: float = 120) -> int:
    """How many partitions are analysed, once there are any."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with engine.connect() as connection:
            count = connection.scalar(sa.text("SELECT count(*) FROM analysed"))
        if count:
            return count
        time.sleep(0.02)
    raise AssertionError(f"nothing was analysed in {seconds} s")


@pytest.mark.timeout(600)
def test_a_backfill_of_200_symbols_survives_kill_9_of_the_daemon(workplace, engine, write_universe):
    # A provider that cannot list its symbols: `tickstock up` itself has nothing to import, and nobody asks it.
    workplace.environment |= {
        "TICKSTOCK_PROVIDER": "polygon",
        "TICKSTOCK_POLYGON_API_KEY": "unused",
        "TICKSTOCK_FIRST_YEAR": "2013",
        "TICKSTOCK_AUTOMATIONS_OFF": "after_close,catch_up",
    }
    provider = SampleProvider(write_universe([one.symbol for one in PARTITIONS], range(2013, 2014)))
    up = workplace.up()
    import_all(engine, provider)
    outcomes = analyse_partitions(engine, trading_calendar(), Timeframe.DAILY, PARTITIONS)
    assert {outcome.error for outcome in outcomes} == {""}
    undisturbed = contents(engine)

    up.wait_for("Ctrl-C stops everything")
    killed = create_engine(up.services().database_url)
    import_all(killed, provider)
    with killed.begin() as connection:
        connection.exec_driver_sql(TAKE_DOWN)
    launched = workplace.run("backfill", "--timeframe", "daily", "--detach")
    assert launched.returncode == 0, launched.stderr
    backfill_id = launched.stdout.strip()
    n_analysed = wait_until_some_are_analysed(killed)
    os.kill(up.services().processes["daemon"].pid, signal.SIGKILL)
    assert up.wait(90) == 1, up.output
    assert "daemon ended by itself" in up.output
    assert n_analysed < len(PARTITIONS)
    killed.dispose()

    again = workplace.up()
    again.wait_for("Ctrl-C stops everything")
    watched = workplace.run("backfill", "--timeframe", "daily", timeout=180)
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
