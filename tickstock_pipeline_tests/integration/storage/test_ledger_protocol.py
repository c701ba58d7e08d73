"""An analysis and a writer of bars at the same time: no change is lost, whoever comes first."""

import threading
from collections.abc import Callable

import numpy as np
import pytest
import sqlalchemy as sa

from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.bars import write_bars
from tickstock_pipeline.storage.coverage import Coverage, record_coverage, stale_analysis
from tickstock_pipeline.storage.ledger import input_revisions, lock_inputs

YEARS = (2003, 2013)


def bar(day: str, price: float = 10.0, symbol: str = "A") -> list[Bars]:
    prices = np.array([price])
    time = np.array([day], "datetime64[us]")
    return [Bars(symbol, Timeframe.DAILY, time, prices, prices, prices, prices, np.array([0]))]


def covered(timeframe: Timeframe = Timeframe.DAILY) -> list[Coverage]:
    return [Coverage("A", timeframe, 2013, "digest", None, np.datetime64("2013-12-31", "us"), 1)]


class InThread:
    """A call in a thread of its own, known to wait for a lock before the test goes on."""

    def __init__(self, engine: sa.Engine, call: Callable[[sa.Connection], object]) -> None:
        self._engine = engine
        self._call = call
        self._pid = 0
        self._begun = threading.Event()
        self.result: object = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self._begun.wait()

    def _run(self) -> None:
        with self._engine.begin() as connection:
            self._pid = connection.scalar(sa.text("SELECT pg_backend_pid()")) or 0
            self._begun.set()
            self.result = self._call(connection)

    def until_it_waits(self) -> None:
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            while not connection.scalar(sa.text("SELECT cardinality(pg_blocking_pids(:pid))"), {"pid": self._pid}):
                assert self._thread.is_alive(), "it did not wait"

    def until_it_ends(self) -> object:
        self._thread.join(timeout=30)
        assert not self._thread.is_alive()
        return self.result


@pytest.fixture(autouse=True)
def _stored(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        write_bars(connection, bar("2013-01-02"), "test")


def test_revisions_rise_with_every_change_of_the_years_asked_for(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        seen = [input_revisions(connection, Timeframe.DAILY, ["A", "none"], *YEARS)]
        write_bars(connection, bar("2012-01-04"), "test")
        seen.append(input_revisions(connection, Timeframe.DAILY, ["A", "none"], *YEARS))
        connection.execute(sa.text("DELETE FROM ohlcv_daily WHERE date < '2013-01-01'"))
        seen.append(input_revisions(connection, Timeframe.DAILY, ["A", "none"], *YEARS))
        write_bars(connection, bar("2014-01-02"), "test")
        assert input_revisions(connection, Timeframe.DAILY, ["A", "none"], *YEARS) == seen[-1]
        assert input_revisions(connection, Timeframe.DAILY, ["A"], None, None)["A"] > seen[-1]["A"]
    assert [row["none"] for row in seen] == [0, 0, 0]
    assert seen[0]["A"] < seen[1]["A"] < seen[2]["A"]


def test_a_daily_bar_changes_the_input_of_weekly_and_monthly_analysis(engine: sa.Engine) -> None:
    for timeframe in (Timeframe.WEEKLY, Timeframe.MONTHLY):
        with engine.begin() as connection:
            before = input_revisions(connection, timeframe, ["A"], None, 2013)
            write_bars(connection, bar("2013-01-03", 10.0 + len(timeframe)), "test")
            assert input_revisions(connection, timeframe, ["A"], None, 2013) != before


@pytest.mark.parametrize("day", ["2013-01-02", "2013-01-03", "2005-01-03"])
def test_a_bar_written_before_the_lock_shows_as_another_revision(engine: sa.Engine, day: str) -> None:
    with engine.begin() as connection:
        before = input_revisions(connection, Timeframe.DAILY, ["A"], *YEARS)
    with engine.begin() as writer:
        write_bars(writer, bar(day, 11.0), "test")
        analysis = InThread(engine, lambda connection: lock_inputs(connection, Timeframe.DAILY, ["A"], *YEARS))
        analysis.until_it_waits()
    now = analysis.until_it_ends()
    assert isinstance(now, dict)
    assert now["A"] > before["A"]


@pytest.mark.parametrize("timeframe", [Timeframe.DAILY, Timeframe.WEEKLY, Timeframe.MONTHLY])
@pytest.mark.parametrize("day", ["2013-01-02", "2013-01-03", "2005-01-03"])
def test_a_bar_written_after_the_lock_makes_the_coverage_stale(
    engine: sa.Engine, day: str, timeframe: Timeframe
) -> None:
    with engine.begin() as analysis:
        lock_inputs(analysis, timeframe, ["A"], *YEARS)
        writer = InThread(engine, lambda connection: write_bars(connection, bar(day, 11.0), "test"))
        writer.until_it_waits()
        record_coverage(analysis, covered(timeframe))
    writer.until_it_ends()
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT stale_from::date::text FROM analysis_coverage")) == day


def test_a_split_written_after_the_lock_makes_the_coverage_stale(engine: sa.Engine) -> None:
    insert = sa.text("INSERT INTO splits VALUES ('A', '2013-01-03', 2)")
    with engine.begin() as analysis:
        lock_inputs(analysis, Timeframe.DAILY, ["A"], *YEARS)
        writer = InThread(engine, lambda connection: connection.execute(insert))
        writer.until_it_waits()
        record_coverage(analysis, covered())
    writer.until_it_ends()
    with engine.connect() as connection:
        assert [found.symbol for found in stale_analysis(connection, Timeframe.DAILY, "digest")] == ["A"]


def test_writers_of_other_symbols_do_not_wait_for_an_analysis(engine: sa.Engine) -> None:
    with engine.begin() as analysis:
        lock_inputs(analysis, Timeframe.DAILY, ["A"], *YEARS)
        with engine.begin() as writer:
            writer.execute(sa.text("SET LOCAL lock_timeout = '1s'"))
            write_bars(writer, bar("2013-01-02", symbol="B"), "test")


def test_two_writers_of_one_year_both_count(engine: sa.Engine) -> None:
    with engine.begin() as first:
        write_bars(first, bar("2013-01-03"), "test")
        second = InThread(engine, lambda connection: write_bars(connection, bar("2013-01-04"), "test"))
        second.until_it_waits()
    second.until_it_ends()
    with engine.connect() as connection:
        assert connection.execute(sa.text("SELECT n_bars, last_time::date::text FROM bar_ledger")).one() == (
            3,
            "2013-01-04",
        )


def test_deleting_the_last_bar_while_a_later_one_arrives_leaves_the_right_last_time(engine: sa.Engine) -> None:
    with engine.begin() as first:
        write_bars(first, bar("2013-01-04"), "test")
        delete = sa.text("DELETE FROM ohlcv_daily WHERE date = '2013-01-02'")
        second = InThread(engine, lambda connection: connection.execute(delete))
        second.until_it_waits()
    second.until_it_ends()
    with engine.connect() as connection:
        row = connection.execute(
            sa.text("SELECT n_bars, first_time::date::text, last_time::date::text FROM bar_ledger")
        ).one()
    assert row == (1, "2013-01-04", "2013-01-04")
