"""Checks of the running or configured servers, and of what the database holds."""

from collections.abc import Iterator

import sqlalchemy as sa

from tickstock_pipeline.cli.checks.finding import Finding, Level
from tickstock_pipeline.cli.overview import read_coverage
from tickstock_pipeline.cli.services import State, services_of
from tickstock_pipeline.errors import TickstockError
from tickstock_pipeline.runtime.connections import check_database, check_redis
from tickstock_pipeline.runtime.instance import RunningServices
from tickstock_pipeline.settings import Settings
from tickstock_pipeline.storage.activity import import_summary, refused_counts
from tickstock_pipeline.storage.definitions import read_definitions
from tickstock_pipeline.storage.engine import create_engine
from tickstock_pipeline.storage.schema import current_revision, require_head

_START = "Start everything with `tickstock up`."
_BRING_UP_TO_DATE = (
    "`tickstock up` brings it up to date; while it runs, the schedule catch_up does within minutes, and "
    "`tickstock backfill` at once."
)


def check_servers(settings: Settings, running: RunningServices | None) -> Iterator[Finding]:
    """PostgreSQL and Redis, by logging in; then Dagster's processes, if this instance started them.

    Parameters
    ----------
    settings : with the URLs of ``running`` filled in
    """
    if settings.database_url is None:
        yield Finding("PostgreSQL", Level.WARNING, "Not checked: nothing runs and no URL is configured.", _START)
    else:
        try:
            check_database(settings.database_dsn())
        except TickstockError as error:
            yield Finding.of_error("PostgreSQL", error)
        else:
            yield Finding("PostgreSQL", Level.OK, "answers and lets us in")
    if settings.redis_url is None:
        yield Finding("Redis", Level.WARNING, "Not checked: nothing runs and no URL is configured.", _START)
    else:
        try:
            check_redis(settings.redis_dsn())
        except TickstockError as error:
            yield Finding.of_error("Redis", error)
        else:
            yield Finding("Redis", Level.OK, "answers and lets us in")
    for service in services_of(settings, running):
        if service.name.startswith("Dagster") and service.state is State.DOWN:
            advice = f"Read the logs in {settings.home.absolute() / 'logs'}, and start `tickstock up` again."
            yield Finding(service.name, Level.PROBLEM, f"Down: {service.detail}.", advice)


def check_data(settings: Settings) -> Iterator[Finding]:
    """The schema, the definitions, imports and analysis; nothing where the database cannot be asked."""
    if settings.database_url is None:
        return
    try:
        engine = create_engine(settings.database_dsn(), poolclass=sa.NullPool)
        with engine.connect() as connection:
            try:
                require_head(connection)
            except TickstockError as error:
                yield Finding.of_error("Schema", error)
                return
            yield Finding("Schema", Level.OK, f"{current_revision(connection)}, the newest")
            yield from _definitions(connection)
            yield from _analysis(connection)
            yield from _imports(connection)
    except TickstockError:
        return  # said by check_servers


def _definitions(connection: sa.Connection) -> Iterator[Finding]:
    stored = read_definitions(connection)
    for problem in stored.problems:
        yield Finding.of_error("Definitions", problem)
    if not stored.problems:
        enabled = [row.enabled for row in stored.indicators] + [row.enabled for row in stored.patterns]
        yield Finding("Definitions", Level.OK, f"{sum(enabled)} of {len(enabled)} enabled, all of them can run")


def _analysis(connection: sa.Connection) -> Iterator[Finding]:
    coverage = read_coverage(connection)
    for row in coverage:
        if row.problem:
            yield Finding("Analysis", Level.PROBLEM, f"{row.timeframe}: {row.problem}", "Disable one of them.")
        elif row.stale_partitions:
            missing = f"{row.bars_without_analysis:,} {row.timeframe} bars"
            text = f"{missing} in {row.stale_partitions:,} partitions have none that holds."
            yield Finding("Analysis", Level.WARNING, text, _BRING_UP_TO_DATE)
    if not any(row.problem or row.stale_partitions for row in coverage):
        bars = sum(row.bars for row in coverage)
        yield Finding("Analysis", Level.OK, f"covers all of {bars:,} bars" if bars else "no bars are stored yet")


def _imports(connection: sa.Connection) -> Iterator[Finding]:
    failed = import_summary(connection).outcomes.get("failed", 0)
    if failed:
        advice = "`tickstock status` shows the errors; `tickstock up` tries them again."
        yield Finding("Imports", Level.WARNING, f"{failed:,} partitions failed the last time.", advice)
    else:
        yield Finding("Imports", Level.OK, "no partition failed the last time")
    refused = refused_counts(connection)
    if refused:
        reasons = "; ".join(f"{row.bars:,} {row.timeframe}: {row.reason}" for row in refused[:5])
        advice = "Ask the provider; table quarantined_bars has them in their raw form. Nothing else is affected."
        yield Finding("Quarantine", Level.WARNING, f"{sum(row.bars for row in refused):,} bars. {reasons}", advice)
    else:
        yield Finding("Quarantine", Level.OK, "no bar was refused")
