"""What falls behind is caught up with, exactly and no more, through the real daemon and watched over GraphQL.

One instance is started twice. The first time, ``new_bars`` and ``catch_up`` are switched off in the settings, while
import jobs, a bounded backfill and the jobs of an administrator run. Then nothing runs for a while, as far as the
schedules can tell, and a backlog is written. The second time, ``new_bars`` is off by Dagster's own toggle until the
schedules have made up for what they missed.

The database is the test's own, so that bars can be written while nothing of the product runs.
"""

import json
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise

import pandas as pd
import pytest
import sqlalchemy as sa

from tickstock_pipeline.defs.automation import MOST_RUNS
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.messaging.channels import PATTERNS_RETRACTED
from tickstock_pipeline.replay.server import ReplayServer
from tickstock_pipeline.replay.source import MemorySource
from tickstock_pipeline.storage.ingestion import changed_bars
from tickstock_pipeline_tests.e2e.conftest import Up, Workplace
from tickstock_pipeline_tests.e2e.gateway_jobs import Jobs
from tickstock_pipeline_tests.e2e.stage import (
    BACKLOG,
    BATCH,
    BEFORE_LAST_YEAR,
    DAYS_OF_2013,
    ENDED,
    LEFT,
    LIVE,
    NO_FLAG,
    OFF_FOR,
    PER_SYMBOL,
    SCATTERED,
    SCATTERED_YEARS,
    SESSION,
    SPLIT,
    analysed_at,
    count,
    execute,
    let_time_pass,
    prepare,
    provider_has,
    stale,
    told_of_days,
    write_past_dagster,
)
from tickstock_pipeline_tests.e2e.waiting import wait_until
from tickstock_pipeline_tests.e2e.webserver import Webserver
from tickstock_pipeline_tests.gated_source import GatedSource

POOL = "provider_polygon"


@pytest.fixture
def series() -> dict[str, Bars]:
    return provider_has()


@pytest.fixture
def source(series: dict[str, Bars]) -> GatedSource:
    return GatedSource(MemorySource(series.values()))


@pytest.fixture
def provider(source: GatedSource, workplace: Workplace, database_url: str, redis_url: str) -> Iterator[None]:
    with ReplayServer(source) as server:
        workplace.environment |= {
            "TICKSTOCK_DATABASE_URL": database_url,
            "TICKSTOCK_REDIS_URL": redis_url,
            "TICKSTOCK_PROVIDER": "polygon",
            "TICKSTOCK_POLYGON_URL": server.url,
            "TICKSTOCK_POLYGON_API_KEY": "replay",
            "TICKSTOCK_POLYGON_CALLS_PER_MINUTE": "0",
            "TICKSTOCK_REQUEST_TIMEOUT": "600",
            "TICKSTOCK_LIVE_SOURCE": "none",
        }
        yield
        source.let_go(PER_SYMBOL)


def of_stage(dagster: Webserver, job_id: str) -> dict[str, list[dict[str, object]]]:
    """The runs that a click on a job's tag shows, by stage."""
    found: dict[str, list[dict[str, object]]] = {"bars": [], "analysis": []}
    for run in dagster.tagged("tickstock/job_id", job_id):
        found[run["tags"]["tickstock/stage"]].append(run)
    return found


def jobs_wait_for_their_pool_and_analyse_as_they_were_asked_to(
    dagster: Webserver, jobs: Jobs, source: GatedSource, engine: sa.Engine
) -> str:
    """While the provider is slow with P2; the id of a run that has to wait for the provider."""
    before = analysed_at(engine)
    source.wait_until_asked_for(["P2"])
    compares = dagster.launch(
        "reconciliation", {"ops": {"compare_minutes": {"config": {"session": SESSION.isoformat()}}}}
    )
    wait_until(lambda: analysed_at(engine)["P0", 2013] != before["P0", 2013], "P0 has to wait for P2")
    wait_until(
        lambda: (
            count(engine, "import_job_runs WHERE job_id = 'batch' AND stage = 'bars' AND status = 'succeeded'") == 1
        ),
        "P1 is not imported",
    )
    # its sensor has seen that P1 is imported, and asks for no analysis of it
    assert of_stage(dagster, "batch")["analysis"] == []
    (imports,) = (run["runId"] for run in of_stage(dagster, "per_symbol")["bars"] if run["status"] != "SUCCESS")
    (waits,) = (run["runId"] for run in of_stage(dagster, "batch")["bars"] if run["status"] != "SUCCESS")
    in_pool = {run["runId"]: run["status"] for run in dagster.runs() if POOL in (run["allPools"] or ())}
    unfinished = {run_id: status for run_id, status in in_pool.items() if status != "SUCCESS"}
    assert dagster.pool_limit(POOL) == 1
    assert unfinished == {imports: "STARTED", waits: "QUEUED", compares: "QUEUED"}
    source.let_go(["P2"])
    return compares


