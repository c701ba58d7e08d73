"""Which quarantined bars still count, and what that costs."""

from datetime import date

import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.market.bar import RefusedBar
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.quarantine import count_refused_bars, quarantined_dates, record_refused

NO_TIMES = ("", "yesterday", "2013-02-30", "2013-02-30T14:30:00.000000Z", "2013-01-03T24:00:00.000000Z", "0000-01-01")


def refuse(connection: sa.Connection, timeframe: Timeframe, *times: str, symbol: str = "A") -> None:
    refused = [RefusedBar(symbol, timeframe, time, "high is below low", {}) for time in times]
    record_refused(connection, refused, "test")


def test_a_bar_whose_key_has_a_good_one_counts_no_more_and_one_without_a_time_still_does(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        refuse(connection, Timeframe.DAILY, "2013-01-02", "2013-01-03", *NO_TIMES)
        refuse(connection, Timeframe.DAILY, "2013-01-02", symbol="B")
        refuse(connection, Timeframe.MINUTE, "2013-01-02T14:30:00.000000Z", "2013-01-02T14:31:00.000000Z", *NO_TIMES)
        connection.exec_driver_sql("INSERT INTO ohlcv_daily VALUES ('A', '2013-01-02', 1, 1, 1, 1, 1)")
        connection.exec_driver_sql("INSERT INTO ohlcv_1min VALUES ('A', '2013-01-02 14:30Z', 1, 1, 1, 1, 1)")

        assert count_refused_bars(connection, Timeframe.DAILY) == {"A": 1 + len(NO_TIMES), "B": 1}
        assert count_refused_bars(connection, Timeframe.MINUTE) == {"A": 1 + len(NO_TIMES)}
        assert count_refused_bars(connection, Timeframe.WEEKLY) == {}
        found = quarantined_dates(connection, Timeframe.DAILY, ["A", "C"])
        assert found == {"A": {date(2013, 1, 3): "high is below low"}, "C": {}}
        found = quarantined_dates(connection, Timeframe.MINUTE, ["A"])
        assert sorted(found["A"]) == [date(2013, 1, 2), date(2013, 1, 3)]


def test_stored_bars_are_looked_up_and_not_read_through(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO ohlcv_1min SELECT 'A', timestamptz '2013-01-02 14:30Z' + n * interval '1 min', 1, 1, 1, 1, 1"
            " FROM generate_series(0, 4999) n"
        )
        refuse(connection, Timeframe.MINUTE, "2013-01-02T14:30:00.000000Z", "2012-01-02T14:30:00.000000Z")
    with engine.begin() as connection:
        connection.exec_driver_sql("ANALYZE ohlcv_1min")
    with engine.begin() as connection:
        assert count_refused_bars(connection, Timeframe.MINUTE) == {"A": 1}
        n_read = sa.text("SELECT seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = 'ohlcv_1min'")
        assert connection.scalar(n_read) == 0


def test_the_same_refused_bar_is_quarantined_once(engine: sa.Engine) -> None:
    raw: dict[str, object] = {"o": float("nan"), "name": "a\x00b", "when": date(2013, 1, 2), "n": np.float64(1.5)}
    refused = RefusedBar("X", Timeframe.DAILY, "2013-01-02", "high is below low", raw)
    other = RefusedBar("X", Timeframe.DAILY, "2013-01-02", "volume is negative", raw)
    with engine.begin() as connection:
        assert record_refused(connection, [refused, refused], "sample") == 1
        assert record_refused(connection, [refused, other], "sample") == 1
        assert record_refused(connection, [refused], "another") == 1
        assert record_refused(connection, [], "sample") == 0
        stored = connection.execute(sa.text("SELECT raw FROM quarantined_bars LIMIT 1")).scalar()
    assert stored == {"o": "nan", "name": "a\ufffdb", "when": "2013-01-02", "n": 1.5}


def test_a_refused_bar_can_be_stored_whatever_is_in_it(engine: sa.Engine) -> None:
    hostile = "\ud800 \0 ä"
    raw: dict[str, object] = {
        hostile: hostile,
        "n": 10**30,
        "list": [hostile, float("inf")],
        "flag": True,
        "none": None,
    }
    with engine.begin() as connection:
        record_refused(connection, [RefusedBar("A", Timeframe.DAILY, hostile, hostile, raw)], "test")
        stored = connection.execute(sa.text("SELECT bar_time, raw FROM quarantined_bars")).one()
    assert stored.bar_time == "? \ufffd ä"
    assert stored.raw[stored.bar_time] == stored.bar_time
    assert (stored.raw["n"], stored.raw["flag"], stored.raw["none"]) == (10**30, True, None)
