"""Assets of bars: imported from a provider, or rolled up from finer ones.

A run may belong to a job, which wants to know of each symbol and may be cancelled meanwhile. What follows the job is
handed in (``tracker_of``), so that these assets do not know what a job is.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

import dagster as dg

from tickstock_pipeline.batch.assets import bars_asset
from tickstock_pipeline.batch.days import import_days
from tickstock_pipeline.batch.imports import Following, import_bars
from tickstock_pipeline.batch.outcome import Outcome, Status
from tickstock_pipeline.batch.quality import held_back
from tickstock_pipeline.batch.roll_ups import roll_up_bars
from tickstock_pipeline.defs.evaluations import evaluate_planned
from tickstock_pipeline.defs.explanations import BAR_COLUMNS, VALUES, column_lineage, column_schema
from tickstock_pipeline.defs.partitions import Grid, roll_up_mapping
from tickstock_pipeline.defs.reporting import Metadata, backfill_policy, report, requested_partitions
from tickstock_pipeline.defs.resources import Database, Market
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.ingestion import record_imported
from tickstock_pipeline.storage.tables import BARS, key_column

GROUP = "bars"
IMPORT_DEPTH = {Timeframe.MINUTE: 0, Timeframe.DAILY: 1}
ROLL_UP_DEPTH = {Timeframe.HOURLY: 1, Timeframe.WEEKLY: 2, Timeframe.MONTHLY: 2}

_KEYED_BY = {
    Timeframe.MINUTE: "the instant at which the interval starts, in UTC",
    Timeframe.HOURLY: "the instant at which the interval starts, in UTC, on the hour of the exchange's clock",
    Timeframe.DAILY: "the session's date",
    Timeframe.WEEKLY: "the last session of the ISO week",
    Timeframe.MONTHLY: "the last session of the month",
}


def bar_asset_key(timeframe: Timeframe) -> dg.AssetKey:
    """The asset of a timeframe's bars."""
    return dg.AssetKey(bars_asset(timeframe))


class ImportTracker(Protocol):
    """Whoever follows a run; see :func:`tickstock_pipeline.batch.imports.import_bars`."""

    @property
    def fresh_since(self) -> datetime | None:
        """What was fetched since then is not fetched again."""
        ...

    def should_stop(self) -> bool:
        """Whether the run's work is no longer wanted."""
        ...

    def on_symbol(self, symbol: str, outcomes: Sequence[Outcome]) -> None:
        """All of a symbol's partitions are done."""
        ...

    def on_all(self, outcomes: Sequence[Outcome]) -> None:
        """These partitions are done."""
        ...


TrackerOf = Callable[[dg.AssetExecutionContext], ImportTracker | None]


def nobody(_: dg.AssetExecutionContext) -> ImportTracker | None:
    """Nobody follows any run."""
    return None


def bar_assets(grid: Grid, *, tracker_of: TrackerOf = nobody, pool: str | None = None) -> list[dg.AssetsDefinition]:
    """The five bar assets on ``grid``.

    Parameters
    ----------
    tracker_of : who follows a run; None if nobody does
    pool : the concurrency pool of runs that send requests to the provider; None: as many as there may be runs
    """
    imported = [_import_asset(grid, timeframe, depth, tracker_of, pool) for timeframe, depth in IMPORT_DEPTH.items()]
    rolled_up = [_roll_up_asset(grid, timeframe, depth, tracker_of) for timeframe, depth in ROLL_UP_DEPTH.items()]
    return imported + rolled_up


def _import_asset(
    grid: Grid, timeframe: Timeframe, depth: int, tracker_of: TrackerOf, pool: str | None
) -> dg.AssetsDefinition:
    description = (
        f"Bars ({timeframe}) imported from the provider, as traded. Keyed by {_KEYED_BY[timeframe]}. Materialising "
        "imports the chosen symbols and years, or imports them again: only what differs is written. A bar that breaks "
        "a rule goes to table `quarantined_bars` with its reason."
    )
    if timeframe is Timeframe.DAILY:
        description += " A session without a bar of the provider's is filled from its minutes, where they are stored."
    description += _links(timeframe)

    @dg.multi_asset(
        name=f"import_{timeframe}",
        specs=[_spec(timeframe, description)],
        partitions_def=grid.definition,
        backfill_policy=backfill_policy(depth),
        pool=pool,
    )
    def import_asset(context: dg.AssetExecutionContext, database: Database, market: Market) -> None:
        tracker = tracker_of(context)
        following: Following = (
            {}
            if tracker is None
            else {
                "fresh_since": tracker.fresh_since,
                "on_symbol": tracker.on_symbol,
                "should_stop": tracker.should_stop,
            }
        )

        def work(partitions: Sequence[Partition]) -> list[Outcome]:
            if timeframe is Timeframe.DAILY:
                outcomes = import_days(database.engine, market.provider, market.calendar, partitions, **following)
            else:
                outcomes = import_bars(
                    database.engine, market.provider, market.calendar, timeframe, partitions, **following
                )
            if tracker is not None:
                # publishes what the last symbols have changed
                tracker.on_all(outcomes)
            return outcomes

        _materialize(context, database, market, timeframe, work)

    return import_asset


