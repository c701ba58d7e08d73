"""Imports of three years, and what they leave in the database."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import sqlalchemy as sa

from tickstock_pipeline.batch.imports import import_bars
from tickstock_pipeline.batch.outcome import Outcome
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.base import HistoricalProvider
from tickstock_pipeline.storage.provenance import Provenance, read_provenance
from tickstock_pipeline_tests.integration.batch.array_provider import CALENDAR

FIRST, LAST = date(2019, 1, 1), date(2021, 12, 31)
YEARS = (2019, 2020, 2021)
NOW = datetime(2022, 6, 1, 12, tzinfo=UTC)


def partitions(*symbols: str, years: tuple[int, ...] = YEARS) -> list[Partition]:
    """All the years of these symbols."""
    return [Partition(symbol, year) for symbol in symbols for year in years]


def run(
    engine: sa.Engine,
    provider: HistoricalProvider,
    wanted: Sequence[Partition],
    timeframe: Timeframe = Timeframe.DAILY,
    **more: Any,
) -> list[Outcome]:
    """An import in the middle of 2022, unless ``more`` says another ``now``."""
    return import_bars(engine, provider, CALENDAR, timeframe, wanted, **({"now": NOW} | more))


def scalar(engine: sa.Engine, query: str) -> object:
    """The first value of the first row."""
    with engine.connect() as connection:
        return connection.exec_driver_sql(query).scalar()


def provenance(engine: sa.Engine, timeframe: Timeframe = Timeframe.DAILY) -> Mapping[Partition, Provenance]:
    """What is recorded of the origin of each partition's bars."""
    with engine.connect() as connection:
        return read_provenance(connection, timeframe)
