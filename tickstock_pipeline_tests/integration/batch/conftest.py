"""The whole path without Dagster: import, roll up, analyse."""

from collections.abc import Callable, Sequence

import pytest
import sqlalchemy as sa

from tickstock_pipeline.batch.analysis import analyse_partitions
from tickstock_pipeline.batch.imports import import_bars
from tickstock_pipeline.batch.outcome import Outcome
from tickstock_pipeline.batch.roll_ups import roll_up_bars
from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.base import HistoricalProvider
from tickstock_pipeline.providers.sample import SampleProvider

ANALYSED = (Timeframe.DAILY, Timeframe.WEEKLY, Timeframe.MONTHLY)

RunAll = Callable[[sa.Engine, HistoricalProvider, Sequence[Partition]], dict[str, list[Outcome]]]


@pytest.fixture
def run_all() -> RunAll:
    """Import, roll up and analyse partitions, in this order, in this process."""

    def run(
        engine: sa.Engine, provider: HistoricalProvider, partitions: Sequence[Partition]
    ) -> dict[str, list[Outcome]]:
        calendar = trading_calendar()
        outcomes = {"ohlcv_daily": import_bars(engine, provider, calendar, Timeframe.DAILY, partitions)}
        for into in (Timeframe.WEEKLY, Timeframe.MONTHLY):
            outcomes[f"ohlcv_{into}"] = roll_up_bars(engine, calendar, into, partitions)
        for timeframe in ANALYSED:
            outcomes[f"analysis_{timeframe}"] = analyse_partitions(engine, calendar, timeframe, partitions)
        return outcomes

    return run


@pytest.fixture
def sample_partitions() -> list[Partition]:
    """Every symbol and year of the packaged sample."""
    return [
        Partition(listing.symbol, year)
        for listing in SampleProvider(None).catalogue()
        for year in range(listing.first.year, listing.last.year + 1)
    ]