def all_runs_of_a_job_are_found_by_its_tag(dagster: Webserver, jobs: Jobs) -> None:
    found = {job: of_stage(dagster, job) for job in ("no_flag", "per_symbol", "batch")}
    for job, stages in found.items():
        runs = [run for of_one in stages.values() for run in of_one]
        assert {run["status"] for run in runs} == {"SUCCESS"}
        assert {run["runId"] for run in runs} == set(jobs.status(job)["run_ids"])
        assert len(stages["bars"]) == len(jobs.status(job)["successful_symbols"])
    assert found["no_flag"]["analysis"] == []
    assert len(found["per_symbol"]["analysis"]) == len(found["batch"]["analysis"]) == 2
    imported = [run["endTime"] for run in found["batch"]["bars"]]
    assert min(run["startTime"] for run in found["batch"]["analysis"]) > max(imported)
    # one at a time, from beginning to end
    spans = sorted((run["startTime"], run["endTime"]) for stages in found.values() for run in stages["bars"])
    assert all(ended <= began for (_, ended), (began, _) in pairwise(spans))


def a_split_concerns_its_symbol_only(engine: sa.Engine, before: dict[tuple[str, int], object]) -> None:
    after = analysed_at(engine)
    assert {key for key in before if after[key] != before[key]} == {("P0", 2013)}
    retracted = execute(engine, "SELECT * FROM daily_patterns WHERE retracted_at IS NOT NULL")
    assert {row.symbol for row in retracted} == {"P0"}
    told = execute(engine, "SELECT channels, payloads FROM outbox")
    events = [json.loads(payload) for row in told for payload in row.payloads]
    assert {channel for row in told for channel in row.channels} == {PATTERNS_RETRACTED}
    assert {(one["data"]["pattern"], one["data"]["timestamp"]) for one in events} == {
        (row.pattern_type, row.detection_timestamp.timestamp()) for row in retracted
    }


def what_is_switched_off_in_the_settings_starts_nothing(dagster: Webserver, engine: sa.Engine) -> None:
    words = "Switched off by TICKSTOCK_AUTOMATIONS_OFF, which names "
    ticks = dagster.sensor("new_bars")["ticks"]
    assert {tick["skipReason"] for tick in ticks if tick["status"] == "SKIPPED"} == {f"{words}new_bars."}
    assert dagster.try_schedule("catch_up")["skipReason"] == f"{words}catch_up."
    for name in ("new_bars", "catch_up", "after_close"):
        assert dagster.tagged("tickstock/automation", name) == []
    assert stale(engine, Timeframe.MONTHLY) == {f"{SCATTERED}|{year}" for year in SCATTERED_YEARS}


def first_start(workplace: Workplace, up: Up, source: GatedSource, series: dict[str, Bars], engine: sa.Engine) -> None:
    dagster, jobs = Webserver(workplace.web_port), Jobs(workplace.gateway_port)
    before = analysed_at(engine)
    source.hold(["P2"])
    source.new_splits.append(SPLIT)
    dagster.limit_pool(POOL, 1)
    checked = dagster.launch_check("patterns_daily", "up_to_date")
    bounded = workplace.start("backfill", "--timeframe", "daily", "--max-bars", str(2 * DAYS_OF_2013 + 100))
    bounded.wait_for("more bars are left")
    # so that one tick asks for the runs of all of them, and they queue in that order
    dagster.stop_sensor("import_jobs")
    jobs.submit("no_flag", [NO_FLAG], BEFORE_LAST_YEAR)
    jobs.submit("per_symbol", PER_SYMBOL, 2013, run_analysis_after_import=True, analysis_mode="per_symbol")
    jobs.submit("batch", BATCH, 2013, run_analysis_after_import=True, analysis_mode="batch")
    dagster.start_sensor("import_jobs")

    compares = jobs_wait_for_their_pool_and_analyse_as_they_were_asked_to(dagster, jobs, source, engine)
    dagster.require_success(checked)
    passed, shown = dagster.check("patterns_daily", "up_to_date", checked)
    assert not passed
    assert {f"{symbol}|2013" for symbol in LEFT[2:]} <= json.loads(shown["stale_partitions"]).keys()

    # the provider's bars win; by default nothing is ever deleted
    dagster.require_success(compares)
    (volume,) = execute(engine, "SELECT sum(volume) FROM ohlcv_1min WHERE symbol = :live", live=LIVE)[0]
    assert count(engine, "ohlcv_1min WHERE symbol = :live", live=LIVE) == 390
    assert int(volume) == int(series[LIVE].volume.sum())
    deletes = dagster.launch("retention")
    for job in ("no_flag", "per_symbol", "batch"):
        jobs.completed(job)
    all_runs_of_a_job_are_found_by_its_tag(dagster, jobs)
    a_split_concerns_its_symbol_only(engine, before)
    dagster.require_success(deletes)
    assert count(engine, "ohlcv_1min") == 390
    assert count(engine, "daily_patterns WHERE symbol = :ended", ended=ENDED) == 1

    assert bounded.wait() == 0, bounded.output
    assert f"Processed {2 * DAYS_OF_2013} / {2 * DAYS_OF_2013} bars" in bounded.output
    assert f"{3 * DAYS_OF_2013} more bars are left for another time" in bounded.output
    assert stale(engine) >= {f"{symbol}|2013" for symbol in LEFT[2:]}
    assert not stale(engine) & {f"{symbol}|2013" for symbol in LEFT[:2]}
    what_is_switched_off_in_the_settings_starts_nothing(dagster, engine)
    dagster.stop_sensor("new_bars")
    up.signal(signal.SIGINT)
    assert up.wait(60) == 0


