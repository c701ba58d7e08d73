"""Assets of analysis: for each timeframe its indicators and its patterns, computed from one reading of the bars."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import dagster as dg
import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.batch.analysis import analyse_partitions, stale_partitions
from tickstock_pipeline.batch.assets import indicators_asset, patterns_asset
from tickstock_pipeline.batch.fetching import CANCELLED
from tickstock_pipeline.batch.isolation import apart
from tickstock_pipeline.batch.outcome import Outcome, Status
from tickstock_pipeline.batch.views import PartitionView, view_partitions
from tickstock_pipeline.defs.bars import IMPORT_DEPTH, ROLL_UP_DEPTH, TrackerOf, bar_asset_key, nobody
from tickstock_pipeline.defs.evaluations import evaluate_planned
from tickstock_pipeline.defs.explanations import (
    INDICATOR_COLUMNS,
    INDICATOR_FORMULAS,
    PATTERN_COLUMNS,
    PATTERN_RULES,
    VALUES,
    as_rows,
    column_lineage,
    column_schema,
)
from tickstock_pipeline.defs.partitions import Grid, warm_up_mapping
from tickstock_pipeline.defs.picture import SIGNS, Mark, as_markdown, candlesticks
from tickstock_pipeline.defs.reporting import Metadata, backfill_policy, report, requested_partitions
from tickstock_pipeline.defs.resources import Database, Market
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.tables import BAR_INDICATORS, DAILY_PATTERNS, key_column

GROUP = "analysis"
_NEWEST_LISTED = 12
_BELOW_EVERY_BAR = 1 + max([*IMPORT_DEPTH.values(), *ROLL_UP_DEPTH.values()])


def indicators_key(timeframe: Timeframe) -> dg.AssetKey:
    """The asset of a timeframe's indicator values."""
    return dg.AssetKey(indicators_asset(timeframe))


def patterns_key(timeframe: Timeframe) -> dg.AssetKey:
    """The asset of a timeframe's detected patterns."""
    return dg.AssetKey(patterns_asset(timeframe))


def analysis_assets(grid: Grid, *, tracker_of: TrackerOf = nobody) -> list[dg.AssetsDefinition]:
    """Indicators and patterns of the five timeframes on ``grid``.

    Parameters
    ----------
    tracker_of : who follows a run; None if nobody does
    """
    return [_analysis_asset(grid, timeframe, tracker_of) for timeframe in Timeframe]


