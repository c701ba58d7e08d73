"""Five tables out of minutes, against what pandas groups by the exchange's clock, and corrections that run through."""

from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tickstock_pipeline.batch.analysis import analyse_partitions, stale_partitions
from tickstock_pipeline.batch.imports import import_bars
from tickstock_pipeline.batch.outcome import Outcome, Status
from tickstock_pipeline.batch.roll_ups import roll_up_bars
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.bars import read_bars, write_bars
from tickstock_pipeline.storage.provenance import read_provenance
from tickstock_pipeline_tests.integration.batch.array_provider import CALENDAR, ArrayProvider, minutes

DERIVED = (Timeframe.HOURLY, Timeframe.DAILY, Timeframe.WEEKLY, Timeframe.MONTHLY)
NOW = datetime(2022, 6, 1, 12, tzinfo=UTC)
# with daylight saving beginning and ending, half days, Good Friday and a turn of year in a week
STRETCHES = [
    (date(2021, 3, 8), date(2021, 3, 19)),
    (date(2021, 3, 29), date(2021, 4, 6)),
    (date(2021, 11, 1), date(2021, 11, 12)),
    (date(2021, 11, 22), date(2021, 11, 30)),
    (date(2020, 12, 21), date(2021, 1, 8)),
]
_CLOCK = "America/New_York"


def roll_all(engine: sa.Engine, partitions: list[Partition], **more) -> dict[Timeframe, list[Outcome]]:
    return {into: roll_up_bars(engine, CALENDAR, into, partitions, **({"now": NOW} | more)) for into in DERIVED}


def by_pandas(bars: Bars, into: Timeframe) -> pd.DataFrame:
    """An independent roll-up: wall-clock times of the exchange, groups by their calendar fields."""
    frame = pd.DataFrame(
        {name: getattr(bars, name) for name in ("open", "high", "low", "close", "volume")},
        index=pd.DatetimeIndex(bars.time, tz="UTC").tz_convert(_CLOCK),
    )
    wall = frame.index.tz_localize(None)
    groups = {
        Timeframe.HOURLY: wall.strftime("%Y-%m-%d %H"),
        Timeframe.DAILY: wall.strftime("%Y-%m-%d"),
        Timeframe.WEEKLY: wall.strftime("%G-%V"),
        Timeframe.MONTHLY: wall.strftime("%Y-%m"),
    }[into]
    return frame.groupby(groups, sort=False).agg(
        {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    )


def assert_as_by_pandas(connection: sa.Connection, bars: Bars) -> None:
    for into in DERIVED:
        stored = read_bars(connection, into, ["A"])["A"]
        expected = by_pandas(bars, into)
        assert len(stored) == len(expected), into
        for name in ("open", "high", "low", "close", "volume"):
            np.testing.assert_array_equal(getattr(stored, name), expected[name].to_numpy(), err_msg=str(into))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(STRETCHES), st.integers(0, 2**32 - 1), st.floats(0.002, 1.0))
def test_hours_days_weeks_and_months_are_those_that_pandas_makes_of_the_minutes(engine, stretch, seed, share):
    """Minutes without a trade, and whole sessions of them, included."""
    all_minutes = minutes("A", *stretch, seed=seed)
    traded = np.random.default_rng(seed).random(len(all_minutes)) < share
    traded[seed % len(traded)] = True
    bars = all_minutes[traded]
    partitions = [Partition("A", year) for year in (2020, 2021)]
    with engine.begin() as connection:
        for timeframe in Timeframe:
            connection.exec_driver_sql(f"DELETE FROM ohlcv_{timeframe}")
        write_bars(connection, [bars], "test")

    roll_all(engine, partitions)

    with engine.connect() as connection:
        assert_as_by_pandas(connection, bars)


def test_hours_lie_on_the_exchanges_clock_on_both_sides_of_daylight_saving(engine):
    with engine.begin() as connection:
        write_bars(connection, [minutes("A", date(2021, 3, 12), date(2021, 3, 15))], "test")

    roll_up_bars(engine, CALENDAR, Timeframe.HOURLY, [Partition("A", 2021)], now=NOW)

    with engine.connect() as connection:
        hours = read_bars(connection, Timeframe.HOURLY, ["A"])["A"].time
    wall = pd.DatetimeIndex(hours, tz="UTC").tz_convert(_CLOCK).strftime("%m-%d %H:%M").tolist()
    assert wall == [f"{day} {hour:02}:00" for day in ("03-12", "03-15") for hour in range(9, 16)]