def missed_ticks(dagster: Webserver) -> dict[str, list[str]]:
    """The runs that the schedules ask for at their first look, which is that of the daemon's start."""
    for name in OFF_FOR:
        wait_until(
            lambda name=name: any(tick["status"] != "STARTED" for tick in dagster.schedule(name)["ticks"]),
            f"{name} has not ticked",
            90,
        )
    asked = {name: dagster.schedule(name)["ticks"][-1]["runIds"] for name in OFF_FOR}
    dagster.stop_schedule("catch_up")
    assert {name: len(run_ids) for name, run_ids in asked.items() if name != "after_close"} == {
        "catch_up": MOST_RUNS,
        "universe_refresh": 1,
        "retention": 1,
    }
    # neighbours on the grid share a run, and catch_up may have put symbols of its own between them at that moment
    assert 1 <= len(asked["after_close"]) <= 2
    return asked


def the_schedules_make_up_for_what_they_missed(
    dagster: Webserver, asked: dict[str, list[str]], engine: sa.Engine, series: dict[str, Bars]
) -> None:
    for run_id in [run_id for run_ids in asked.values() for run_id in run_ids]:
        dagster.require_success(run_id)
    newest = execute(engine, "SELECT max(date) FROM ohlcv_daily WHERE symbol = :symbol", symbol=NO_FLAG)
    assert newest[0][0] == series[NO_FLAG].time[-1].astype("datetime64[D]").item()
    members = execute(engine, "SELECT symbol FROM universe_members WHERE universe = 'mine' ORDER BY 1")
    assert members == [("AAPL",), ("MSFT",)]
    assert count(engine, "ohlcv_1min") == 0
    assert count(engine, "daily_patterns WHERE symbol = :ended", ended=ENDED) == 0
    assert count(engine, "daily_patterns WHERE symbol = 'P0'") > 0
    # of all that was stale, ten runs
    assert not stale(engine) & {f"{symbol}|2013" for symbol in BACKLOG}
    assert len(stale(engine, Timeframe.MONTHLY)) >= 2


def what_is_switched_off_in_dagster_starts_nothing(dagster: Webserver, engine: sa.Engine, since: float) -> None:
    sensor = dagster.sensor("new_bars")
    assert sensor["status"] == "STOPPED"
    assert [tick for tick in sensor["ticks"] if tick["timestamp"] > since] == []
    assert dagster.tagged("tickstock/automation", "new_bars") == []
    assert told_of_days(engine, BACKLOG) == {}


def left_of_backlog(engine: sa.Engine) -> set[str]:
    """What of it is not analysed."""
    of_all = set[str]().union(*(stale(engine, one) for one in (Timeframe.DAILY, Timeframe.WEEKLY, Timeframe.MONTHLY)))
    return {one for one in of_all if one.partition("|")[0] in (*BACKLOG, SCATTERED)}


def a_sensor_that_looks_again_starts_nothing_twice(dagster: Webserver, engine: sa.Engine, old: str) -> None:
    told, asked = told_of_days(engine, BACKLOG), len(dagster.tagged("tickstock/automation", "new_bars"))
    dagster.stop_sensor("new_bars")
    # a tick under way would set its own cursor
    wait_until(lambda: all(one["status"] != "STARTED" for one in dagster.sensor("new_bars")["ticks"]), "it still ticks")
    newest = dagster.sensor("new_bars")["ticks"][0]["timestamp"]
    dagster.set_cursor("new_bars", old)
    dagster.start_sensor("new_bars")

    def has_looked() -> bool:
        ticks = [tick for tick in dagster.sensor("new_bars")["ticks"] if tick["timestamp"] > newest]
        return any((tick["skipReason"] or "").startswith("Whatever is new is analysed") for tick in ticks)

    wait_until(has_looked, "the sensor does not look again")
    assert told == told_of_days(engine, BACKLOG) == {f"{symbol}|2013": 1 for symbol in BACKLOG}
    assert len(dagster.tagged("tickstock/automation", "new_bars")) == asked


