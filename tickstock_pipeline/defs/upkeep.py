"""Jobs of the night and of the week: live bars compared with the provider's, universes read again, old rows deleted."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg

from tickstock_pipeline.batch.imports import last_settled
from tickstock_pipeline.batch.reconciliation import Difference, reconcile_day, symbols_with_minutes
from tickstock_pipeline.defs.automation import switched_off
from tickstock_pipeline.defs.bars import bar_asset_key
from tickstock_pipeline.defs.resources import Database, Market, provider_pool
from tickstock_pipeline.errors import UniverseError
from tickstock_pipeline.market.calendar import TradingCalendar
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.settings import Settings
from tickstock_pipeline.storage.memberships import read_versions
from tickstock_pipeline.storage.retention import delete_events, delete_minutes, delete_patterns, minutes_before
from tickstock_pipeline.storage.universe_files import folder_files, read_universe_file
from tickstock_pipeline.storage.universes import UniverseChange, store_universe

RECONCILIATION = "reconciliation"
UNIVERSE_REFRESH = "universe_refresh"
RETENTION = "retention"

_EXCHANGE_ZONE = "America/New_York"
_ROWS_SHOWN = 100


class ReconciliationConfig(dg.Config):
    """Which session to compare; empty: the newest that has ended."""

    session: str = ""


def upkeep_jobs(settings: Settings) -> list[dg.JobDefinition]:
    """The three jobs; the pool of requests to the provider is that of the imports."""
    pool = provider_pool(settings)

    @dg.op(name="compare_minutes", pool=pool)
    def compare_minutes(
        context: dg.OpExecutionContext, config: ReconciliationConfig, database: Database, market: Market
    ) -> None:
        _compare_minutes(context, config, database, market)

    @dg.job(
        name=RECONCILIATION,
        description="Compares a session's minutes, as they were stored live, with what the provider has of it now, and "
        "stores what differs. Differences are in the run's output and, symbol by symbol, on `ohlcv_1min`.",
        executor_def=dg.in_process_executor,
    )
    def reconciliation() -> None:
        compare_minutes()

    @dg.job(
        name=UNIVERSE_REFRESH,
        description="Reads every file of the universe folder again and stores it as the newest version of its list: "
        "memberships end and begin. A file that cannot be used is named, and the others are stored.",
        executor_def=dg.in_process_executor,
    )
    def universe_refresh() -> None:
        read_universes()

    @dg.job(
        name=RETENTION,
        description="Deletes years of minutes and detections that are older than the settings keep; by default "
        "everything is kept. What was computed from deleted minutes stays.",
        executor_def=dg.in_process_executor,
    )
    def retention() -> None:
        delete_old()

    return [reconciliation, universe_refresh, retention]


def upkeep_schedules(jobs: list[dg.JobDefinition]) -> list[dg.ScheduleDefinition]:
    """When the jobs run, by the exchange's clock."""
    reconciliation, universe_refresh, retention = jobs
    return [
        _schedule(reconciliation, "30 20 * * *", _session_to_compare),
        _schedule(universe_refresh, "0 6 * * 6", lambda _: {}),
        _schedule(retention, "0 5 * * 6", lambda _: {} if _keeps_less_than_everything() else None),
    ]


