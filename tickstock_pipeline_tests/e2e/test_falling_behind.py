"""What falls behind is caught up with, exactly and no more, in one instance with the real daemon and webserver.

A backlog of new symbols that was written while nothing ran, a corrected bar, older history, and the switch that the UI
has for each automation.

The database is the test's own, so that bars can be written while nothing of the product runs.
"""

import signal
import time
from collections.abc import Callable
from io import StringIO

import httpx
import pandas as pd
import pytest
import sqlalchemy as sa

from tickstock_pipeline.batch.analysis import stale_partitions
from tickstock_pipeline.batch.missing import missing_by_timeframe
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.provenance import stale_roll_ups

SYMBOLS = [f"C{number:02d}" for number in range(40)]
ANALYSED = (Timeframe.DAILY, Timeframe.WEEKLY, Timeframe.MONTHLY)
REPOSITORY = {"repositoryName": "__repository__", "repositoryLocationName": "tickstock"}

SCHEDULE = """
query ($selector: ScheduleSelector!) {scheduleOrError(scheduleSelector: $selector) {
    ... on Schedule {scheduleState {id status}}}}"""
SWITCH_OFF = """
mutation ($id: String!) {stopRunningSchedule(id: $id) {
    ... on ScheduleStateResult {scheduleState {status}} ... on PythonError {message}}}"""


class Webserver:
    """Dagster's GraphQL, as its UI speaks it."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/graphql"

    def ask(self, query: str, **variables: object) -> dict[str, object]:
        answer = httpx.post(self._url, json={"query": query, "variables": variables}, timeout=120).json()
        assert "errors" not in answer, answer
        return answer["data"]


def wait_until(is_so: Callable[[], bool], otherwise: str, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.2)


def write_past_dagster(engine: sa.Engine, days: pd.DataFrame) -> None:
    connection = engine.raw_connection()
    connection.cursor().copy_expert(
        "COPY ohlcv_daily (symbol, date, open, high, low, close, volume) FROM STDIN CSV HEADER",
        StringIO(days.to_csv(index=False)),
    )
    connection.commit()
    connection.close()


def execute(engine: sa.Engine, statement: str, **values: object) -> list[sa.Row]:
    with engine.begin() as connection:
        found = connection.execute(sa.text(statement), values)
        return list(found.all()) if found.returns_rows else []


def is_all_done(engine: sa.Engine) -> bool:
    with engine.connect() as connection:
        missing = missing_by_timeframe(connection)
        unmade = [into for into in (Timeframe.WEEKLY, Timeframe.MONTHLY) if stale_roll_ups(connection, into)]
        analysed = connection.scalar(sa.text("SELECT count(DISTINCT (symbol, timeframe)) FROM analysis_coverage"))
    is_missing = any(missing[timeframe].partitions for timeframe in ANALYSED)
    return not is_missing and not unmade and analysed == len(SYMBOLS) * len(ANALYSED)


def analysed_at(engine: sa.Engine) -> dict[tuple[str, int], object]:
    rows = execute(engine, "SELECT symbol, year, analysed_at FROM analysis_coverage WHERE timeframe = 'daily'")
    return {(row.symbol, row.year): row.analysed_at for row in rows}


def stale_days(engine: sa.Engine) -> list[str]:
    with engine.connect() as connection:
        return [f"{one.symbol}|{one.year}" for one in stale_partitions(connection, Timeframe.DAILY)]


@pytest.mark.timeout(1800)
def test_everything_that_falls_behind_is_caught_up_with(workplace, engine, database_url, redis_url, write_universe):
    days = pd.read_csv(write_universe(SYMBOLS, range(2012, 2014)))
    is_of_2013 = days["date"] >= "2013"
    workplace.environment |= {
        "TICKSTOCK_DATABASE_URL": database_url,
        "TICKSTOCK_REDIS_URL": redis_url,
        "TICKSTOCK_PROVIDER": "polygon",
        "TICKSTOCK_POLYGON_API_KEY": "unused",
        "TICKSTOCK_LIVE_SOURCE": "none",
        "TICKSTOCK_FIRST_YEAR": "2012",
        "TICKSTOCK_AUTOMATIONS_OFF": "after_close",
    }

    # a year of forty new symbols, written while nothing runs
    write_past_dagster(engine, days[is_of_2013])
    up = workplace.up()
    up.wait_for("Ctrl-C stops everything", timeout=300)
    wait_until(lambda: is_all_done(engine), "the backlog is not analysed", 600)
    dagster = Webserver(workplace.web_port)
    told = execute(
        engine,
        "SELECT partition, count(*) AS n FROM dagster.event_logs WHERE asset_key = '[\"ohlcv_daily\"]'"
        " AND dagster_event_type = 'ASSET_MATERIALIZATION' GROUP BY 1",
    )
    assert {row.partition: row.n for row in told} == {f"{symbol}|2013": 1 for symbol in SYMBOLS}

    # Dagster's own switch of an automation
    schedule = {**REPOSITORY, "scheduleName": "catch_up"}
    state = dagster.ask(SCHEDULE, selector=schedule)["scheduleOrError"]["scheduleState"]
    assert state["status"] == "RUNNING"
    stopped = dagster.ask(SWITCH_OFF, id=state["id"])["stopRunningSchedule"]
    assert stopped == {"scheduleState": {"status": "STOPPED"}}

    # a corrected bar of one symbol, and older history of another: their analysis is made again, nobody else's
    before = analysed_at(engine)
    (doji,) = execute(
        engine,
        "SELECT detection_timestamp::date AS day FROM daily_patterns WHERE symbol = 'C00' AND timeframe = 'daily'"
        " AND pattern_type = 'doji' ORDER BY 1 DESC LIMIT 1",
    )
    execute(engine, "UPDATE ohlcv_daily SET open = low, close = high WHERE symbol = 'C00' AND date = :at", at=doji.day)
    write_past_dagster(engine, days[~is_of_2013 & (days["ticker"] == "C01")])
    wait_until(lambda: not stale_days(engine), "what was corrected is not analysed again")
    retracted = execute(
        engine,
        "SELECT detection_timestamp::date FROM daily_patterns WHERE symbol = 'C00' AND timeframe = 'daily'"
        " AND pattern_type = 'doji' AND retracted_at IS NOT NULL",
    )
    after = analysed_at(engine)
    assert (doji.day,) in retracted
    assert {key for key in after if after[key] != before.get(key)} == {("C00", 2013), ("C01", 2012), ("C01", 2013)}

    up.signal(signal.SIGINT)
    assert up.wait(60) == 0
