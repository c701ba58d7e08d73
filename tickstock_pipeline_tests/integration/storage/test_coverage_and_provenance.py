"""What is stale: bars without analysis, and derived bars that their input has outgrown."""

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
import sqlalchemy as sa

from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.bars import write_bars
from tickstock_pipeline.storage.coverage import Coverage, StalePartition, record_coverage, stale_analysis
from tickstock_pipeline.storage.provenance import (
    ImportOutcome,
    Provenance,
    derived_source,
    read_provenance,
    record_failures,
    record_fill,
    record_provenance,
    roll_up_revisions,
    stale_roll_ups,
)


def daily(symbol: str, *days: str, price: float = 10.0, timeframe: Timeframe = Timeframe.DAILY) -> Bars:
    prices = np.full(len(days), price)
    time = np.array(days, "datetime64[us]")
    return Bars(symbol, timeframe, time, prices, prices, prices, prices, np.zeros(len(days), np.int64))


def covered(symbol: str, year: int, n_bars: int, timeframe: Timeframe = Timeframe.DAILY) -> Coverage:
    return Coverage(symbol, timeframe, year, "one", None, np.datetime64(f"{year}-12-31", "us"), n_bars)


def test_bars_without_analysis_are_counted_exactly(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        write_bars(connection, [daily("A", "2012-12-31", "2013-01-02", "2013-01-03", "2013-01-04")], "test")
        write_bars(connection, [daily("B", "2013-01-02")], "test")
        everything = [StalePartition("A", 2012, 1), StalePartition("A", 2013, 3), StalePartition("B", 2013, 1)]
        assert stale_analysis(connection, Timeframe.DAILY, "one") == everything
        record_coverage(connection, [covered("B", 2013, 1), covered("A", 2013, 3), covered("A", 2012, 1)])
        assert stale_analysis(connection, Timeframe.DAILY, "one") == []
        assert stale_analysis(connection, Timeframe.DAILY, "other") == everything
        assert stale_analysis(connection, Timeframe.DAILY, "other", ["B"]) == everything[2:]

        write_bars(connection, [daily("A", "2013-01-03", price=11.0)], "test")
        assert stale_analysis(connection, Timeframe.DAILY, "one") == [StalePartition("A", 2013, 2)]
        write_bars(connection, [daily("A", "2012-12-31", price=11.0)], "test")
        assert stale_analysis(connection, Timeframe.DAILY, "one") == everything[:2]
        record_coverage(connection, [covered("A", 2013, 3)])
        assert stale_analysis(connection, Timeframe.DAILY, "one") == everything[:1]


def test_analysed_bars_that_are_deleted_make_their_partition_stale(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        write_bars(connection, [daily("A", "2013-01-02", "2013-01-03")], "test")
        record_coverage(connection, [covered("A", 2013, 2)])
        connection.execute(sa.text("DELETE FROM ohlcv_daily WHERE date = '2013-01-03'"))
        assert stale_analysis(connection, Timeframe.DAILY, "one") == [StalePartition("A", 2013, 0)]
        connection.execute(sa.text("DELETE FROM ohlcv_daily"))
        assert stale_analysis(connection, Timeframe.DAILY, "one") == [StalePartition("A", 2013, 0)]
        nothing = Coverage("A", Timeframe.DAILY, 2013, "one", None, None, 0)
        record_coverage(connection, [nothing])
        assert stale_analysis(connection, Timeframe.DAILY, "one") == []


def test_a_changed_day_makes_the_week_that_contains_it_stale(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        write_bars(connection, [daily("A", "2013-01-02", "2013-01-10")], "test")
        weeks = daily("A", "2013-01-04", "2013-01-11", "2013-01-18", timeframe=Timeframe.WEEKLY)
        write_bars(connection, [weeks], "test")
        record_coverage(connection, [covered("A", 2013, 3, Timeframe.WEEKLY)])
        write_bars(connection, [daily("A", "2013-01-10", price=11.0)], "test")
        assert stale_analysis(connection, Timeframe.WEEKLY, "one") == [StalePartition("A", 2013, 2)]


def test_intraday_bars_are_counted_in_their_year_on_the_exchanges_clock(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        hours = daily("A", "2014-01-01T04:59", "2014-01-01T05:00", "2014-01-02T14:00", timeframe=Timeframe.HOURLY)
        write_bars(connection, [hours], "test")
        assert stale_analysis(connection, Timeframe.HOURLY, "one") == [
            StalePartition("A", 2013, 1),
            StalePartition("A", 2014, 2),
        ]
        record_coverage(connection, [covered("A", 2014, 2, Timeframe.HOURLY)])
        changed = daily("A", "2014-01-02T14:00", price=11.0, timeframe=Timeframe.HOURLY)
        write_bars(connection, [changed], "test")
        assert StalePartition("A", 2014, 1) in stale_analysis(connection, Timeframe.HOURLY, "one")


def derive(connection: sa.Connection, timeframe: Timeframe, year: int, outcome: ImportOutcome = "complete") -> None:
    revision = roll_up_revisions(connection, timeframe, [Partition("A", year)])[Partition("A", year)]
    source = derived_source(timeframe)
    record_provenance(
        connection, [Provenance("A", timeframe, year, source, outcome, n_bars=1, input_revision=revision)]
    )


def test_a_derived_year_is_stale_until_it_is_derived_and_again_when_its_input_changes(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        write_bars(connection, [daily("A", "2012-12-03", "2013-01-02")], "test")
        for timeframe in (Timeframe.WEEKLY, Timeframe.MONTHLY):
            assert stale_roll_ups(connection, timeframe) == [Partition("A", 2012), Partition("A", 2013)]
            derive(connection, timeframe, 2012)
            derive(connection, timeframe, 2013, "failed")
            assert stale_roll_ups(connection, timeframe) == [Partition("A", 2013)]
            derive(connection, timeframe, 2013)
            assert stale_roll_ups(connection, timeframe) == []
        write_bars(connection, [daily("A", "2012-12-03", price=11.0)], "test")
        # the first week of 2013 might contain it
        assert stale_roll_ups(connection, Timeframe.WEEKLY) == [Partition("A", 2012), Partition("A", 2013)]
        assert stale_roll_ups(connection, Timeframe.MONTHLY) == [Partition("A", 2012)]


def test_a_last_week_that_ends_in_the_next_year_is_derived_there(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        write_bars(connection, [daily("A", "2012-12-31")], "test")
        assert stale_roll_ups(connection, Timeframe.WEEKLY) == [Partition("A", 2012), Partition("A", 2013)]
        assert stale_roll_ups(connection, Timeframe.MONTHLY) == [Partition("A", 2012)]


def test_a_year_whose_input_is_deleted_is_derived_once_more(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        write_bars(connection, [daily("A", "2013-06-03")], "test")
        derive(connection, Timeframe.WEEKLY, 2013)
        connection.execute(sa.text("DELETE FROM ohlcv_daily"))
        assert stale_roll_ups(connection, Timeframe.WEEKLY) == [Partition("A", 2013)]
        derive(connection, Timeframe.WEEKLY, 2013, "empty")
        assert stale_roll_ups(connection, Timeframe.WEEKLY) == []


def test_imported_weeks_are_not_derived_and_imported_days_are_filled_from_minutes_that_changed(
    engine: sa.Engine,
) -> None:
    with engine.begin() as connection:
        for timeframe in (Timeframe.WEEKLY, Timeframe.DAILY):
            record_provenance(connection, [Provenance("A", timeframe, 2013, "sample", "complete", n_bars=52)])
        write_bars(connection, [daily("A", "2013-01-02")], "test")
        assert stale_roll_ups(connection, Timeframe.WEEKLY) == []
        assert stale_roll_ups(connection, Timeframe.DAILY) == []
        write_bars(connection, [daily("A", "2013-01-02T14:30", timeframe=Timeframe.MINUTE)], "test")
        assert stale_roll_ups(connection, Timeframe.DAILY) == [Partition("A", 2013)]
        revision = roll_up_revisions(connection, Timeframe.DAILY, [Partition("A", 2013)])[Partition("A", 2013)]
        fill = Provenance("A", Timeframe.DAILY, 2013, "-", "empty", n_bars=0, input_revision=revision, n_provisional=3)
        record_fill(connection, [fill])
        assert stale_roll_ups(connection, Timeframe.DAILY) == []
        row = read_provenance(connection, Timeframe.DAILY)[Partition("A", 2013)]
        assert (row.source, row.outcome, row.n_bars, row.n_provisional) == ("sample", "complete", 52, 3)
        with pytest.raises(ValueError, match="not derived"):
            stale_roll_ups(connection, Timeframe.MINUTE)


def test_a_failure_leaves_what_was_asked_and_given_before(engine: sa.Engine) -> None:
    asked = Provenance(
        "A", Timeframe.DAILY, 2013, "sample", "complete", 252, requested_through=date(2013, 12, 31), n_provisional=1
    )
    derived = Provenance("A", Timeframe.DAILY, 2014, "derived:1min", "complete", 9, n_provisional=9)
    with engine.begin() as connection:
        record_provenance(connection, [asked, derived])
        record_failures(
            connection,
            [Provenance("A", Timeframe.DAILY, year, "other", "failed", 0, error="503") for year in (2013, 2014, 2015)],
        )
        found = read_provenance(connection, Timeframe.DAILY)
    assert found == {
        Partition("A", 2013): replace(asked, outcome="failed", error="503"),
        Partition("A", 2014): replace(derived, source="other", outcome="failed", error="503", n_bars=0),
        Partition("A", 2015): Provenance("A", Timeframe.DAILY, 2015, "other", "failed", 0, error="503"),
    }


def test_whatever_a_provider_has_said_can_be_stored_and_harms_no_other_symbol(engine: sa.Engine) -> None:
    said = "\ud800 \0 ä"
    rows = [Provenance(symbol, Timeframe.DAILY, 2013, "other", "failed", 0, error=said, reason=said) for symbol in "AB"]
    with engine.begin() as connection:
        record_failures(connection, rows)
        found = read_provenance(connection, Timeframe.DAILY)
        assert [row.error for row in found.values()] == ["? \ufffd ä"] * 2
        record_provenance(connection, rows)
        found = read_provenance(connection, Timeframe.DAILY)
        assert [(row.error, row.reason) for row in found.values()] == [("? \ufffd ä",) * 2] * 2


def test_provenance_is_replaced_and_read_back(engine: sa.Engine) -> None:
    failed = Provenance("A", Timeframe.DAILY, 2013, "sample", "failed", n_bars=0, error="no answer")
    complete = Provenance(
        "A",
        Timeframe.DAILY,
        2013,
        "sample",
        "complete",
        n_bars=252,
        n_refused=1,
        requested_from=date(2013, 1, 1),
        requested_through=date(2013, 12, 31),
    )
    with engine.begin() as connection:
        record_provenance(connection, [failed])
        record_provenance(connection, [complete])
        record_provenance(connection, [])
        assert read_provenance(connection, Timeframe.DAILY) == {Partition("A", 2013): complete}
        assert read_provenance(connection, Timeframe.DAILY, ["B"]) == {}
        assert read_provenance(connection, Timeframe.WEEKLY, ["A"]) == {}