def _schedule(
    job: dg.JobDefinition, cron: str, config_of: Callable[[datetime], dict[str, object] | None]
) -> dg.ScheduleDefinition:
    @dg.schedule(
        name=job.name,
        job=job,
        cron_schedule=cron,
        execution_timezone=_EXCHANGE_ZONE,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=job.description,
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        if (off := switched_off(job.name)) is not None:
            return off
        config = config_of(context.scheduled_execution_time)
        if config is None:
            return dg.SkipReason("There is nothing to do: no session ended today, or nothing is to be deleted.")
        return dg.RunRequest(run_key=f"{job.name}|{context.scheduled_execution_time:%Y-%m-%d}", run_config=config)

    return schedule


def _session_to_compare(at: datetime) -> dict[str, object] | None:
    day = at.astimezone(ZoneInfo(_EXCHANGE_ZONE)).date()
    if not Market().calendar.is_session(day):
        return None
    return {"ops": {"compare_minutes": {"config": {"session": day.isoformat()}}}}


def _keeps_less_than_everything() -> bool:
    settings = Settings.load()
    return bool(settings.retention_minutes_years or settings.retention_patterns_days or settings.retention_events_days)


def _compare_minutes(
    context: dg.OpExecutionContext, config: ReconciliationConfig, database: Database, market: Market
) -> None:
    calendar = market.calendar
    day = _ended_session(config.session, calendar)
    if Timeframe.MINUTE not in market.provider.timeframes:
        context.log.info(f"{market.provider.name} has no minutes; there is nothing to compare with.")
        return
    with database.engine.connect() as connection:
        symbols = symbols_with_minutes(connection, calendar, day)
    found = reconcile_day(database.engine, market.provider, calendar, day, symbols)
    unlike = [one for one in found if not one.is_same]
    for one in unlike:
        context.log.warning(f"{one.symbol} on {day}: {_words(one)}")
        context.log_event(
            dg.AssetObservation(
                bar_asset_key(Timeframe.MINUTE),
                partition=Partition(one.symbol, day.year).key,
                description=f"{one.symbol} on {day}: {_words(one)}",
                metadata={"session": day.isoformat(), "difference": _words(one), "examples": "\n".join(one.examples)},
            )
        )
    columns = ("stored", "missing", "extra", "different")
    table = ["| symbol | " + " | ".join(columns) + " | largest, % | |", "|---" * (len(columns) + 3) + "|"]
    table += [
        f"| {one.symbol} | "
        + " | ".join(str(getattr(one, name)) for name in columns)
        + f" | {one.largest_pct:.3g} | {one.error} |"
        for one in unlike[:_ROWS_SHOWN]
    ]
    context.add_output_metadata(
        {
            "session": day.isoformat(),
            "provider": market.provider.name,
            "symbols": len(found),
            "symbols_that_differ": len(unlike),
            "bars_missing": sum(one.missing for one in found),
            "bars_extra": sum(one.extra for one in found),
            "bars_different": sum(one.different for one in found),
            "differences": dg.MetadataValue.md("\n".join(table)),
        }
    )


def _ended_session(text: str, calendar: TradingCalendar) -> date:
    """The session that somebody asked for; the newest one if nobody did."""
    newest = last_settled(calendar, datetime.now(UTC))
    if not text:
        return newest
    try:
        day = date.fromisoformat(text)
    except ValueError:
        fault = "is not a date"
    else:
        if day <= newest and calendar.is_session(day):
            return day
        fault = "has not ended" if day > newest else "is not a session of the exchange"
    raise dg.Failure(
        f"The session asked for, {text}, {fault}. Give `session` as a date such as {newest}, or leave it out.",
        allow_retries=False,
    )


def _words(one: Difference) -> str:
    if one.error:
        return one.error
    return (
        f"{one.stored} stored, {one.missing} missing, {one.extra} that the provider does not have, "
        f"{one.different} different (at most {one.largest_pct:.3g} %)"
    )


@dg.op(name="read_universes")
def read_universes(context: dg.OpExecutionContext, database: Database) -> None:
    """Store each file of the universe folder as the newest version of its list."""
    folder = Settings.load().universe_folder
    day = datetime.now(UTC).date()
    changes: dict[str, UniverseChange] = {}
    faults: dict[str, str] = {}
    for name in folder_files(folder):
        try:
            universe = read_universe_file(folder, name)
            with database.engine.begin() as connection:
                changes[universe.key] = store_universe(connection, universe, day)
        except UniverseError as error:
            faults[name] = error.message
            context.log.error(f"{name}: {error.message}")
    with database.engine.connect() as connection:
        stored = dict(read_versions(connection))
    context.add_output_metadata(
        {
            "stored": dg.MetadataValue.json({key: stored[key].isoformat() for key in sorted(stored)}),
            "joined": dg.MetadataValue.json({key: change.joined for key, change in changes.items() if change.joined}),
            "left": dg.MetadataValue.json({key: change.left for key, change in changes.items() if change.left}),
            "faults": dg.MetadataValue.json(faults),
        }
    )
    if faults:
        raise dg.Failure(
            description="Files that cannot be used: "
            + "; ".join(f"{name} ({fault})" for name, fault in faults.items())
            + f". The other {len(changes)} are stored.",
            allow_retries=False,
        )


@dg.op(name="delete_old")
def delete_old(context: dg.OpExecutionContext, database: Database) -> None:
    """Delete what the settings do not keep, a symbol's year at a time."""
    settings = Settings.load()
    now = datetime.now(UTC)
    minutes = patterns = events = 0
    if settings.retention_minutes_years:
        with database.engine.connect() as connection:
            old = minutes_before(connection, now.year - settings.retention_minutes_years + 1)
        for partition in old:
            with database.engine.begin() as connection:
                n_bars = delete_minutes(connection, partition)
            context.log.info(f"{partition.key}: {n_bars} minutes deleted")
            minutes += n_bars
    if settings.retention_patterns_days:
        with database.engine.begin() as connection:
            patterns = delete_patterns(connection, now - timedelta(days=settings.retention_patterns_days))
    if settings.retention_events_days:
        with database.engine.begin() as connection:
            events = delete_events(connection, now - timedelta(days=settings.retention_events_days))
    context.add_output_metadata({"minutes_deleted": minutes, "patterns_deleted": patterns, "events_deleted": events})