def what_is_corrected_is_analysed_again_and_nothing_else(engine: sa.Engine, older: pd.DataFrame) -> None:
    """A bar of one symbol, and older history of another."""
    before = analysed_at(engine)
    (doji,) = execute(
        engine,
        "SELECT detection_timestamp::date AS day FROM daily_patterns WHERE symbol = 'C00' AND timeframe = 'daily'"
        " AND pattern_type = 'doji' ORDER BY 1 DESC LIMIT 1",
    )
    execute(engine, "UPDATE ohlcv_daily SET open = low, close = high WHERE symbol = 'C00' AND date = :at", at=doji.day)
    write_past_dagster(engine, older)
    ours = {"C00|2013", "C01|2012", "C01|2013"}
    wait_until(lambda: not stale(engine) & ours, "what was corrected is not analysed again")
    retracted = execute(
        engine,
        "SELECT detection_timestamp::date FROM daily_patterns WHERE symbol = 'C00' AND timeframe = 'daily'"
        " AND pattern_type = 'doji' AND retracted_at IS NOT NULL",
    )
    after = analysed_at(engine)
    changed = {key for key in after if after[key] != before.get(key) and key[0] in BACKLOG}
    assert (doji.day,) in retracted
    assert changed == {("C00", 2013), ("C01", 2012), ("C01", 2013)}


@pytest.mark.timeout(1800)
def test_everything_that_falls_behind_is_caught_up_with(
    workplace: Workplace,
    provider: None,
    source: GatedSource,
    series: dict[str, Bars],
    engine: sa.Engine,
    write_universe,
) -> None:
    written = pd.read_csv(write_universe(BACKLOG, range(2012, 2014)))
    is_of_2013 = written["date"] >= "2013"
    universes = workplace.folder / "lists"
    universes.mkdir()
    (universes / "mine.csv").write_text("symbol\nAAPL\nMSFT\n")
    workplace.environment["TICKSTOCK_UNIVERSE_DIR"] = str(universes)
    prepare(engine, series)

    up = workplace.up(TICKSTOCK_AUTOMATIONS_OFF="new_bars,catch_up,after_close")
    up.wait_for("Ctrl-C stops everything", timeout=300)
    first_start(workplace, up, source, series, engine)

    with engine.connect() as connection:
        old, _ = changed_bars(connection, None)
    write_past_dagster(engine, written[is_of_2013])
    let_time_pass(engine)
    began = time.time()
    old_patterns = (datetime.now(UTC) - datetime(2010, 1, 1, tzinfo=UTC)).days
    up = workplace.up(TICKSTOCK_RETENTION_MINUTES_YEARS="1", TICKSTOCK_RETENTION_PATTERNS_DAYS=str(old_patterns))
    up.wait_for("Ctrl-C stops everything", timeout=300)
    dagster = Webserver(workplace.web_port)
    asked = missed_ticks(dagster)

    # what was imported without analysis is still there to be done, and done where the bounded backfill has stopped
    for run_id in asked["after_close"]:
        dagster.require_success(run_id)
    assert stale(engine) >= {f"{symbol}|2013" for symbol in LEFT[2:]}
    assert not [key for key in analysed_at(engine) if key[0] == NO_FLAG]
    resumed = workplace.start("backfill", "--timeframe", "daily", "--symbols", ",".join([*LEFT, NO_FLAG]))
    resumed.wait_for("bars in")
    the_schedules_make_up_for_what_they_missed(dagster, asked, engine, series)
    what_is_switched_off_in_dagster_starts_nothing(dagster, engine, began)

    dagster.start_sensor("new_bars")
    wait_until(lambda: dagster.cursor("new_bars") is not None and not left_of_backlog(engine), "something is left")
    assert count(engine, "analysis_coverage WHERE symbol LIKE 'C%' AND year = 2013") == 3 * len(BACKLOG)
    assert dagster.tagged("tickstock/automation", "new_bars") != []
    a_sensor_that_looks_again_starts_nothing_twice(dagster, engine, old)
    older = written[~is_of_2013 & (written["ticker"] == "C01")]
    what_is_corrected_is_analysed_again_and_nothing_else(engine, older)

    assert resumed.wait() == 0, resumed.output
    checked = dagster.launch_check("patterns_daily", "up_to_date")
    dagster.require_success(checked)
    passed, shown = dagster.check("patterns_daily", "up_to_date", checked)
    assert (passed, shown["bars_without_analysis"]) == (True, 0)
    failed = [run["runId"] for run in dagster.runs(statuses=["FAILURE", "CANCELED"])]
    up.signal(signal.SIGINT)
    assert up.wait(60) == 0
    assert failed == []
