"""Bars into the tables and back."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.bars import WriteCounts, read_bars, write_bars
from tickstock_pipeline.storage.ledger import read_ledger
from tickstock_pipeline_tests.same_bars import assert_same_bars


def bars(symbol: str, timeframe: Timeframe, times: list[str], close: list[float] | None = None) -> Bars:
    prices = np.array(close if close is not None else [10.0] * len(times))
    return Bars(
        symbol,
        timeframe,
        np.array(times, "datetime64[us]"),
        prices,
        prices,
        prices,
        prices,
        np.full(len(times), 7, np.int64),
    )


@pytest.mark.parametrize("timeframe", list(Timeframe))
def test_bars_come_back_as_they_were_written(engine: sa.Engine, timeframe: Timeframe) -> None:
    times = ["2013-10-01T13:30", "2013-10-02T13:30"] if timeframe.is_intraday else ["2013-10-01", "2013-10-02"]
    written = [bars("B", timeframe, times, [0.1 + 0.2, 1e-300]), bars("A-ä", timeframe, times[:1], [1e300])]
    with engine.begin() as connection:
        assert write_bars(connection, written, "test") == WriteCounts(3, 0, 0)
        stored = read_bars(connection, timeframe, ["B", "A-ä", "none", "B"])
    assert list(stored) == ["B", "A-ä"]
    for expected in written:
        assert_same_bars(stored[expected.symbol], expected)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    prices=st.lists(
        st.floats(min_value=0, exclude_min=True, allow_nan=False, allow_infinity=False), min_size=1, max_size=20
    ),
    volume=st.integers(0, 2**63 - 1),
)
def test_every_float64_price_keeps_its_bits(engine: sa.Engine, prices: list[float], volume: int) -> None:
    days = (np.datetime64("1990-01-01") + np.arange(len(prices))).astype(str).tolist()
    given_bars = bars("X", Timeframe.DAILY, days, prices)
    given_bars.volume[:] = volume
    with engine.connect() as connection, connection.begin() as transaction:
        write_bars(connection, [given_bars], "test")
        stored = read_bars(connection, Timeframe.DAILY, ["X"])["X"]
        transaction.rollback()
    assert stored.close.tobytes() == given_bars.close.tobytes()
    assert stored.volume.tolist() == given_bars.volume.tolist()


def test_bounds_of_a_read_are_included(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        write_bars(connection, [bars("X", Timeframe.DAILY, ["2013-01-01", "2013-01-02", "2013-01-03"])], "test")
        write_bars(connection, [bars("X", Timeframe.MINUTE, ["2013-01-02T14:30", "2013-01-02T14:31"])], "test")
        daily = read_bars(connection, Timeframe.DAILY, ["X"], date(2013, 1, 2), date(2013, 1, 3))
        minutes = read_bars(
            connection, Timeframe.MINUTE, ["X"], np.datetime64("2013-01-02T14:31"), np.datetime64("2013-01-02T14:31")
        )
        assert read_bars(connection, Timeframe.DAILY, ["X"], date(2014, 1, 1)) == {}
        assert read_bars(connection, Timeframe.DAILY, []) == {}
    assert daily["X"].time.astype("datetime64[D]").astype(str).tolist() == ["2013-01-02", "2013-01-03"]
    assert len(minutes["X"]) == 1


def test_times_do_not_depend_on_the_time_zone_of_the_session(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("SET LOCAL TimeZone TO 'Asia/Tokyo'"))
        write_bars(connection, [bars("X", Timeframe.MINUTE, ["2013-01-02T14:30"])], "test")
        stored = connection.scalar(sa.text('SELECT "timestamp" FROM ohlcv_1min'))
        read = read_bars(connection, Timeframe.MINUTE, ["X"], np.datetime64("2013-01-02T14:30"))
    assert stored == datetime(2013, 1, 2, 14, 30, tzinfo=UTC)
    assert read["X"].time.tolist() == [datetime(2013, 1, 2, 14, 30)]


def test_writing_again_writes_nothing_and_a_changed_bar_alone_is_updated(engine: sa.Engine) -> None:
    days = ["2013-01-02", "2013-01-03", "2013-01-04"]
    with engine.begin() as connection:
        write_bars(connection, [bars("X", Timeframe.DAILY, days)], "first")
    with engine.begin() as connection:
        before = connection.execute(sa.text("SELECT revision FROM bar_ledger")).all()
        assert write_bars(connection, [bars("X", Timeframe.DAILY, days)], "second") == WriteCounts(0, 0, 3)
        assert connection.execute(sa.text("SELECT revision FROM bar_ledger")).all() == before
        changed = bars("X", Timeframe.DAILY, [*days, "2013-01-07"], [10.0, 11.0, 10.0, 10.0])
        assert write_bars(connection, [changed], "second") == WriteCounts(1, 1, 2)
        sources = connection.execute(sa.text("SELECT source FROM ohlcv_daily ORDER BY date")).scalars().all()
    assert sources == ["first", "second", "first", "second"]


def sources(connection: sa.Connection) -> list[tuple[float, str]]:
    return [tuple(row) for row in connection.exec_driver_sql("SELECT close, source FROM ohlcv_daily ORDER BY date")]


def test_a_derived_bar_replaces_no_given_one_and_a_given_one_takes_its_place(engine: sa.Engine) -> None:
    days = ["2013-01-02", "2013-01-03", "2013-01-04"]
    with engine.begin() as connection:
        write_bars(connection, [bars("A", Timeframe.DAILY, days[:1], [10.0])], "provider")
        write_bars(connection, [bars("A", Timeframe.DAILY, days, [11.0, 11.0, 11.0])], "derived:1min")
        assert sources(connection) == [(10.0, "provider"), (11.0, "derived:1min"), (11.0, "derived:1min")]
        write_bars(connection, [bars("A", Timeframe.DAILY, days[1:], [12.0, 12.0])], "derived:1min")
        assert sources(connection)[1:] == [(12.0, "derived:1min"), (12.0, "derived:1min")]
        # the second one says the same as the derived bar
        write_bars(connection, [bars("A", Timeframe.DAILY, days[1:], [13.0, 12.0])], "provider")
        assert sources(connection)[1:] == [(13.0, "provider"), (12.0, "provider")]
        write_bars(connection, [bars("A", Timeframe.DAILY, days, [14.0, 14.0, 14.0])], "derived:1min")
        assert sources(connection) == [(10.0, "provider"), (13.0, "provider"), (12.0, "provider")]


def test_a_source_that_yields_replaces_others_and_leaves_the_one_it_yields_to(engine: sa.Engine) -> None:
    days = ["2013-01-02", "2013-01-03", "2013-01-04"]
    with engine.begin() as connection:
        write_bars(connection, [bars("A", Timeframe.DAILY, days[:1], [10.0])], "first")
        write_bars(connection, [bars("A", Timeframe.DAILY, days[1:2], [10.0])], "third")
        counts = write_bars(connection, [bars("A", Timeframe.DAILY, days, [11.0] * 3)], "second", yields_to="first")
        assert counts == WriteCounts(1, 1, 1)
        assert sources(connection) == [(10.0, "first"), (11.0, "second"), (11.0, "second")]


def test_new_and_known_symbols_are_written_together_and_counted_in_the_ledger(engine: sa.Engine) -> None:
    days = ["2012-12-31", "2013-01-02", "2013-01-03"]
    with engine.begin() as connection:
        write_bars(connection, [bars("B", Timeframe.DAILY, days[1:2])], "test")
        written = [bars(symbol, Timeframe.DAILY, days) for symbol in ("C", "B", "A")]
        assert write_bars(connection, written, "test") == WriteCounts(8, 0, 1)
        assert [(row.symbol, row.year, row.n_bars) for row in read_ledger(connection, Timeframe.DAILY)] == [
            (symbol, *of_year) for symbol in ("A", "B", "C") for of_year in ((2012, 1), (2013, 2))
        ]


def test_a_bar_that_another_program_commits_meanwhile_is_updated(engine: sa.Engine) -> None:
    days = ["2013-01-02", "2013-01-03"]
    waiting = sa.text("SELECT count(*) FROM pg_stat_activity WHERE pid = :pid AND wait_event_type = 'Lock'")
    with ThreadPoolExecutor(1) as thread, engine.connect() as theirs, engine.connect() as ours, engine.connect() as us:
        theirs.exec_driver_sql("INSERT INTO ohlcv_daily VALUES ('A', '2013-01-03', 1, 1, 1, 1, 1)")
        pid = ours.scalar(sa.text("SELECT pg_backend_pid()"))
        counts = thread.submit(write_bars, ours, [bars("A", Timeframe.DAILY, days)], "test")
        while not us.scalar(waiting, {"pid": pid}):
            us.rollback()
            assert not counts.done()
        theirs.commit()
        assert counts.result(timeout=30) == WriteCounts(1, 1, 0)
        ours.commit()
        assert sources(us) == [(10.0, "test"), (10.0, "test")]


def test_a_transaction_that_fails_leaves_neither_bars_nor_ledger(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        write_bars(connection, [bars("X", Timeframe.DAILY, ["2013-01-02"])], "test")
        connection.rollback()
    with engine.connect() as connection:
        for table in ("ohlcv_daily", "bar_ledger", "bar_series"):
            assert connection.scalar(sa.text(f"SELECT count(*) FROM {table}")) == 0


def test_one_write_takes_one_timeframe_and_each_symbol_once(engine: sa.Engine) -> None:
    daily = bars("X", Timeframe.DAILY, ["2013-01-02"])
    with engine.begin() as connection:
        with pytest.raises(ValueError, match="several timeframes"):
            write_bars(connection, [daily, bars("X", Timeframe.WEEKLY, ["2013-01-04"])], "test")
        with pytest.raises(ValueError, match="twice"):
            write_bars(connection, [daily, daily], "test")
        assert write_bars(connection, [], "test") == WriteCounts(0, 0, 0)


@pytest.mark.parametrize("timeframe", list(Timeframe))
@pytest.mark.parametrize(
    "values",
    [
        "'NaN', 'NaN', 'NaN', 'NaN', 0",
        "1, 'NaN', 1, 1, 0",
        "1, 'Infinity', 1, 1, 0",
        "1, 1, 'NaN', 1, 0",
        "'NaN', 1, 1, 1, 0",
        "1, 1, 1, 'NaN', 0",
        "1, 2, 0, 1, 0",
        "1, 2, -1, 1, 0",
        "3, 2, 1, 1, 0",
        "1, 2, 1.5, 1, 0",
        "1, 2, 1, 1, -1",
        "1, 2, 1, 1, NULL",
    ],
)
def test_a_foreign_writer_cannot_store_an_impossible_bar(engine: sa.Engine, timeframe: Timeframe, values: str) -> None:
    statement = f"INSERT INTO ohlcv_{timeframe} VALUES ('X', '2013-01-02', {values})"
    with engine.begin() as connection, pytest.raises(sa.exc.IntegrityError):
        connection.execute(sa.text(statement))
