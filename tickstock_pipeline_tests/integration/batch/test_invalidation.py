"""What a change makes stale: exactly what depends on it; and what becomes of detections that no longer hold."""

import json

import pytest
import sqlalchemy as sa

from tickstock_pipeline.batch.analysis import analyse_partitions, stale_partitions
from tickstock_pipeline.batch.roll_ups import roll_up_bars
from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.messaging.channels import PATTERNS_RETRACTED, SOURCE
from tickstock_pipeline.messaging.pattern_event import flow_id
from tickstock_pipeline.providers.sample import SampleProvider
from tickstock_pipeline.storage.provenance import stale_roll_ups

SYMBOLS = ("AAA", "BBB")
PARTITIONS = [Partition(symbol, year) for symbol in SYMBOLS for year in (2018, 2019, 2020)]


@pytest.fixture
def analysed(engine: sa.Engine, write_universe, run_all) -> sa.Engine:
    """Two symbols' days, weeks and months of 2018 to 2020, all analysed."""
    run_all(engine, SampleProvider(write_universe(SYMBOLS, range(2018, 2021))), PARTITIONS)
    assert {timeframe: stale(engine, timeframe) for timeframe in COARSE} == {key: set() for key in COARSE}
    return engine


COARSE = (Timeframe.DAILY, Timeframe.WEEKLY, Timeframe.MONTHLY)


def stale(engine: sa.Engine, timeframe: Timeframe = Timeframe.DAILY) -> set[tuple[str, int]]:
    with engine.connect() as connection:
        return {(one.symbol, one.year) for one in stale_partitions(connection, timeframe)}


def execute(engine: sa.Engine, statement: str, **parameters: object) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text(statement), parameters)


def written(engine: sa.Engine, timeframe: Timeframe = Timeframe.DAILY) -> set[tuple[str, int]]:
    """Analyse everything; what was not left alone."""
    outcomes = analyse_partitions(engine, trading_calendar(), timeframe, PARTITIONS)
    return {(one.partition.symbol, one.partition.year) for one in outcomes if one.status == "written"}


def test_a_corrected_bar_makes_its_symbols_later_years_stale_and_nothing_else(analysed: sa.Engine) -> None:
    execute(analysed, "UPDATE ohlcv_daily SET volume = volume + 1 WHERE symbol = 'AAA' AND date = '2019-06-03'")

    for timeframe in COARSE:
        assert stale(analysed, timeframe) == {("AAA", 2019), ("AAA", 2020)}
    with analysed.connect() as connection:
        assert stale_roll_ups(connection, Timeframe.MONTHLY) == [Partition("AAA", 2019)]
        # the first week of 2020 may begin in 2019
        weekly = [one for one in stale_roll_ups(connection, Timeframe.WEEKLY) if one in PARTITIONS]
        assert weekly == [Partition("AAA", 2019), Partition("AAA", 2020)]
    for timeframe in (Timeframe.WEEKLY, Timeframe.MONTHLY):
        roll_up_bars(analysed, trading_calendar(), timeframe, PARTITIONS)
    for timeframe in COARSE:
        assert written(analysed, timeframe) == {("AAA", 2019), ("AAA", 2020)}
        assert stale(analysed, timeframe) == set()


def test_older_history_makes_all_later_years_stale_that_warm_up_on_it(analysed: sa.Engine) -> None:
    execute(
        analysed,
        "INSERT INTO ohlcv_daily (symbol, date, open, high, low, close, volume)"
        " VALUES ('BBB', '2017-12-29', 50, 51, 49, 50, 100)",
    )

    assert stale(analysed) == {("BBB", 2017), ("BBB", 2018), ("BBB", 2019), ("BBB", 2020)}


def test_a_new_split_makes_its_symbol_stale_as_a_whole(analysed: sa.Engine) -> None:
    execute(analysed, "INSERT INTO splits (symbol, ex_date, ratio) VALUES ('AAA', '2020-03-02', 2)")

    for timeframe in COARSE:
        assert stale(analysed, timeframe) == {("AAA", 2018), ("AAA", 2019), ("AAA", 2020)}
    assert written(analysed) == {("AAA", 2018), ("AAA", 2019), ("AAA", 2020)}


def test_a_definition_makes_its_timeframes_stale_and_no_other(analysed: sa.Engine) -> None:
    execute(
        analysed, "UPDATE pattern_definitions SET applicable_timeframes = ARRAY['daily', 'weekly'] WHERE name = 'doji'"
    )
    written(analysed)
    written(analysed, Timeframe.WEEKLY)
    written(analysed, Timeframe.MONTHLY)
    assert {timeframe: stale(analysed, timeframe) for timeframe in COARSE} == {key: set() for key in COARSE}

    execute(analysed, "UPDATE pattern_definitions SET enabled = false WHERE name = 'doji'")

    assert stale(analysed, Timeframe.MONTHLY) == set()
    assert stale(analysed, Timeframe.DAILY) == set(PARTITIONS)
    assert stale(analysed, Timeframe.WEEKLY) == set(PARTITIONS)


def test_a_published_detection_that_no_longer_holds_is_marked_and_told_of_others_only_marked(
    analysed: sa.Engine,
) -> None:
    query = sa.text(
        "SELECT pattern_type, bar_time, detection_timestamp FROM daily_patterns"
        " WHERE symbol = 'AAA' AND timeframe = 'daily' AND pattern_type = 'doji' AND retracted_at IS NULL"
        " ORDER BY bar_time DESC LIMIT 2"
    )
    with analysed.connect() as connection:
        published, unpublished = connection.execute(query).all()
    flow = flow_id("AAA", Timeframe.DAILY, "doji", round(published.bar_time.timestamp() * 1e6), 1)
    execute(
        analysed,
        "INSERT INTO integration_events (event_type, source_system, flow_id, checkpoint, symbol)"
        " VALUES ('pattern_detected', :source, :flow, 'PATTERN_PUBLISHED', 'AAA')",
        source=SOURCE,
        flow=flow,
    )
    for row in (published, unpublished):
        execute(
            analysed,
            "UPDATE ohlcv_daily SET open = low, close = high WHERE symbol = 'AAA' AND date = cast(:at AS date)",
            at=row.bar_time.date(),
        )

    analyse_partitions(analysed, trading_calendar(), Timeframe.DAILY, PARTITIONS)

    with analysed.connect() as connection:
        marked = connection.execute(
            sa.text(
                "SELECT bar_time FROM daily_patterns WHERE symbol = 'AAA' AND timeframe = 'daily'"
                " AND pattern_type = 'doji' AND retracted_at IS NOT NULL"
            )
        )
        assert {published.bar_time, unpublished.bar_time} <= {row.bar_time for row in marked}
        (row,) = connection.execute(sa.text("SELECT channels, payloads, published_at FROM outbox")).all()
        assert (row.channels, row.published_at) == ([PATTERNS_RETRACTED], None)
        event = json.loads(row.payloads[0])
        checkpoints = connection.scalars(
            sa.text("SELECT checkpoint FROM integration_events WHERE flow_id = :flow ORDER BY id"), {"flow": flow}
        )
        assert list(checkpoints) == ["PATTERN_PUBLISHED", "PATTERN_RETRACTED"]
    assert event["event_type"] == "pattern_retracted"
    assert event["data"]["flow_id"] == str(flow)
    assert event["data"]["symbol"] == "AAA"
    assert event["data"]["reason"]
    assert event["data"]["timestamp"] == published.detection_timestamp.timestamp()
