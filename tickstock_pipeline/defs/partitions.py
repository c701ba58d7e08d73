"""The partition grid and the mappings between assets, in Dagster's terms.

One grid for every asset, so that a backfill needs no translation between periods. The mappings say what is true, so
that Dagster itself runs bars before what is computed from them.
"""

from dataclasses import dataclass

import dagster as dg

from tickstock_pipeline.market.timeframe import Timeframe

SYMBOLS = dg.DynamicPartitionsDefinition(name="symbols")

# How many earlier years each analysis reads: its anchor lies this far back (``TradingCalendar.anchor``).
# 2,600 sessions are ten and a half years; 400 sessions and 8 sessions reach into the year before or the one before
# that; a weekly or monthly series is fed from the symbol's first bar, so it needs every year of the grid.
_EVERY_YEAR = 200
_WARM_UP_YEARS = {
    Timeframe.MINUTE: 1,
    Timeframe.HOURLY: 2,
    Timeframe.DAILY: 11,
    Timeframe.WEEKLY: _EVERY_YEAR,
    Timeframe.MONTHLY: _EVERY_YEAR,
}
# The first week of a year may begin in the year before.
_ROLL_UP_YEARS = {Timeframe.HOURLY: 0, Timeframe.DAILY: 0, Timeframe.WEEKLY: 1, Timeframe.MONTHLY: 0}


@dataclass(frozen=True)
class Grid:
    """Symbol by year, keys ``AAPL|2013``."""

    definition: dg.MultiPartitionsDefinition

    @classmethod
    def starting(cls, first_year: int) -> "Grid":
        """A grid whose years begin with ``first_year`` and include the current one."""
        years = dg.TimeWindowPartitionsDefinition(
            cron_schedule="0 0 1 1 *", fmt="%Y", start=str(first_year), end_offset=1
        )
        return cls(dg.MultiPartitionsDefinition({"symbol": SYMBOLS, "year": years}))


def roll_up_mapping(timeframe: Timeframe) -> dg.PartitionMapping:
    """Which of the finer bars' partitions a roll-up into ``timeframe`` reads."""
    return _same_symbol_and_earlier_years(_ROLL_UP_YEARS[timeframe])


def warm_up_mapping(timeframe: Timeframe) -> dg.PartitionMapping:
    """Which partitions of the bars an analysis of ``timeframe`` reads."""
    return _same_symbol_and_earlier_years(_WARM_UP_YEARS[timeframe])


def _same_symbol_and_earlier_years(years: int) -> dg.PartitionMapping:
    return dg.MultiPartitionMapping(
        {
            "symbol": dg.DimensionPartitionMapping("symbol", dg.IdentityPartitionMapping()),
            "year": dg.DimensionPartitionMapping(
                "year",
                dg.TimeWindowPartitionMapping(start_offset=-years, allow_nonexistent_upstream_partitions=True),
            ),
        }
    )
