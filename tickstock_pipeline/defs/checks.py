"""Asset checks: are bars sane and complete against the exchange's calendar, is the analysis up to date?

Each judges the whole table, since its one result stands for the whole asset; the ledger makes that cheap.
"""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Literal

import dagster as dg
import numpy as np

from tickstock_pipeline.batch.analysis import stale_partitions
from tickstock_pipeline.batch.completeness import completeness, totals
from tickstock_pipeline.batch.freshness import freshness
from tickstock_pipeline.batch.missing import by_year
from tickstock_pipeline.batch.quality import sanity
from tickstock_pipeline.batch.standing import Standing
from tickstock_pipeline.defs.analysis import patterns_key
from tickstock_pipeline.defs.bars import bar_asset_key
from tickstock_pipeline.defs.resources import Database, Market
from tickstock_pipeline.defs.under_way import PARTITION_TAG, RANGE_START_TAG
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.analysis_failures import read_failures

_ROWS_SHOWN = 100
_GAPS_OF_A_SYMBOL = 5


def bar_checks() -> list[dg.AssetChecksDefinition]:
    """Sanity, completeness and freshness of the five bar assets."""
    return [
        check(timeframe) for timeframe in Timeframe for check in (_sanity_check, _completeness_check, _freshness_check)
    ]


def analysis_checks() -> list[dg.AssetChecksDefinition]:
    """Staleness of the patterns, and of the indicators computed with them, of the five timeframes."""
    return [_staleness_check(timeframe) for timeframe in Timeframe]


def _staleness_check(timeframe: Timeframe) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=patterns_key(timeframe),
        name="up_to_date",
        description="Every stored bar is analysed with the definitions that are enabled now. A partition stays green "
        "after its first materialisation; this is what tells that it is stale. The schedule catch_up does what is "
        "named here within minutes; materialise the partitions, or run `tickstock backfill`, to have it done now. "
        "`by_year` and `stale_partitions` count bars; `failed` says why a partition could not be analysed.",
    )
    def up_to_date(database: Database) -> dg.AssetCheckResult:
        with database.engine.connect() as connection:
            stale = stale_partitions(connection, timeframe)
            failures = read_failures(connection, timeframe)
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

    return up_to_date


def _sanity_check(timeframe: Timeframe) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=bar_asset_key(timeframe),
        name="ohlc_sanity",
        # what is computed from a wrong bar is wrong as well
        blocking=True,
        description="high >= max(open, close), low <= min(open, close), prices > 0 and finite, volume >= 0. PostgreSQL "
        "enforces this; the check sees that it still does, and warns of bars that were quarantined instead: table "
        "`quarantined_bars` has each with its reason. It blocks "
        "what follows in a run that materialises a partition with a wrong bar; such a partition fails in every run.",
    )
    def ohlc_sanity(context: dg.AssetCheckExecutionContext, database: Database) -> dg.AssetCheckResult:
        with database.engine.connect() as connection:
            found = sanity(connection, timeframe)
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
            severity=dg.AssetCheckSeverity.ERROR if _are_among(found.insane, context) else dg.AssetCheckSeverity.WARN,
            description=words,
            metadata={
                "bars_that_break_a_rule": dg.MetadataValue.json(
                    {one.key: count for one, count in list(found.insane.items())[:_ROWS_SHOWN]}
                ),
                "bars_in_quarantine": sum(found.refused.values()),
                "quarantine_by_symbol": dg.MetadataValue.json(dict(list(found.refused.items())[:_ROWS_SHOWN])),
            },
        )

    return ohlc_sanity


def _are_among(insane: Collection[Partition], context: dg.AssetCheckExecutionContext) -> bool:
    """Whether what is wrong concerns this run: a symbol must not wait for another one's bars to be mended."""
    if not context.run.tags.keys() & {RANGE_START_TAG, PARTITION_TAG}:
        return bool(insane)
    return any(Partition.parse(key) in insane for key in context.partition_keys)


def _completeness_check(timeframe: Timeframe) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=bar_asset_key(timeframe),
        name="completeness",
        description="Every session that was asked of the provider, or of which bars are stored, has all the bars that "
        "the provider has; derived bars are made of the finer ones as they are now. Materialise the partitions named, "
        "or run `tickstock coverage --gaps`, which prints the commands that import what is missing.",
    )
    def completeness_check(database: Database, market: Market) -> dg.AssetCheckResult:
        with database.engine.connect() as connection:
            found = completeness(connection, market.calendar, timeframe)
        lacking = [one for one in found if one.gaps]
        counts = totals(found)
        missing = ", ".join(
            f"{count} {standing}" for standing, count in counts.items() if count and standing is not Standing.COMPLETE
        )
        unit = "sessions" if timeframe in (Timeframe.MINUTE, Timeframe.DAILY) else "years"
        partitions = [
            f"{one.symbol}|{year}"
            for one in lacking
            for year in sorted({year for gap in one.gaps for year in range(gap.first.year, gap.last.year + 1)})
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
                    {
                        one.symbol: [gap.describe() for gap in one.gaps[:_GAPS_OF_A_SYMBOL]]
                        for one in lacking[:_ROWS_SHOWN]
                    }
                ),
            },
        )

    return completeness_check


def _freshness_check(timeframe: Timeframe) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=bar_asset_key(timeframe),
        name="freshness",
        description="Each active symbol that has bars has those of the newest session, week or month that has ended on "
        "the exchange, half days and holidays considered. A symbol whose history at the provider has ended is measured "
        "by its last day. `newest_bars` names the newest bar of those that are behind; materialise their year, or run "
        "`tickstock import`.",
    )
    def freshness_check(database: Database, market: Market) -> dg.AssetCheckResult:
        with database.engine.connect() as connection:
            found = freshness(connection, market.provider, market.calendar, timeframe, datetime.now(UTC))
        unit: Literal["m", "D"] = "m" if timeframe.is_intraday else "D"
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

    return freshness_check
