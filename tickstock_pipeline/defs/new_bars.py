"""The sensor that sees bars written past Dagster: by the live path, by another program, by a person with SQL."""

from collections.abc import Sequence
from datetime import UTC, date, datetime

import dagster as dg
import sqlalchemy as sa

from tickstock_pipeline.batch.arrivals import newest_session, plan_arrivals
from tickstock_pipeline.batch.ranges import PartitionRange
from tickstock_pipeline.defs.automation import (
    LEAST_SECONDS_BETWEEN_TICKS,
    digest,
    grid_years,
    run_requests,
    switched_off,
    symbols_on_grid,
)
from tickstock_pipeline.defs.bars import bar_asset_key
from tickstock_pipeline.defs.import_jobs import EVERY_ASSET
from tickstock_pipeline.defs.resources import Database, Market
from tickstock_pipeline.defs.under_way import UnderWay
from tickstock_pipeline.storage.ingestion import ChangedBars, changed_bars, hold_reporting, record_reported

NAME = "new_bars"

_MOST_REPORTS = 200
_REPORTS_AT_ONCE = 25


@dg.sensor(
    name=NAME,
    target=EVERY_ASSET,
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=LEAST_SECONDS_BETWEEN_TICKS,
    description="Sees bars that no run of Dagster's wrote: the live path, another program, a person with SQL. Reports "
    "them as materialisations, once a session and partition, and asks for the roll-ups and the analysis that they lack "
    "and that nobody else is about to do. The cursor is a position in the ledger of bars that is exact whatever "
    "commits in which order; clearing it makes the sensor look at everything once. Switched off, bars of others are "
    "seen by the schedule catch_up only, and are not reported.",
)
def new_bars(
    context: dg.SensorEvaluationContext, database: Database, market: Market
) -> dg.SensorResult | dg.SkipReason:
    """One look at what was committed since the last one."""
    if (off := switched_off(NAME)) is not None:
        return off
    with database.engine.connect() as connection:
        position, changes = changed_bars(connection, context.cursor)
    if not changes:
        return dg.SensorResult(cursor=position, skip_reason="No bar was written since the last look.")
    order = symbols_on_grid(context.instance, database.engine, [one.symbol for one in changes if not one.is_imported])
    under_way = UnderWay(context.instance, order)
    session = newest_session(market.calendar, datetime.now(UTC))
    with database.engine.connect() as connection:
        plan = plan_arrivals(connection, changes, session, grid_years(), under_way.is_busy)
    told = _report(context, database.engine, plan.reports, session)
    plan.is_partial |= told < len(plan.reports)
    revisions: dict[str, list[tuple[str, int, int]]] = {}
    for one in changes:
        if not one.is_imported:
            revisions.setdefault(one.symbol, []).append((one.timeframe.value, one.year, one.revision))

    def run_key(assets: tuple[str, ...], found: PartitionRange) -> str:
        state = [*assets, found.first.key, found.last.key, *(revisions.get(symbol) for symbol in found.symbols)]
        return f"{NAME}|{digest(state)}"

    requests = run_requests(plan, NAME, under_way, order, run_key)
    context.log.info(
        f"{len(changes)} partitions changed; {told} reported, {len(requests)} runs asked for"
        f"{', more is left' if plan.is_partial else ''}"
    )
    return dg.SensorResult(
        run_requests=requests,
        # what has to wait is looked at again: what was reported or is under way is known by then
        cursor=context.cursor if plan.is_partial else position,
        skip_reason=None if requests else "Whatever is new is analysed, or somebody is about to do it.",
    )


def _report(
    context: dg.SensorEvaluationContext, engine: sa.Engine, changed: Sequence[ChangedBars], session: date
) -> int:
    """Tell Dagster; how many it was told of. A crash in between repeats a few at most."""
    told = 0
    for start in range(0, min(len(changed), _MOST_REPORTS), _REPORTS_AT_ONCE):
        some = changed[start : start + _REPORTS_AT_ONCE]
        with engine.begin() as connection:
            if not hold_reporting(connection):
                return told
            for one in some:
                context.instance.report_runless_asset_event(_materialisation(one, session))
            record_reported(connection, some, session)
        told += len(some)
    return told


def _materialisation(one: ChangedBars, session: date) -> dg.AssetMaterialization:
    shown = {"first_bar": one.first_time, "last_bar": one.last_time}
    return dg.AssetMaterialization(
        bar_asset_key(one.timeframe),
        partition=one.partition.key,
        description=f"{one.symbol}: bars of {one.timeframe} were written by the live path or another program",
        metadata={
            "result": "written elsewhere",
            "bars": one.n_bars,
            "session": session.isoformat(),
            **{name: time.isoformat() for name, time in shown.items() if time is not None},
        },
    )
