"""A whole session played over the real socket: every minute is stored, and no bar of any timeframe is left unanalysed.

Nothing of the product is left out: ``tickstock replay`` is the market, ``tickstock up`` has worker, feed and Dagster
with all of its automations. What the tables must hold is computed from the market's own log of what it sent.
"""

import os
import signal
import time
from datetime import date

import httpx
import pandas as pd
import pytest
import sqlalchemy as sa

from chaos.expected import COLUMNS, expected_bars
from tickstock_pipeline.batch.missing import missing_by_timeframe
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.engine import create_engine

SESSION = date(2024, 5, 31)
"""A Friday, and the last session of its month: its week and its month end with it."""
SYMBOLS = ["SYN0001", "SYN0002", "SYN0003"]
MINUTES = 390
TIME_COLUMNS = {"1min": "timestamp", "hourly": "timestamp", "daily": "date"}


def unfinished(engine: sa.Engine) -> list[str]:
    """What is still to be done, in words."""
    with engine.connect() as connection:
        left = [
            f"{count} of {table}"
            for table in ("open_periods", "live_backlog")
            if (count := connection.scalar(sa.text(f"SELECT count(*) FROM {table}")))
        ]
        monthly = connection.scalar(sa.text("SELECT count(*) FROM ohlcv_monthly"))
        missing = missing_by_timeframe(connection)
        told = connection.scalar(sa.text("SELECT count(*) FROM reported_bars WHERE reported_revision IS NOT NULL"))
    left += [f"{found} of {timeframe}" for timeframe, found in missing.items() if found.bars or found.partitions]
    if monthly < len(SYMBOLS):
        left.append(f"{monthly} months only")
    if told < len(SYMBOLS) * len(Timeframe):
        left.append(f"Dagster was told of {told} partitions only")
    return left


def stored(engine: sa.Engine, timeframe: str) -> pd.DataFrame:
    column = TIME_COLUMNS[timeframe]
    query = f"SELECT symbol, {column} AS time, open, high, low, close, volume FROM ohlcv_{timeframe}"
    with engine.connect() as connection:
        found = pd.read_sql(sa.text(f"{query} WHERE {column} >= :day"), connection, params={"day": SESSION})
    found["time"] = pd.to_datetime(found["time"], utc=timeframe != "daily")
    return found.set_index(["symbol", "time"]).sort_index().astype(float)


@pytest.mark.timeout(900)
def test_a_replayed_day_leaves_no_bar_without_analysis(workplace):
    log = workplace.folder / "events.jsonl"
    words = ("--source", "synthetic", "--count", str(len(SYMBOLS)), "--from", str(SESSION), "--speed", "1500")
    market = workplace.start("replay", *words, "--port", "0", "--log", str(log))
    market.wait_for("TICKSTOCK_YAHOO_URL")
    workplace.environment |= dict(
        line.removeprefix("export ").split("=", 1) for line in market.output.splitlines() if line.startswith("export ")
    )
    up = workplace.up(TICKSTOCK_LIVE_SOURCE="polygon", TICKSTOCK_LIVE_STAND_IN="none")
    up.wait_for("Ctrl-C stops everything", timeout=300)
    wanted = workplace.folder / "mine.csv"
    wanted.write_text("symbol\n" + "\n".join(SYMBOLS) + "\n")
    registered = workplace.run("universe", "load", str(wanted), "--register")
    assert registered.returncode == 0, registered.stderr
    os.kill(up.services().processes["feed"].pid, signal.SIGHUP)
    market.wait_for("Played:", timeout=300)

    engine = create_engine(up.services().database_url)
    deadline = time.monotonic() + 300
    while left := unfinished(engine):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)
    expected = expected_bars(log)
    found = {timeframe: stored(engine, timeframe) for timeframe in TIME_COLUMNS}
    with engine.connect() as connection:
        failed = connection.execute(sa.text("SELECT run_id FROM dagster.runs WHERE status = 'FAILURE'")).all()
        ledger = connection.execute(
            sa.text("SELECT DISTINCT timeframe FROM bar_ledger JOIN analysis_coverage USING (symbol, timeframe, year)")
        )
        analysed = set(ledger.scalars())
    engine.dispose()
    missing = httpx.get(f"http://127.0.0.1:{workplace.gateway_port}/analysis/missing").json()["timeframes"]
    query = "{assetNodes{assetKey{path} partitionStats{numMaterialized numFailed}}}"
    answer = httpx.post(f"http://127.0.0.1:{workplace.web_port}/graphql", json={"query": query}, timeout=60).json()
    up.signal(signal.SIGINT)
    assert up.wait(60) == 0

    for timeframe, of_day in found.items():
        pd.testing.assert_frame_equal(
            of_day, expected[timeframe].astype(float), check_index_type=False, check_names=False, obj=timeframe
        )
    assert len(found["1min"]) == MINUTES * len(SYMBOLS)
    assert list(found["1min"].columns) == COLUMNS
    assert analysed == set(Timeframe)
    assert missing == {timeframe.value: {"bars_without_analysis": 0, "stale_partitions": 0} for timeframe in Timeframe}
    counts = {node["assetKey"]["path"][0]: node["partitionStats"] for node in answer["data"]["assetNodes"]}
    for timeframe in Timeframe:
        assert counts[f"ohlcv_{timeframe}"] == {"numMaterialized": len(SYMBOLS), "numFailed": 0}, timeframe
    assert failed == []
