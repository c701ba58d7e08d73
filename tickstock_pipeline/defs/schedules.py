"""Schedules: what has fallen behind is caught up with, and a session that has closed is imported."""

from collections.abc import Mapping
from datetime import UTC, datetime

import dagster as dg
import sqlalchemy as sa

from tickstock_pipeline.batch.arrivals import Plan, Task, plan_repairs
from tickstock_pipeline.batch.assets import bars_asset
from tickstock_pipeline.batch.due_imports import due_days
from tickstock_pipeline.batch.ranges import PartitionRange
from tickstock_pipeline.defs.automation import digest, grid_years, run_requests, switched_off, symbols_on_grid
from tickstock_pipeline.defs.import_jobs import EVERY_ASSET
from tickstock_pipeline.defs.resources import Database, Market
from tickstock_pipeline.defs.under_way import UnderWay
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.tables import BAR_LEDGER

CATCH_UP = "catch_up"
AFTER_CLOSE = "after_close"


@dg.schedule(
    name=CATCH_UP,
    cron_schedule="*/5 * * * *",
    target=EVERY_ASSET,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every five minutes, asks the ledger what is not rolled up or not analysed, and asks for runs over "
    "exactly that, ten at most. Left out is what a run, a job or a live worker is about to do, what failed a moment "
    "ago, and bars that were imported without analysis.",
)
def catch_up(context: dg.ScheduleEvaluationContext, database: Database) -> list[dg.RunRequest] | dg.SkipReason:
    """What has fallen behind."""
    if (off := switched_off(CATCH_UP)) is not None:
        return off
    with database.engine.connect() as connection:
        symbols = list(connection.scalars(sa.select(BAR_LEDGER.c.symbol).distinct().order_by(BAR_LEDGER.c.symbol)))
    order = symbols_on_grid(context.instance, database.engine, symbols)
    under_way = UnderWay(context.instance, order)
    plan = Plan()
    with database.engine.connect() as connection:
        plan_repairs(connection, plan, symbols, grid_years(), under_way.is_busy)
    return _requests(context, CATCH_UP, plan, under_way, order) or dg.SkipReason("Nothing has fallen behind.")


@dg.schedule(
    name=AFTER_CLOSE,
    cron_schedule="*/15 * * * *",
    target=dg.AssetSelection.assets(bars_asset(Timeframe.DAILY)),
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Asks the exchange's calendar whether a session has ended, half days and holidays included, and if so "
    "the provider for the day's bar of every active symbol whose days it was asked for before. What was missed while "
    "nothing ran is made up for.",
)
def after_close(
    context: dg.ScheduleEvaluationContext, database: Database, market: Market
) -> list[dg.RunRequest] | dg.SkipReason:
    """The days that the provider has by now."""
    if (off := switched_off(AFTER_CLOSE)) is not None:
        return off
    with database.engine.connect() as connection:
        due = due_days(connection, market.provider, market.calendar, _scheduled(context))
    if not due:
        return dg.SkipReason("No session has ended of which the days have not been asked for.")
    order = symbols_on_grid(context.instance, database.engine, [partition.symbol for partition in due])
    under_way = UnderWay(context.instance, order)
    grid, asset = grid_years(), bars_asset(Timeframe.DAILY)
    free = [partition for partition in due if partition in grid and not under_way.is_busy(asset, partition)]
    plan = Plan(tasks=[Task(Timeframe.DAILY, (asset,), tuple(free))])
    return _requests(context, AFTER_CLOSE, plan, under_way, order) or dg.SkipReason("Runs are under way.")


def _requests(
    context: dg.ScheduleEvaluationContext,
    name: str,
    plan: Plan,
    under_way: UnderWay,
    order: Mapping[str, int],
) -> list[dg.RunRequest]:
    tick = _scheduled(context).isoformat()

    def run_key(assets: tuple[str, ...], found: PartitionRange) -> str:
        return f"{name}|{digest([tick, *assets, found.first.key, found.last.key])}"

    requests = run_requests(plan, name, under_way, order, run_key)
    context.log.info(f"{len(requests)} runs asked for{', more is left' if plan.is_partial else ''}")
    return requests


def _scheduled(context: dg.ScheduleEvaluationContext) -> datetime:
    return context.scheduled_execution_time.astimezone(UTC)
