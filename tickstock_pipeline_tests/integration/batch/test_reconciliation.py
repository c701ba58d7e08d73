"""A day's live minutes against the provider's: what differs is told, and the provider's bars win."""

from dataclasses import replace
from datetime import date

import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.batch.reconciliation import reconcile_day, symbols_with_minutes
from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.bars import read_bars, write_bars
from tickstock_pipeline_tests.integration.batch.array_provider import ArrayProvider, minutes

DAY = date(2024, 3, 4)


def test_missing_extra_and_different_bars_are_counted_and_the_providers_stored(engine: sa.Engine) -> None:
    theirs = minutes("AAA", DAY, DAY)
    same = minutes("BBB", DAY, DAY, seed=1)
    live = replace(theirs, volume=theirs.volume.copy())
    live.volume[7] += 1
    live = live[np.flatnonzero((np.arange(len(live)) != 3) & (np.arange(len(live)) != 9))]
    calendar = trading_calendar()
    with engine.begin() as connection:
        write_bars(connection, [live, same], "live")
        # the day before is not looked at
        write_bars(connection, [minutes("OLD", date(2024, 3, 1), date(2024, 3, 1))], "live")
    with engine.connect() as connection:
        assert symbols_with_minutes(connection, calendar, DAY) == ["AAA", "BBB"]
    provider = ArrayProvider([theirs[np.flatnonzero(np.arange(len(theirs)) != 20)], same])

    found, equal = reconcile_day(engine, provider, calendar, DAY, ["AAA", "BBB"])

    assert equal.is_same
    assert (found.stored, found.missing, found.extra, found.different) == (388, 2, 1, 1)
    assert found.examples == (f"2024-03-04T14:37Z: volume {live.volume[6]}, provider {theirs.volume[7]}",)
    assert found.largest_pct == 0.0
    with engine.connect() as connection:
        stored = read_bars(connection, Timeframe.MINUTE, ["AAA"])["AAA"]
    assert np.array_equal(stored.time, theirs.time)
    assert np.array_equal(stored.volume, theirs.volume)
    again, _ = reconcile_day(engine, provider, calendar, DAY, ["AAA", "BBB"])
    assert (again.missing, again.extra, again.different) == (0, 1, 0)


def test_a_symbol_that_the_provider_does_not_know_is_named_and_keeps_its_bars(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        write_bars(connection, [minutes("GONE", DAY, DAY)], "live")

    (found,) = reconcile_day(engine, ArrayProvider([]), trading_calendar(), DAY, ["GONE"])

    assert found.error
    assert not found.is_same
    with engine.connect() as connection:
        assert len(read_bars(connection, Timeframe.MINUTE, ["GONE"])["GONE"]) == 390
