"""The grid and what each asset's partitions need of its inputs', asked of Dagster itself."""

import dagster as dg
import pytest

from tickstock_pipeline.defs.partitions import Grid, roll_up_mapping, warm_up_mapping
from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.timeframe import Timeframe

GRID = Grid.starting(2000).definition


def needed(mapping: dg.PartitionMapping, key: str) -> list[str]:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("symbols", ["AAPL", "MSFT"])
        subset = GRID.subset_with_partition_keys([key])
        with dg._core.definitions.partitions.context.partition_loading_context(dynamic_partitions_store=instance):
            result = mapping.get_upstream_mapped_partitions_result_for_partitions(subset, GRID, GRID)
            return sorted(result.partitions_subset.get_partition_keys())


def test_the_grid_has_every_year_up_to_the_current_one():
    years = GRID.get_partitions_def_for_dimension("year").get_partition_keys()

    assert years[0] == "2000"
    assert years[-1] == str(trading_calendar().last.astype("datetime64[Y]").astype(int) + 1970 - 1)


@pytest.mark.parametrize(
    ("timeframe", "years"),
    [(Timeframe.HOURLY, 0), (Timeframe.DAILY, 0), (Timeframe.WEEKLY, 1), (Timeframe.MONTHLY, 0)],
)
def test_a_roll_up_needs_its_year_and_a_week_the_one_before(timeframe, years):
    assert needed(roll_up_mapping(timeframe), "AAPL|2010") == [f"AAPL|{year}" for year in range(2010 - years, 2011)]


@pytest.mark.parametrize("timeframe", list(Timeframe))
def test_an_analysis_needs_every_year_that_its_anchor_reaches_into(timeframe):
    anchor = trading_calendar().anchor(timeframe, 2015)
    first = 2000 if anchor is None else anchor.astype("datetime64[Y]").astype(int) + 1970

    keys = needed(warm_up_mapping(timeframe), "MSFT|2015")

    assert set(keys) >= {f"MSFT|{year}" for year in range(first, 2016)}
    assert {key.partition("|")[0] for key in keys} == {"MSFT"}


def test_the_first_years_need_what_there_is():
    assert needed(warm_up_mapping(Timeframe.DAILY), "AAPL|2001") == ["AAPL|2000", "AAPL|2001"]
