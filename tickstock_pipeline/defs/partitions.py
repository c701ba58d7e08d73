"""The partition grid and the mappings between assets, in Dagster's terms.

One grid for every asset, so that a backfill needs no translation between periods. The mappings say what is true, so
that Dagster itself runs bars before what is computed from them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from weakref import WeakKeyDictionary

import dagster as dg

from tickstock_pipeline.market.timeframe import Timeframe

_Keys = Sequence[dg.MultiPartitionKey]

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
        return cls(_SymbolsByYears({"symbol": SYMBOLS, "year": years}))


class _SymbolsByYears(dg.MultiPartitionsDefinition):
    """The grid, remembering what it has said of a range.

    Dagster (1.13) asks for the whole range of a run again for each partition that gets metadata, and each answer reads
    the symbols over several new connections: three quarters of the time of a run of 500 partitions. The answer is
    always the same, since symbols are neither removed nor put between others.
    """

    def __init__(self, partitions_defs: Mapping[str, dg.PartitionsDefinition]) -> None:
        super().__init__(partitions_defs)
        # of the store asked: one process may know several instances
        self._ranges: WeakKeyDictionary[object, dict[dg.PartitionKeyRange, _Keys]] = WeakKeyDictionary()

    def get_partition_keys_in_range(
        self,
        partition_key_range: dg.PartitionKeyRange,
        dynamic_partitions_store: Any = None,
    ) -> _Keys:
        with dg.partition_loading_context(dynamic_partitions_store=dynamic_partitions_store) as loading:
            if loading.dynamic_partitions_store is None:
                return cast(_Keys, super().get_partition_keys_in_range(partition_key_range))
            known = self._ranges.setdefault(loading.dynamic_partitions_store, {})
            if partition_key_range not in known:
                known.clear()  # a run has one range; a server must not keep those of all runs
                known[partition_key_range] = cast(_Keys, super().get_partition_keys_in_range(partition_key_range))
            return known[partition_key_range]


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
