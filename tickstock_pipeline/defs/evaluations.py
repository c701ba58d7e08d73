"""What each asset check finds in its table as it is now, whoever asks: a check's own step, or a run that fails.

A check's one result stands for the whole asset, so each judges the whole table; the ledger makes that cheap.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import dagster as dg
import numpy as np

# not exported; without it the UI takes a check as not evaluated if another run materialised since this one was planned
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)

from tickstock_pipeline.batch.analysis import stale_partitions
from tickstock_pipeline.batch.assets import bars_asset, patterns_asset
from tickstock_pipeline.batch.completeness import completeness, totals
from tickstock_pipeline.batch.freshness import freshness
from tickstock_pipeline.batch.missing import by_year
from tickstock_pipeline.batch.quality import sanity
from tickstock_pipeline.batch.standing import Standing
from tickstock_pipeline.defs.resources import Database, Market
from tickstock_pipeline.defs.under_way import PARTITION_TAG, RANGE_START_TAG
from tickstock_pipeline.errors import TickstockError
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.analysis_failures import read_failures

OHLC_SANITY = "ohlc_sanity"
COMPLETENESS = "completeness"
FRESHNESS = "freshness"
UP_TO_DATE = "up_to_date"

_ROWS_SHOWN = 100
_GAPS_OF_A_SYMBOL = 5


@dataclass(frozen=True)
class Judged:
    """The table that a check judges, and the run that wants to know; ``partitions`` None: no run over any."""

    database: Database
    market: Market
    timeframe: Timeframe
    partitions: Collection[Partition] | None


Judge = Callable[[Judged], dg.AssetCheckResult]


def evaluate_planned(
    context: dg.AssetExecutionContext, database: Database, market: Market
) -> Iterator[dg.AssetCheckEvaluation]:
    """Evaluate what the run was to check after its assets; for a run that fails, and so never comes to it.

    Dagster (1.13) takes a check that a failed run has planned and not evaluated as failed itself.
    """
    planned = {
        entry.get_dagster_event().asset_check_planned_data.asset_check_key
        for entry in context.instance.all_logs(
            context.run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED
        )
    }
    for (asset, name), (timeframe, judge) in _JUDGES.items():
        key = dg.AssetCheckKey(dg.AssetKey(asset), name)
        if key not in planned:
            continue
        try:
            found = judge(Judged(database, market, timeframe, partitions_of(context)))
        except TickstockError as error:
            # the run is about to say what is wrong with it, which must not be lost over this
            context.log.warning(f"Check {key.to_user_string()} could not be evaluated: {error.message}")
        else:
            yield dg.AssetCheckEvaluation(
                key.asset_key,
                name,
                found.passed,
                metadata=found.metadata,
                target_materialization_data=_newest_materialisation(context.instance, key.asset_key),
                severity=found.severity,
                description=found.description,
            )


def _newest_materialisation(
    instance: dg.DagsterInstance, asset: dg.AssetKey
) -> AssetCheckEvaluationTargetMaterializationData | None:
    for newest in instance.fetch_materializations(asset, limit=1).records:
        return AssetCheckEvaluationTargetMaterializationData(
            storage_id=newest.storage_id, run_id=newest.run_id, timestamp=newest.timestamp
        )
    return None


def partitions_of(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> list[Partition] | None:
    """The partitions of a run; None if it has none, as when a check is executed by itself."""
    if not context.run.tags.keys() & {RANGE_START_TAG, PARTITION_TAG}:
        return None
    return [Partition.parse(key) for key in context.partition_keys]


def judge_sanity(of: Judged) -> dg.AssetCheckResult:
    """Do all bars obey the rules?"""
    with of.database.engine.connect() as connection:
        found = sanity(connection, of.timeframe)
    is_enforced = not found.unenforced
    insane = sum(found.insane.values())
    words = (
        f"{insane} bars break a rule; not enforced: {', '.join(found.unenforced)}"
        if not is_enforced
        else f"{sum(found.refused.values())} bars of {len(found.refused)} symbols are in quarantine"
        if found.refused
        else "Every bar obeys the rules, and PostgreSQL enforces them."
    )
    return dg.AssetCheckResult(
        passed=is_enforced and not found.refused,
        severity=dg.AssetCheckSeverity.ERROR if _concerns(found.insane, of.partitions) else dg.AssetCheckSeverity.WARN,
        description=words,
        metadata={
            "bars_that_break_a_rule": dg.MetadataValue.json(
                {one.key: count for one, count in list(found.insane.items())[:_ROWS_SHOWN]}
            ),
            "bars_in_quarantine": sum(found.refused.values()),
            "quarantine_by_symbol": dg.MetadataValue.json(dict(list(found.refused.items())[:_ROWS_SHOWN])),
        },
    )


def judge_completeness(of: Judged) -> dg.AssetCheckResult:
    """Are all bars there that the provider has?"""
    with of.database.engine.connect() as connection:
        found = completeness(connection, of.market.calendar, of.timeframe)
    lacking = [one for one in found if one.gaps]
    counts = totals(found)
    missing = ", ".join(
        f"{count} {standing}" for standing, count in counts.items() if count and standing is not Standing.COMPLETE
    )
    unit = "sessions" if of.timeframe in (Timeframe.MINUTE, Timeframe.DAILY) else "years"
    partitions = [
        f"{one.symbol}|{year}"
        for one in lacking
        for year in sorted(
            # what the provider does not have is a gap, and asking again would not close it
            {year for gap in one.gaps if gap.can_be_imported for year in range(gap.first.year, gap.last.year + 1)}
        )
    ]
    return dg.AssetCheckResult(
        passed=not lacking,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"Of {sum(counts.values())} {unit}: {missing}; gaps in {len(lacking)} symbols."
        if lacking
        else f"No gap in {counts[Standing.COMPLETE]} {unit} of {len(found)} symbols.",
        metadata={
            **{f"{unit} {standing}": count for standing, count in counts.items()},
            "partitions_with_gaps": dg.MetadataValue.json(partitions[:_ROWS_SHOWN]),
            "gaps": dg.MetadataValue.json(
                {one.symbol: [gap.describe() for gap in one.gaps[:_GAPS_OF_A_SYMBOL]] for one in lacking[:_ROWS_SHOWN]}
            ),
        },
    )


def judge_freshness(of: Judged) -> dg.AssetCheckResult:
    """Are the newest bars there?"""
    with of.database.engine.connect() as connection:
        found = freshness(connection, of.market.provider, of.market.calendar, of.timeframe, datetime.now(UTC))
    unit: Literal["m", "D"] = "m" if of.timeframe.is_intraday else "D"
    expected = str(np.datetime_as_string(found.expected, unit=unit))
    behind = {
        symbol: str(np.datetime_as_string(last, unit=unit))
        for symbol, last in sorted(found.behind.items(), key=lambda item: (item[1], item[0]))[:_ROWS_SHOWN]
    }
    return dg.AssetCheckResult(
        passed=not found.behind,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{len(found.behind)} of {found.n_symbols} symbols have no bar of {expected}."
        if found.behind
        else f"{found.n_symbols} symbols are up to {expected}, or to their last day.",
        metadata={
            "expected": expected,
            "symbols_behind": len(found.behind),
            "newest_bars": dg.MetadataValue.json(behind),
        },
    )


def judge_staleness(of: Judged) -> dg.AssetCheckResult:
    """Is every bar analysed?"""
    with of.database.engine.connect() as connection:
        stale = stale_partitions(connection, of.timeframe)
        failures = read_failures(connection, of.timeframe)
    failed = {partition.key: failure.error for partition, failure in failures.items()}
    bars = sum(partition.bars for partition in stale)
    shown = {f"{partition.symbol}|{partition.year}": partition.bars for partition in stale[:_ROWS_SHOWN]}
    return dg.AssetCheckResult(
        passed=not stale,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{bars} bars in {len(stale)} partitions have no analysis that holds."
        if stale
        else "Every bar is analysed.",
        metadata={
            "bars_without_analysis": bars,
            "partitions_without_analysis": len(stale),
            "by_year": dg.MetadataValue.json(by_year(stale)),
            "stale_partitions": dg.MetadataValue.json(shown),
            "failed": dg.MetadataValue.json(dict(list(failed.items())[:_ROWS_SHOWN])),
        },
    )


def _concerns(insane: Collection[Partition], partitions: Collection[Partition] | None) -> bool:
    """Whether what is wrong concerns a run: a symbol must not wait for another one's bars to be mended."""
    return bool(insane) if partitions is None else any(partition in insane for partition in partitions)


_JUDGES: Mapping[tuple[str, str], tuple[Timeframe, Judge]] = {
    (asset(timeframe), name): (timeframe, judge)
    for timeframe in Timeframe
    for asset, name, judge in (
        (bars_asset, OHLC_SANITY, judge_sanity),
        (bars_asset, COMPLETENESS, judge_completeness),
        (bars_asset, FRESHNESS, judge_freshness),
        (patterns_asset, UP_TO_DATE, judge_staleness),
    )
}
