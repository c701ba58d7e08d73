"""Freshness by the exchange's sessions: what is not traded cannot be missing."""

from datetime import UTC, date, datetime

import numpy as np
import pytest
import sqlalchemy as sa

from tickstock_pipeline.batch.freshness import expected_bar, freshness
from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.sample import SampleProvider


# sessions, half days and period ends as the exchange published them for 2013
@pytest.mark.parametrize(
    ("timeframe", "day", "expected"),
    [
        (Timeframe.DAILY, date(2013, 11, 28), "2013-11-27"),  # Thanksgiving
        (Timeframe.DAILY, date(2013, 11, 30), "2013-11-29"),  # Saturday
        (Timeframe.WEEKLY, date(2013, 3, 28), "2013-03-28"),  # the week ends before Good Friday
        (Timeframe.WEEKLY, date(2013, 3, 27), "2013-03-22"),
        (Timeframe.MONTHLY, date(2013, 12, 30), "2013-11-29"),
        (Timeframe.MONTHLY, date(2013, 12, 31), "2013-12-31"),
        (Timeframe.MINUTE, date(2013, 7, 4), "2013-07-03T13:30"),
        (Timeframe.HOURLY, date(2013, 1, 2), "2013-01-02T14:00"),
    ],
)
def test_the_newest_bar_that_there_can_be(timeframe: Timeframe, day: date, expected: str) -> None:
    assert expected_bar(trading_calendar(), timeframe, day) == np.datetime64(expected)


def test_symbols_behind_are_named_and_inactive_ones_left_out(engine: sa.Engine, write_universe) -> None:
    provider = SampleProvider(write_universe(["AAA", "BBB", "OFF"], range(2013, 2014)))
    days = {"AAA": "2013-11-29", "BBB": "2013-11-27", "OFF": "2013-01-02"}
    with engine.begin() as connection:
        for symbol, day in days.items():
            connection.execute(
                sa.text("INSERT INTO symbols (symbol, active) VALUES (:s, :active)"),
                {"s": symbol, "active": symbol != "OFF"},
            )
            connection.execute(
                sa.text("INSERT INTO ohlcv_daily VALUES (:s, :d, 10, 12, 9, 11, 1)"), {"s": symbol, "d": day}
            )
        # half an hour after the early close at 13:00 in New York
        now = datetime(2013, 11, 29, 18, 30, tzinfo=UTC)
        found = freshness(connection, provider, trading_calendar(), Timeframe.DAILY, now)

    assert found.expected == np.datetime64("2013-11-29")
    assert found.n_symbols == 2
    assert dict(found.behind) == {"BBB": np.datetime64("2013-11-27")}
