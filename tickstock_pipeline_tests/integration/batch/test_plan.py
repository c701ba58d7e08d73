"""What a backfill has to do where the provider lists nothing: only what somebody asked for before."""

from datetime import UTC, date, datetime

import pytest
import sqlalchemy as sa

from tickstock_pipeline.batch.analysis import analyse_partitions
from tickstock_pipeline.batch.days import import_days
from tickstock_pipeline.batch.imports import import_bars
from tickstock_pipeline.batch.plan import stale_targets
from tickstock_pipeline.batch.roll_ups import roll_up_bars
from tickstock_pipeline.errors import ProviderUnavailableError
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.bars import write_bars
from tickstock_pipeline.storage.symbols import add_symbols, set_active
from tickstock_pipeline_tests.integration.batch.array_provider import CALENDAR, ArrayProvider, days, minutes

FIRST, LAST = date(2019, 1, 1), date(2020, 12, 31)
A, B = [Partition("A", 2019), Partition("A", 2020)], [Partition("B", 2020)]


@pytest.fixture
def provider() -> ArrayProvider:
    return ArrayProvider(
        [days("A", FIRST, LAST), days("B", FIRST, LAST), minutes("B", date(2020, 3, 2), date(2020, 3, 6))]
    )


def store(engine: sa.Engine, bars: Bars) -> None:
    with engine.begin() as connection:
        write_bars(connection, [bars], "live")


def targets(engine: sa.Engine, provider: ArrayProvider, first_year: int = 2000) -> dict[str, list[Partition]]:
    with engine.connect() as connection:
        found = stale_targets(connection, provider, CALENDAR, first_year)
    return {asset: partitions for asset, partitions in found.items() if partitions}


def test_symbols_that_nobody_asked_bars_of_have_nothing_to_do(engine, provider):
    with engine.begin() as connection:
        add_symbols(connection, ["A", "B"])

    assert targets(engine, provider) == {}


def test_what_was_imported_is_complete_and_what_failed_is_missing(engine, provider):
    import_days(engine, provider, CALENDAR, [*A, *B])
    assert targets(engine, provider) == {}

    provider.before_answer = lambda symbol: (_ for _ in ()).throw(ProviderUnavailableError("503"))
    import_days(engine, provider, CALENDAR, A)
    assert targets(engine, provider) == {"ohlcv_daily": A}
    assert targets(engine, provider, first_year=2020) == {"ohlcv_daily": [A[1]]}
    with engine.begin() as connection:
        set_active(connection, ["A"], False)
    assert targets(engine, provider) == {}


def test_an_import_that_lags_takes_along_what_was_derived_and_analysed_before_and_no_more(engine, provider):
    mid_year = datetime(2020, 7, 1, tzinfo=UTC)
    for partitions in (A, B):
        import_days(engine, provider, CALENDAR, partitions, now=mid_year)
    roll_up_bars(engine, CALENDAR, Timeframe.WEEKLY, A, now=mid_year)
    analyse_partitions(engine, CALENDAR, Timeframe.DAILY, A)

    assert targets(engine, provider) == {
        "ohlcv_daily": [A[1], *B],
        "ohlcv_weekly": [A[1]],
        "indicators_daily": [A[1]],
        "patterns_daily": [A[1]],
    }


def test_corrected_minutes_make_stale_the_hours_and_days_that_were_made_of_them(engine, provider):
    import_bars(engine, provider, CALENDAR, Timeframe.MINUTE, B)
    roll_up_bars(engine, CALENDAR, Timeframe.HOURLY, B)
    roll_up_bars(engine, CALENDAR, Timeframe.DAILY, B)
    roll_up_bars(engine, CALENDAR, Timeframe.MONTHLY, B)
    assert targets(engine, provider) == {}

    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE ohlcv_1min SET volume = volume + 1 WHERE timestamp = '2020-03-04 15:00Z'")
    assert targets(engine, provider) == {"ohlcv_hourly": B, "ohlcv_daily": B, "ohlcv_monthly": B}


def test_live_minutes_of_days_that_the_provider_gave_leave_nothing_to_do(engine, provider):
    import_days(engine, provider, CALENDAR, B)
    store(engine, provider.series["B", Timeframe.MINUTE])

    assert targets(engine, provider) == {}

    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM ohlcv_daily WHERE date = '2020-03-04'")
    assert targets(engine, provider) == {"ohlcv_daily": B}
    import_days(engine, provider, CALENDAR, B, fresh_since=datetime(2020, 1, 1, tzinfo=UTC))
    assert targets(engine, provider) == {}
    # a day that was made of minutes follows them
    store(engine, minutes("B", date(2020, 3, 4), date(2020, 3, 4), seed=1))
    assert targets(engine, provider) == {"ohlcv_daily": B}