def test_a_session_under_way_has_its_finished_hours_and_no_day(engine):
    with engine.begin() as connection:
        write_bars(connection, [minutes("A", date(2021, 3, 11), date(2021, 3, 12))[: 390 + 200]], "test")

    noon = datetime(2021, 3, 12, 17, 50, tzinfo=UTC)
    outcomes = roll_all(engine, [Partition("A", 2021)], now=noon)

    with engine.connect() as connection:
        stored = {into: read_bars(connection, into, ["A"]) for into in DERIVED}
    assert len(stored[Timeframe.HOURLY]["A"]) == 7 + 3
    assert stored[Timeframe.DAILY]["A"].time.astype("datetime64[D]").astype(str).tolist() == ["2021-03-11"]
    assert stored[Timeframe.WEEKLY] == stored[Timeframe.MONTHLY] == {}
    assert outcomes[Timeframe.DAILY][0].facts["bars_from_minutes"] == 1


def test_a_corrected_minute_runs_through_to_every_coarser_bar_and_makes_their_analysis_stale(engine):
    partitions = [Partition("A", 2021)]
    series = minutes("A", date(2021, 3, 8), date(2021, 4, 9))
    import_bars(engine, ArrayProvider([series]), CALENDAR, Timeframe.MINUTE, partitions, now=NOW)
    roll_all(engine, partitions)
    for timeframe in Timeframe:
        analyse_partitions(engine, CALENDAR, timeframe, partitions)
    assert {o.status for found in roll_all(engine, partitions).values() for o in found} == {Status.UNCHANGED}

    at = 390 * 5 + 17
    series.high[at] += 50.0
    import_bars(engine, ArrayProvider([series]), CALENDAR, Timeframe.MINUTE, partitions, now=NOW)
    outcomes = roll_all(engine, partitions)

    assert {o.status for found in outcomes.values() for o in found} == {Status.WRITTEN}
    with engine.connect() as connection:
        assert_as_by_pandas(connection, series)
        for timeframe in Timeframe:
            (stale,) = stale_partitions(connection, timeframe)
            assert 0 < stale.bars < len(read_bars(connection, timeframe, ["A"])["A"]) or timeframe in (
                Timeframe.WEEKLY,
                Timeframe.MONTHLY,
            )


def test_minutes_that_are_gone_leave_no_hour_and_no_derived_day_behind_and_no_given_day_goes(engine):
    partitions = [Partition("A", 2021)]
    with engine.begin() as connection:
        write_bars(connection, [minutes("A", date(2021, 3, 8), date(2021, 3, 12))], "test")
        connection.exec_driver_sql("INSERT INTO ohlcv_daily VALUES ('A', '2021-03-10', 1, 1, 1, 1, 1, 'test')")
    roll_all(engine, partitions)
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM ohlcv_1min WHERE timestamp::date BETWEEN '2021-03-10' AND '2021-03-11'")

    roll_all(engine, partitions)

    with engine.connect() as connection:
        days = connection.exec_driver_sql("SELECT to_char(date, 'DD'), source FROM ohlcv_daily ORDER BY 1").all()
        assert len(read_bars(connection, Timeframe.HOURLY, ["A"])["A"]) == 3 * 7
        provenance = read_provenance(connection, Timeframe.DAILY)[partitions[0]]
    assert days == [("08", "derived:1min"), ("09", "derived:1min"), ("10", "test"), ("12", "derived:1min")]
    assert (provenance.source, provenance.n_provisional) == ("derived:1min", 3)


def test_a_year_without_minutes_is_not_touched(engine):
    outcomes = roll_up_bars(engine, CALENDAR, Timeframe.DAILY, [Partition("A", 2021)], now=NOW)

    assert [outcome.status for outcome in outcomes] == [Status.UNCHANGED]
    with engine.connect() as connection:
        assert read_provenance(connection, Timeframe.DAILY) == {}


def test_minutes_are_not_derived_from_anything(engine):
    with pytest.raises(ValueError, match="1min bars are not derived from others"):
        roll_up_bars(engine, CALENDAR, Timeframe.MINUTE, [Partition("A", 2021)])