def _roll_up_asset(grid: Grid, timeframe: Timeframe, depth: int, tracker_of: TrackerOf) -> dg.AssetsDefinition:
    description = (
        f"Bars ({timeframe}) made from {timeframe.derived_from} bars. Keyed by {_KEYED_BY[timeframe]}. Open is the "
        "first one's, high the highest, low the lowest, close the last one's, volume the sum. A bar is written when "
        "its period has ended. A partition whose finer bars have not changed since is left alone." + _links(timeframe)
    )

    @dg.multi_asset(
        name=f"roll_up_{timeframe}",
        specs=[_spec(timeframe, description)],
        partitions_def=grid.definition,
        backfill_policy=backfill_policy(depth),
    )
    def roll_up_asset(context: dg.AssetExecutionContext, database: Database, market: Market) -> None:
        def work(partitions: Sequence[Partition]) -> list[Outcome]:
            outcomes = roll_up_bars(database.engine, market.calendar, timeframe, partitions)
            tracker = tracker_of(context)
            if tracker is not None:
                tracker.on_all(outcomes)
            return outcomes

        _materialize(context, database, market, timeframe, work)

    return roll_up_asset


def _links(timeframe: Timeframe) -> str:
    checks = f"/assets/{bars_asset(timeframe)}?view=checks&checkDetail="
    return (
        f"\n\nWhat is missing: check [completeness]({checks}completeness). What is late: check "
        f"[freshness]({checks}freshness)."
    )


def _spec(timeframe: Timeframe, description: str) -> dg.AssetSpec:
    table, key = BARS[timeframe], key_column(timeframe).name
    metadata: dict[str, object] = {
        "dagster/table_name": f"public.{table.name}",
        "dagster/column_schema": column_schema(table, {**BAR_COLUMNS, key: _KEYED_BY[timeframe].capitalize()}),
    }
    deps = []
    if timeframe.derived_from is not None:
        source = bar_asset_key(timeframe.derived_from)
        deps.append(dg.AssetDep(source, partition_mapping=roll_up_mapping(timeframe)))
        used = {"symbol": ["symbol"], key: [key_column(timeframe.derived_from).name]}
        metadata["dagster/column_lineage"] = column_lineage(source, used | {name: [name] for name in VALUES})
    return dg.AssetSpec(
        bar_asset_key(timeframe),
        deps=deps,
        description=description,
        group_name=GROUP,
        kinds={"postgres"},
        owners=["team:market-data"],
        tags={"timeframe": timeframe.value},
        metadata=metadata,
    )


def _materialize(
    context: dg.AssetExecutionContext,
    database: Database,
    market: Market,
    timeframe: Timeframe,
    work: Callable[[Sequence[Partition]], list[Outcome]],
) -> None:
    key = bar_asset_key(timeframe)
    partitions = requested_partitions(context)
    outcomes = work(partitions)
    with database.engine.begin() as connection:
        # what Dagster takes as failed keeps exactly its own downstream partitions from running: see decisions/0009
        outcomes = held_back(connection, timeframe, outcomes)
        # Dagster knows of them by this run, so nobody has to tell it
        record_imported(
            connection,
            timeframe,
            [(outcome.partition, outcome.revision) for outcome in outcomes if outcome.revision is not None],
        )
    written = sum(outcome.status is Status.WRITTEN for outcome in outcomes)
    context.log.info(f"{key.to_user_string()}: {written} of {len(partitions)} partitions changed")
    report(
        context,
        [key],
        outcomes,
        lambda _, outcome: _metadata(outcome),
        lambda: evaluate_planned(context, database, market),
    )


def _metadata(outcome: Outcome) -> Metadata:
    return {"result": outcome.status.value, **outcome.facts}
