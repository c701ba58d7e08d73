"""``tickstock import``: submit an import job and watch it to its end."""

import json
import secrets
from datetime import UTC, datetime
from typing import Annotated, Any

import sqlalchemy as sa
import typer

from tickstock_pipeline.cli.job_progress import exit_code_of, watch_job
from tickstock_pipeline.cli.terminal import err
from tickstock_pipeline.errors import JobError
from tickstock_pipeline.imports.acceptance import WayIn, accept_job, plan_accepted
from tickstock_pipeline.imports.planning import Surroundings
from tickstock_pipeline.imports.status import StatusPublisher, redis_client
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.runtime.attach import attached_settings
from tickstock_pipeline.settings import Settings
from tickstock_pipeline.storage.engine import create_engine
from tickstock_pipeline.storage.jobs import JobState, StoredJob, read_job
from tickstock_pipeline.storage.schema import require_head
from tickstock_pipeline.storage.universe_files import read_any_file

EXAMPLES = """Examples:

tickstock import AAPL MSFT --years 2 --timeframe daily --analyze

tickstock import --universe dow_30

tickstock import --file my.csv --from 2012-01-01 --to 2013-12-31 --detach

tickstock import --universe SPY:QQQ --no-bars
"""


def import_bars(
    symbols: Annotated[
        list[str] | None, typer.Argument(metavar="SYMBOL", help="Symbols to import.", show_default=False)
    ] = None,
    universe: Annotated[
        str | None, typer.Option("--universe", "-u", metavar="KEY", help="A universe, or several as SPY:QQQ.")
    ] = None,
    file: Annotated[
        str | None,
        typer.Option("--file", "-f", help="A CSV file with a column `symbol`: its path, or its name in the folder."),
    ] = None,
    years: Annotated[float, typer.Option(help="Back from today; whole calendar years are imported.")] = 1.0,
    first: Annotated[
        datetime | None,
        typer.Option("--from", formats=["%Y-%m-%d"], metavar="DATE", help="The first date, instead of --years."),
    ] = None,
    last: Annotated[
        datetime | None,
        typer.Option("--to", formats=["%Y-%m-%d"], metavar="DATE", help="The last date, instead of today."),
    ] = None,
    timeframes: Annotated[
        list[Timeframe] | None,
        typer.Option("--timeframe", "-t", case_sensitive=False, help="Only this one; may be repeated."),
    ] = None,
    analyze: Annotated[bool, typer.Option("--analyze", help="Compute indicators and patterns afterwards.")] = False,
    progressive: Annotated[
        bool, typer.Option("--progressive", help="Analyse each portion as soon as its bars are there.")
    ] = False,
    no_bars: Annotated[bool, typer.Option("--no-bars", help="Register the symbols only.")] = False,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Print the job's id and return at once.")] = False,
) -> None:
    """Import bars of symbols, of a universe or of a CSV file, into all five timeframes unless told otherwise.

    Ctrl-C leaves the job running. Exit code 0: everything was imported; 2: some symbols failed; 1: the job failed or
    was cancelled.
    """
    named = [bool(symbols), universe is not None, file is not None]
    if sum(named) != 1:
        raise typer.BadParameter("give symbols, or one of --universe and --file", param_hint="SYMBOL")
    settings = attached_settings(Settings.load())
    message = {
        "job_id": _new_job_id(),
        "symbols": symbols or (None if file is None else _symbols_of(settings, file)),
        "universe_key": universe,
        "job_type": "multi_timeframe_load" if universe is None else "csv_universe_load",
        "timeframes": [timeframe.value for timeframe in timeframes or []],
        "years": years,
        "start_date": None if first is None else first.date().isoformat(),
        "end_date": None if last is None else last.date().isoformat(),
        "include_ohlcv": not no_bars,
        "run_analysis_after_import": analyze or progressive,
        "analysis_mode": "per_symbol" if progressive else "batch",
        "requested_by": "command line",
        "timestamp": datetime.now(UTC).isoformat(),
    }
    engine = create_engine(settings.database_dsn())
    publisher = StatusPublisher(engine, redis_client(settings))
    try:
        job = _submitted(engine, message, settings)
        publisher.publish(job.job_id)
        if detach:
            typer.echo(job.job_id)
            return
        ended = watch_job(engine, settings, job.job_id)
    finally:
        engine.dispose()
    if ended is not None:
        raise typer.Exit(exit_code_of(ended))


def _submitted(engine: sa.Engine, message: dict[str, Any], settings: Settings) -> StoredJob:
    with engine.connect() as connection:
        require_head(connection)
    accepted = accept_job(engine, json.dumps(message).encode(), WayIn.COMMAND)
    job = _stored(engine, accepted.job_id)
    plan_accepted(engine, job, Surroundings(settings.universe_folder, settings.first_year))
    job = _stored(engine, accepted.job_id)
    if job.status is JobState.FAILED:
        raise JobError(
            f"The job cannot be done: {job.error_message}", advice="`tickstock import --help` shows examples."
        )
    return job


def _stored(engine: sa.Engine, job_id: str) -> StoredJob:
    with engine.connect() as connection:
        job = read_job(connection, job_id)
    if job is None:
        raise JobError(f"Job {job_id} is gone: somebody has deleted its row.")
    return job


def _symbols_of(settings: Settings, file: str) -> list[str]:
    universe = read_any_file(settings.universe_folder, file)
    for problem in universe.problems:
        err.print(f"[yellow]Left out:[/] {problem}", soft_wrap=True)
    return list(universe.symbols)


def _new_job_id() -> str:
    return f"job_{datetime.now(UTC):%Y%m%d_%H%M%S}_{secrets.token_hex(3)}"