def _analysis_asset(grid: Grid, timeframe: Timeframe, tracker_of: TrackerOf) -> dg.AssetsDefinition:
    keys = [indicators_key(timeframe), patterns_key(timeframe)]
    bars, key = bar_asset_key(timeframe), key_column(timeframe).name

    def spec(
        asset: dg.AssetKey, table: sa.Table, words: Mapping[str, str], lineage: Mapping[str, Sequence[str]], text: str
    ) -> dg.AssetSpec:
        return dg.AssetSpec(
            asset,
            deps=[dg.AssetDep(bars, partition_mapping=warm_up_mapping(timeframe))],
            description=text,
            group_name=GROUP,
            kinds={"postgres", "talib"},
            owners=["team:analysis"],
            tags={"timeframe": timeframe.value},
            metadata={
                "dagster/table_name": f"public.{table.name}",
                "dagster/column_schema": column_schema(table, words),
                "dagster/column_lineage": column_lineage(bars, {"symbol": ["symbol"], **lineage}),
            },
        )

    @dg.multi_asset(
        name=f"analysis_{timeframe}",
        specs=[
            spec(
                keys[0],
                BAR_INDICATORS,
                INDICATOR_COLUMNS,
                {"time": [key], "values": VALUES},
                f"Indicator values of each closed {timeframe} bar, on split-adjusted prices. Each indicator is fed "
                "from a fixed first bar, so that live and batch give the same bits. Table `daily_indicators` has "
                "the latest values. Rows of `indicator_definitions` decide which run, with which parameters."
                + _links(timeframe)
                + "Enabled from the start, where *p* is the close, *n* the period, TR the true range:\n\n"
                + as_rows("indicator", INDICATOR_FORMULAS)
                + "\n\nSources, first values and pictures: docs/indicators.md.",
            ),
            spec(
                keys[1],
                DAILY_PATTERNS,
                PATTERN_COLUMNS,
                {"detection_timestamp": [key], "bar_time": [key]}
                | dict.fromkeys(("pattern_type", "direction", "confidence", "pattern_data", "levels"), VALUES),
                f"Patterns found on closed {timeframe} bars, dated at the bar that confirms them. A detection that "
                "does not hold after a correction is marked as retracted, never deleted. Each partition shows a "
                "picture of its newest bars with the detections. Rows of `pattern_definitions` decide which patterns "
                "are sought, with which parameters."
                + _links(timeframe)
                + "Enabled from the start:\n\n"
                + as_rows("pattern", PATTERN_RULES)
                + "\n\nThe other patterns, how confidence is graded, and pictures: docs/patterns.md.",
            ),
        ],
        partitions_def=grid.definition,
        backfill_policy=backfill_policy(_BELOW_EVERY_BAR),
    )
    def analysis(
        context: dg.AssetExecutionContext, database: Database, market: Market
    ) -> Iterator[dg.MaterializeResult[None]]:
        partitions = requested_partitions(context)
        tracker = tracker_of(context)
        if tracker is not None and tracker.should_stop():
            outcomes = [Outcome(partition, Status.FAILED, error=CANCELLED) for partition in partitions]
        else:
            outcomes = analyse_partitions(database.engine, market.calendar, timeframe, partitions)
        if tracker is not None:
            tracker.on_all(outcomes)
        written = sum(outcome.status is Status.WRITTEN for outcome in outcomes)
        context.log.info(
            f"analysis of {timeframe} bars: {written} of {len(partitions)} partitions were missing or stale"
        )
        good = [outcome.partition for outcome in outcomes if outcome.status is not Status.FAILED]
        views = view_partitions(database.engine, market.calendar, timeframe, good)
        with database.engine.connect() as connection:
            stale = stale_partitions(connection, timeframe, sorted({partition.symbol for partition in good}))
        missing = {Partition(one.symbol, one.year): one.bars for one in stale}

        def metadata(key: dg.AssetKey, outcome: Outcome) -> Metadata:
            facts: Metadata = {
                "result": outcome.status.value,
                "bars_without_analysis": missing.get(outcome.partition, 0),
                **outcome.facts,
            }
            view = views.get(outcome.partition)
            if view is None:
                return {**facts, "bars": 0}
            unit = _unit(view)
            facts = {
                **facts,
                "bars": view.n_bars,
                "first_bar": str(np.datetime_as_string(view.first, unit=unit)),
                "last_bar": str(np.datetime_as_string(view.last, unit=unit)),
            }
            if key != keys[1]:
                return facts
            title = outcome.partition.key
            # a picture that cannot be drawn must not make fifty partitions fail that are stored
            (picture,) = apart(
                [view],
                lambda some: [_picture(some[0], title)],
                lambda _, reason: [{"picture": reason}],
                lambda _: f"drawing {title}",
            )
            return {**facts, **picture}

        report(context, keys, outcomes, metadata, lambda: evaluate_planned(context, database, market))
        for key in keys:
            yield dg.MaterializeResult(asset_key=key)

    return analysis


def _unit(view: PartitionView) -> Literal["m", "D"]:
    return "m" if view.bars.timeframe.is_intraday else "D"


def _links(timeframe: Timeframe) -> str:
    page = f"/assets/{patterns_asset(timeframe)}?view=checks&checkDetail=up_to_date"
    return (
        "\n\nMaterialising does what is missing or stale in the chosen partitions, indicators and patterns together. "
        f"Whether anything is: check [up_to_date]({page}).\n\n"
    )


def _picture(view: PartitionView, title: str) -> Metadata:
    marks = [Mark(*mark) for mark in view.marks]
    svg = candlesticks(view.bars, marks, title=f"{title} {view.bars.timeframe}")
    counts = ", ".join(f"{pattern} {count}" for pattern, count in sorted(view.counts.items())) or "none"
    newest = [
        f"- {np.datetime_as_string(view.bars.time[mark.index], unit=_unit(view))} "
        f"{SIGNS[mark.direction]} {mark.pattern}"
        for mark in reversed(marks[-_NEWEST_LISTED:])
    ]
    picture = as_markdown(svg, f"{title}: newest bars with detections")
    return {
        "picture": dg.MetadataValue.md("\n".join([picture, "", *newest])),
        "patterns_in_partition": dg.MetadataValue.text(counts),
    }
