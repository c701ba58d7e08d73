"""What Dagster is doing or about to do, partition by partition, so that nothing is asked for twice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import dagster as dg

# neither filter nor status is exported; reading every backfill that ever was would cost seconds
from dagster._core.execution.backfill import BulkActionsFilter, BulkActionStatus, PartitionBackfill

from tickstock_pipeline.market.partition import Partition

RANGE_START_TAG = "dagster/asset_partition_range_start"
RANGE_END_TAG = "dagster/asset_partition_range_end"
PARTITION_TAG = "dagster/partition"
_ACTIVE_RUNS = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@dataclass(frozen=True, slots=True)
class _Covered:
    first: int
    last: int
    first_year: int
    last_year: int


class UnderWay:
    """Runs and backfills that have not ended.

    Parameters
    ----------
    order : each symbol's place on the grid, in which ranges go
    """

    def __init__(self, instance: dg.DagsterInstance, order: Mapping[str, int]) -> None:
        self._order = order
        self._of_asset: dict[str, list[_Covered]] = {}
        self.runs = instance.get_runs(dg.RunsFilter(statuses=_ACTIVE_RUNS))
        for run in self.runs:
            covered = self._covered(run.tags)
            for key in run.asset_selection or () if covered is not None else ():
                self._of_asset.setdefault(key.to_user_string(), []).append(covered)  # type: ignore[arg-type]
        self._backfills: Sequence[PartitionBackfill] = instance.get_backfills(
            filters=BulkActionsFilter(statuses=[BulkActionStatus.REQUESTED])
        )

    def is_busy(self, asset: str, partition: Partition) -> bool:
        """Whether a partition of an asset is, or is about to be, materialised."""
        place = self._order.get(partition.symbol)
        if place is not None and any(
            one.first <= place <= one.last and one.first_year <= partition.year <= one.last_year
            for one in self._of_asset.get(asset, ())
        ):
            return True
        key = dg.AssetKey(asset)
        return any(_is_left(backfill, key, partition.key) for backfill in self._backfills)

    def count(self, tag: str, value: str) -> int:
        """The runs that carry a tag."""
        return sum(run.tags.get(tag) == value for run in self.runs)

    def _covered(self, tags: Mapping[str, str]) -> _Covered | None:
        start = tags.get(RANGE_START_TAG, tags.get(PARTITION_TAG))
        end = tags.get(RANGE_END_TAG, tags.get(PARTITION_TAG))
        if start is None or end is None:
            return None
        first, last = Partition.parse(start), Partition.parse(end)
        if first.symbol not in self._order or last.symbol not in self._order:
            return None
        return _Covered(self._order[first.symbol], self._order[last.symbol], first.year, last.year)


def _is_left(backfill: PartitionBackfill, asset: dg.AssetKey, key: str) -> bool:
    data = backfill.asset_backfill_data
    if data is None:
        return False
    targeted = data.target_subset.partitions_subsets_by_asset_key.get(asset)
    done = data.materialized_subset.partitions_subsets_by_asset_key.get(asset)
    return targeted is not None and key in targeted and not (done is not None and key in done)
