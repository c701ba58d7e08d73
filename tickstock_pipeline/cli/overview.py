"""What the database holds, asked once for ``tickstock status`` and ``tickstock doctor``."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.batch.missing import missing_by_timeframe
from tickstock_pipeline.errors import DefinitionError
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage import activity
from tickstock_pipeline.storage.counts import row_counts
from tickstock_pipeline.storage.coverage import MissingAnalysis
from tickstock_pipeline.storage.quality import series_extents


@dataclass(frozen=True, slots=True)
class TimeframeCoverage:
    """What is stored of a timeframe, and how much of it has no analysis that holds.

    Attributes
    ----------
    first, last : dates (UTC) of the first and last bar, ``YYYY-MM-DD``; None where there is no bar
    bars_without_analysis, stale_partitions : of symbol and year, by the ledger; None where the enabled definitions
        cannot run together, which ``problem`` explains
    """

    timeframe: str
    symbols: int
    bars: int
    first: str | None
    last: str | None
    bars_without_analysis: int | None
    stale_partitions: int | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Overview:
    """The whole database in numbers."""

    rows: Mapping[str, int]
    coverage: list[TimeframeCoverage]
    quarantined: list[activity.RefusedCount]
    imports: activity.ImportSummary
    failed_imports: list[activity.FailedImport]
    events: list[activity.IntegrationEvent]


def read_overview(connection: sa.Connection) -> Overview:
    """Everything that is counted; the schema must be this program's."""
    return Overview(
        rows=row_counts(connection),
        coverage=read_coverage(connection),
        quarantined=activity.refused_counts(connection),
        imports=activity.import_summary(connection),
        failed_imports=activity.failed_imports(connection),
        events=activity.latest_events(connection),
    )


def read_coverage(connection: sa.Connection) -> list[TimeframeCoverage]:
    """All timeframes, the finest first."""
    return [
        _coverage(connection, timeframe, missing) for timeframe, missing in missing_by_timeframe(connection).items()
    ]


def _coverage(
    connection: sa.Connection, timeframe: Timeframe, missing: MissingAnalysis | DefinitionError
) -> TimeframeCoverage:
    extents = series_extents(connection, timeframe)
    bars = sum(count for count, _, _ in extents.values())
    first = _date(min(start for _, start, _ in extents.values())) if extents else None
    last = _date(max(end for _, _, end in extents.values())) if extents else None
    if isinstance(missing, DefinitionError):
        return TimeframeCoverage(timeframe, len(extents), bars, first, last, None, None, missing.message)
    return TimeframeCoverage(timeframe, len(extents), bars, first, last, missing.bars, missing.partitions)


def _date(time: np.datetime64) -> str:
    return str(time.astype("datetime64[D]"))
