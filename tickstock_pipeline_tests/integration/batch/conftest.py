"""Synthetic universes as files for provider `sample`, and the whole path over them without Dagster."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
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
from tickstock_pipeline.storage.engine import create_engine

ANALYSED = (Timeframe.DAILY, Timeframe.WEEKLY, Timeframe.MONTHLY)

WriteUniverse = Callable[..., Path]
RunAll = Callable[[sa.Engine, HistoricalProvider, Sequence[Partition]], dict[str, list[Outcome]]]


@pytest.fixture
def write_universe(tmp_path: Path) -> WriteUniverse:
    """Write seeded random walks of ``symbols`` over ``years``, rounded to cents, as a sample file."""

    def write(symbols: Sequence[str], years: range, *, name: str = "universe.csv") -> Path:
        sessions = trading_calendar().sessions(np.datetime64(f"{years[0]}-01-01"), np.datetime64(f"{years[-1]}-12-31"))
        frames = []
        for seed, symbol in enumerate(symbols):
            random = np.random.default_rng(seed)
            close = np.round(50 * np.exp(np.cumsum(random.normal(0, 0.02, len(sessions)))), 2)
            open_ = np.round(close * np.exp(random.normal(0, 0.01, len(sessions))), 2)
            spread = np.round(np.abs(random.normal(0, 0.5, (2, len(sessions)))), 2)
            frames.append(
                pd.DataFrame(
                    {
                        "ticker": symbol,
                        "date": np.datetime_as_string(sessions),
                        "open": open_,
                        "high": np.round(np.maximum(open_, close) + spread[0], 2),
                        "low": np.round(np.minimum(open_, close) / (1 + spread[1] / 50), 2),
                        "close": close,
                        "volume": random.integers(1_000, 1_000_000, len(sessions)),
                    }
                )
            )
        path = tmp_path / name
        pd.concat(frames).to_csv(path, index=False)
        return path

    return write


@pytest.fixture
def empty_copy(second_database_url: str) -> Iterator[sa.Engine]:
    """Another migrated database, to compare with."""
    engine = create_engine(second_database_url)
    try:
        yield engine
    finally:
        engine.dispose()


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
