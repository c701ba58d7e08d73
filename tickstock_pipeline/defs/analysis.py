"""Assets of analysis: for each timeframe its indicators and its patterns, computed from one reading of the bars."""

from collections.abc import Iterator
from typing import Literal

import dagster as dg
import numpy as np

from tickstock_pipeline.batch.analysis import analyse_partitions, stale_partitions
from tickstock_pipeline.batch.assets import indicators_asset, patterns_asset
from tickstock_pipeline.batch.fetching import CANCELLED
from tickstock_pipeline.batch.isolation import apart
from tickstock_pipeline.batch.outcome import Outcome, Status
from tickstock_pipeline.batch.views import PartitionView, view_partitions
from tickstock_pipeline.defs.bars import IMPORT_DEPTH, ROLL_UP_DEPTH, TrackerOf, bar_asset_key, nobody
from tickstock_pipeline.defs.partitions import Grid, warm_up_mapping
from tickstock_pipeline.defs.picture import SIGNS, Mark, as_markdown, candlesticks
from tickstock_pipeline.defs.reporting import Metadata, backfill_policy, report, requested_partitions
from tickstock_pipeline.defs.resources import Database, Market
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe

GROUP = "analysis"
_NEWEST_LISTED = 12
_VALUE_COLUMNS = dg.TableSchema(
    columns=[
        dg.TableColumn("symbol", "text", "As the exchange lists it"),
        dg.TableColumn("timeframe", "text", "1min, hourly, daily, weekly or monthly"),
        dg.TableColumn("time", "timestamptz", "The bar's key; midnight UTC of the date for daily bars and coarser"),
        dg.TableColumn("layout_id", "integer", "Row of `indicator_layouts`, which names the values"),
        dg.TableColumn("values", "double precision[]", "In the layout's order; NaN during warm-up"),
    ]
)
_PATTERN_COLUMNS = dg.TableSchema(
    columns=[
        dg.TableColumn("symbol", "text", "As the exchange lists it"),
        dg.TableColumn("timeframe", "text", "1min, hourly, daily, weekly or monthly"),
        dg.TableColumn("pattern_type", "text", "Name in `pattern_definitions`"),
        dg.TableColumn("detection_timestamp", "timestamptz", "The instant of the bar that confirms it"),
        dg.TableColumn("direction", "text", "bullish, bearish or neutral"),
        dg.TableColumn("confidence", "double precision", "0 to 1"),
        dg.TableColumn("levels", "jsonb", "Prices by name, as traded"),
        dg.TableColumn("revision", "integer", "One more each time that it came back after a retraction"),
        dg.TableColumn("retracted_at", "timestamptz", "When it ceased to hold; null: it holds"),
    ]
)
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
    bars = dg.AssetDep(bar_asset_key(timeframe), partition_mapping=warm_up_mapping(timeframe))

    def spec(key: dg.AssetKey, table: str, description: str, columns: dg.TableSchema) -> dg.AssetSpec:
        return dg.AssetSpec(
            key,
            deps=[bars],
            description=description,
            group_name=GROUP,
            kinds={"postgres", "talib"},
            owners=["team:analysis"],
            tags={"timeframe": timeframe.value},
            metadata={"dagster/table_name": table, "dagster/column_schema": columns},
        )

    @dg.multi_asset(
        name=f"analysis_{timeframe}",
        specs=[
            spec(
                keys[0],
                "public.bar_indicators",
                f"Values of every enabled indicator on each closed {timeframe} bar, on split-adjusted prices. Each is "
                "fed from a fixed first bar, so that live and batch give the same bits. `daily_indicators` has the "
                "latest values. Formulas and parameters: docs/indicators.md, rows of `indicator_definitions`.",
                _VALUE_COLUMNS,
            ),
            spec(
                keys[1],
                "public.daily_patterns",
                f"Patterns detected on closed {timeframe} bars, dated at the bar that confirms them. A detection that "
                "does not hold after a correction is marked as retracted, never deleted. Rules with pictures: "
                "docs/patterns.md; parameters: rows of `pattern_definitions`.",
                _PATTERN_COLUMNS,
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

        report(context, keys, outcomes, metadata)
        for key in keys:
            yield dg.MaterializeResult(asset_key=key)

    return analysis


def _unit(view: PartitionView) -> Literal["m", "D"]:
    return "m" if view.bars.timeframe.is_intraday else "D"


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
