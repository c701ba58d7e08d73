"""``tickstock up`` on the packaged sample, once from nothing and once again."""

import signal

import httpx
import pytest
import sqlalchemy as sa

from tickstock_pipeline.storage.engine import create_engine

EXPECTED_BARS = {"ohlcv_daily": 12_154, "ohlcv_weekly": 2_525, "ohlcv_monthly": 586}
ANALYSED = ("daily", "weekly", "monthly")
# Symbols and years of the packaged file: AAPL, IBM and MSFT 2000 to 2013, GOOG from 2004, FB from 2012.
PARTITIONS = 3 * 14 + 10 + 2


def dagster_runs(url: str) -> int:
    engine = create_engine(url)
    with engine.connect() as connection:
        count = connection.scalar(sa.text("SELECT count(*) FROM dagster.runs"))
    engine.dispose()
    return count


def partition_counts(web_port: int) -> dict[str, tuple[int, int]]:
    query = "{assetNodes{assetKey{path} partitionStats{numMaterialized numFailed}}}"
    answer = httpx.post(f"http://127.0.0.1:{web_port}/graphql", json={"query": query}, timeout=60).json()
    return {
        node["assetKey"]["path"][0]: (
            node["partitionStats"]["numMaterialized"],
            node["partitionStats"]["numFailed"],
        )
        for node in answer["data"]["assetNodes"]
    }


@pytest.mark.timeout(900)
def test_the_first_start_does_the_whole_job_and_the_second_repeats_nothing(workplace):
    first = workplace.up()
    first.wait_for("Ctrl-C stops everything", timeout=400)
    url = first.services().database_url
    engine = create_engine(url)
    with engine.connect() as connection:
        stored = {name: connection.scalar(sa.text(f"SELECT count(*) FROM {name}")) for name in EXPECTED_BARS}
        indicators = connection.scalar(sa.text("SELECT count(*) FROM bar_indicators"))
    engine.dispose()
    partitions = partition_counts(workplace.web_port)
    runs = dagster_runs(url)

    assert stored == EXPECTED_BARS
    assert indicators == sum(EXPECTED_BARS.values())
    done = {name: count for name, count in partitions.items() if count != (0, 0)}
    assert done == {
        f"{kind}_{timeframe}": (PARTITIONS, 0) for kind in ("ohlcv", "indicators", "patterns") for timeframe in ANALYSED
    }
    assert "Latest detections" in first.output
    assert f"http://127.0.0.1:{workplace.web_port}" in first.output
    status = workplace.run("status")
    assert status.returncode == 0, status.stderr
    assert "12,154" in status.stdout
    exports = workplace.run("env").stdout
    assert f"TICKSTOCK_DATABASE_URL={url}" in exports
    assert "DAGSTER_HOME" in exports

    first.signal(signal.SIGINT)
    assert first.wait(60) == 0
    assert "Stopped" in first.output
    assert not workplace.leftovers()

    second = workplace.up("--once")
    assert second.wait() == 0, second.output
    assert "partitions" not in second.output.partition("Latest detections")[0]
    assert "Latest detections" in second.output
    assert not workplace.leftovers()

    third = workplace.up()
    third.wait_for("Ctrl-C stops everything", timeout=60)
    assert dagster_runs(third.services().database_url) == runs
    third.signal(signal.SIGTERM)
    assert third.wait(60) == 0
    assert not workplace.leftovers()
