"""``tickstock backfill``: analyse what has no analysis, as one native backfill that can be watched and left."""

from typing import Annotated

import sqlalchemy as sa
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tickstock_pipeline.cli.arguments import given_symbol
from tickstock_pipeline.cli.terminal import err
from tickstock_pipeline.errors import ServiceError
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.runtime.analysis_backfill import (
    BarProgress,
    LaunchedBackfill,
    choose,
    launch,
    running_backfill,
    watch,
)
from tickstock_pipeline.runtime.attach import attached_settings, find_running_services
from tickstock_pipeline.runtime.orchestrator import Orchestrator
from tickstock_pipeline.runtime.ports import http_url
from tickstock_pipeline.settings import Settings
from tickstock_pipeline.storage.engine import create_engine
from tickstock_pipeline.storage.schema import require_head

EXAMPLES = """Examples:

tickstock backfill --timeframe daily

tickstock backfill --timeframe daily --symbols AAPL,MSFT --max-bars 10000

tickstock backfill --detach
"""

_FAILURES_SHOWN = 20
_LINES_IN_A_LOG = 20
_BROKEN_OFF = ("FAILED", "CANCELED")


def backfill(
    timeframes: Annotated[
        list[Timeframe] | None,
        typer.Option("--timeframe", "-t", case_sensitive=False, help="Only this one; may be repeated."),
    ] = None,
    symbols: Annotated[
        list[str] | None,
        typer.Option("--symbols", "-s", metavar="SYMBOL,…", help="Only these, separated by commas; may be repeated."),
    ] = None,
    max_bars: Annotated[
        int | None, typer.Option("--max-bars", min=1, metavar="N", help="Stop choosing at so many bars.")
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Print the backfill's id and return at once.")] = False,
) -> None:
    """Analyse every bar that has no analysis, or whose analysis is stale: exactly those, whole years of a symbol.

    Ctrl-C leaves the backfill running; the same command watches it again. Exit code 0: all was analysed; 2: some
    symbols failed; 1: nothing was analysed, or the backfill failed or was cancelled.
    """
    configured = Settings.load()
    wanted = [timeframe for timeframe in Timeframe if timeframe in (timeframes or list(Timeframe))]
    asked = [given_symbol(text) for given in symbols or [] for text in given.split(",") if text.strip()]
    settings = attached_settings(configured)
    engine = create_engine(settings.database_dsn())
    try:
        with engine.connect() as connection:
            require_head(connection)
        with Orchestrator(_web_url(settings)) as orchestrator:
            if not orchestrator.is_ready():
                raise ServiceError(
                    f"Dagster's webserver at {orchestrator.url} does not answer.",
                    advice="Start everything with `tickstock up`; TICKSTOCK_WEB_HOST and TICKSTOCK_WEB_PORT say where "
                    "another one is.",
                )
            found = _begun(engine, orchestrator, wanted, settings.first_year, asked or None, max_bars)
            if found is None:
                return
            if detach:
                typer.echo(found.backfill_id)
                return
            ended = _shown(engine, orchestrator, found)
    finally:
        engine.dispose()
    if ended is not None:
        raise typer.Exit(exit_code_of(ended))


def _begun(
    engine: sa.Engine,
    orchestrator: Orchestrator,
    timeframes: list[Timeframe],
    first_year: int,
    symbols: list[str] | None,
    max_bars: int | None,
) -> LaunchedBackfill | None:
    running = running_backfill(engine, orchestrator, timeframes, first_year)
    if running is not None:
        err.print(f"Backfill {running.backfill_id} of the same timeframes is under way; nothing new is started.")
        return running
    choice = choose(engine, timeframes, first_year=first_year, symbols=symbols, most_bars=max_bars)
    if not choice.stale:
        err.print("Every bar is analysed; there is nothing to do.")
        return None
    launched = launch(engine, orchestrator, timeframes, choice)
    partitions = sum(map(len, choice.stale.values()))
    err.print(
        f"Backfill {launched.backfill_id}: {choice.bars:,} bars in {partitions:,} partitions, "
        f"{_page(orchestrator, launched)}",
        soft_wrap=True,
    )
    if choice.left_out:
        err.print(f"{choice.left_out:,} more bars are left for another time.")
    return launched


def _shown(engine: sa.Engine, orchestrator: Orchestrator, backfill: LaunchedBackfill) -> BarProgress | None:
    """How it ended; None if the person left with Ctrl-C."""
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(bar_width=40), TimeElapsedColumn(), console=err, transient=True
    )
    shown = -1
    state = BarProgress(0, backfill.total_bars)
    try:
        with bar:
            task = bar.add_task(_words(state), total=backfill.total_bars or 1)
            for state in watch(engine, orchestrator, backfill):
                bar.update(task, completed=state.processed_bars, description=_words(state))
                step = state.processed_bars * _LINES_IN_A_LOG // (state.total_bars or 1)
                if not err.is_terminal and not state.is_over and step > shown:
                    shown = step
                    err.print(_words(state))
    except KeyboardInterrupt:
        err.print(
            "\nThe backfill goes on. Watch it again with the same command, or watch and cancel it at "
            f"{_page(orchestrator, backfill)}",
            soft_wrap=True,
        )
        return None
    err.print(_words(state))
    failures = state.failures or {}
    for (timeframe, partition), reason in list(failures.items())[:_FAILURES_SHOWN]:
        err.print(f"  {partition.symbol} {partition.year} {timeframe}: {reason}", markup=False, soft_wrap=True)
    if len(failures) > _FAILURES_SHOWN:
        err.print(f"  and {len(failures) - _FAILURES_SHOWN} more partitions; the failed runs name them.")
    return state


def _words(state: BarProgress) -> str:
    return f"Processed {state.processed_bars:,} / {state.total_bars:,} bars"


def exit_code_of(state: BarProgress) -> int:
    """0: all was analysed; 2: some symbols failed; 1: nothing was analysed, or the backfill failed or was cancelled."""
    if not state.failures:
        return 0
    return 2 if state.processed_bars and state.status not in _BROKEN_OFF else 1


def _page(orchestrator: Orchestrator, backfill: LaunchedBackfill) -> str:
    return f"{orchestrator.url}/runs/b/{backfill.backfill_id}"


def _web_url(settings: Settings) -> str:
    running = find_running_services(settings.home.absolute())
    webserver = None if running is None else running.processes.get("webserver")
    port = settings.web_port if webserver is None or webserver.port is None else webserver.port
    return http_url(settings.web_host, port)
