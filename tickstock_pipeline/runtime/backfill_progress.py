"""How far a backfill is, in Dagster's own counts."""

from dataclasses import dataclass

_RUNNING = frozenset({"REQUESTED", "CANCELING", "FAILING"})
_SUCCEEDED = frozenset({"COMPLETED", "COMPLETED_SUCCESS"})


@dataclass(frozen=True)
class AssetProgress:
    """Partitions of one asset in a backfill, counted by Dagster."""

    asset: str
    targeted: int
    in_progress: int
    materialized: int
    failed: int


@dataclass(frozen=True)
class BackfillProgress:
    """A backfill as Dagster sees it now."""

    backfill_id: str
    status: str
    error: str
    assets: tuple[AssetProgress, ...]

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen."""
        return self.status not in _RUNNING

    @property
    def has_succeeded(self) -> bool:
        """Whether every partition was materialised."""
        return self.status in _SUCCEEDED and not self.failed

    @property
    def targeted(self) -> int:
        """Partitions asked for, over all assets."""
        return sum(asset.targeted for asset in self.assets)

    @property
    def materialized(self) -> int:
        """Partitions done, over all assets."""
        return sum(asset.materialized for asset in self.assets)

    @property
    def failed(self) -> int:
        """Partitions that failed or whose input failed, over all assets."""
        return sum(asset.failed for asset in self.assets)
