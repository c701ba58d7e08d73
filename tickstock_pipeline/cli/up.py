"""``tickstock up``: start everything, do the first job, show what was found, stay until Ctrl-C."""

import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, NoReturn

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from tickstock_pipeline.cli.patterns import patterns_table
from tickstock_pipeline.cli.terminal import err, print_result
from tickstock_pipeline.runtime.backfill_progress import BackfillProgress
from tickstock_pipeline.runtime.ports import http_url
from tickstock_pipeline.runtime.up import RunningPipeline, import_and_analyse, running_pipeline, start_live_path
from tickstock_pipeline.settings import Settings
from tickstock_pipeline.storage.engine import create_engine
from tickstock_pipeline.storage.patterns import latest_patterns

EXAMPLES = """Examples:

tickstock up

tickstock up --live

TICKSTOCK_HOME=/tmp/second TICKSTOCK_GATEWAY_PORT=8081 tickstock up --once --port 3001
"""

_DETECTIONS_SHOWN = 15
_LINES_IN_A_LOG = 20


def up(
    once: Annotated[bool, typer.Option("--once", help="Stop everything and exit when the first job is done.")] = False,
    live: Annotated[
        bool | None,
        typer.Option(
            help="Start the live path: a worker, and the feed of TICKSTOCK_LIVE_SOURCE; without one, a demonstration "
            "on the sample's last week. Default: only where there is a live source, and not with --once.",
            show_default=False,
        ),
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port of Dagster's web UI (TICKSTOCK_WEB_PORT).")] = None,
) -> None:
    """Start PostgreSQL, Redis and Dagster, import and analyse what the provider has, and stay up until Ctrl-C.

    What is done already is not done again: a second start takes seconds.
    """
    if once and live:
        raise typer.BadParameter("choose one of them: live bars come until Ctrl-C", param_hint="--once, --live")
    settings = Settings.load(**({} if port is None else {"web_port": port}))
    started = time.monotonic()
    with _stopped_by_signals(), _Progress(started) as announcer:
        try:
            with running_pipeline(settings, announcer) as pipeline:
                left = import_and_analyse(pipeline, announcer)
                announcer.close()
                _show_result(pipeline, left, started)
                if once:
                    if left:
                        raise typer.Exit(1)
                    return
                if live or (live is None and pipeline.settings.live != "none"):
                    start_live_path(pipeline, announcer)
                    gateway = http_url(pipeline.settings.gateway_host, pipeline.settings.gateway_port)
                    socket = gateway.replace("http", "ws", 1)
                    err.print(f"\n  Live      tickstock monitor --watch; {socket}/patterns/realtime")
                err.print("\nRunning. [bold]Ctrl-C[/] stops everything.")
                pipeline.wait()
        except KeyboardInterrupt:
            announcer.close()
            err.print("Stopped: every process that was started here has ended.")
            raise typer.Exit(0 if not once else 130) from None


def _show_result(pipeline: RunningPipeline, left: dict[str, int], started: float) -> None:
    engine = create_engine(pipeline.settings.database_dsn())
    try:
        with engine.connect() as connection:
            rows = latest_patterns(connection, limit=_DETECTIONS_SHOWN)
    finally:
        engine.dispose()
    if rows:
        print_result(patterns_table(rows, title="Latest detections"))
    else:
        err.print("Nothing is analysed yet. `tickstock import AAPL --years 2 --analyze` imports and analyses.")
    if left:
        missing = ", ".join(f"{asset}: {count}" for asset, count in left.items())
        err.print(f"[bold red]Not everything could be done.[/] Partitions still missing or stale: {missing}.")
        err.print(f"The failed runs say why: {pipeline.web_url}/runs?q[0]=status%3AFAILURE")
    err.print(f"Ready in {time.monotonic() - started:.0f} s.")
    err.print(f"\n  Dagster   {pipeline.web_url}/asset-groups")
    err.print('  SQL       eval "$(tickstock env)"; psql')
    err.print("  Commands  tickstock status, tickstock patterns --help")


class _Progress:
    """Steps as lines with their time, the backfill as a bar fed by Dagster's own partition counts."""

    def __init__(self, started: float) -> None:
        self._started = started
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=40),
            MofNCompleteColumn(),
            TextColumn("partitions"),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[detail]}"),
            console=err,
            transient=False,
        )
        self._task: TaskID | None = None
        self._backfill = ""
        self._shown = -math.inf

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def step(self, words: str) -> None:
        err.print(f"[dim]{time.monotonic() - self._started:5.1f} s[/]  {words} …")

    def note(self, words: str) -> None:
        err.print(f"[dim]{time.monotonic() - self._started:5.1f} s[/]  {words}")

    def progress(self, progress: BackfillProgress) -> None:
        if self._backfill != progress.backfill_id:
            self._backfill = progress.backfill_id
            self._shown = -math.inf
            self._bar.start()
            self._task = self._bar.add_task("Import and analyse", total=progress.targeted or None, detail="")
        if self._task is None:
            return
        failed = f", {progress.failed} failed" if progress.failed else ""
        under_way = sorted(asset.asset for asset in progress.assets if asset.in_progress)
        self._bar.update(
            self._task,
            completed=progress.materialized,
            total=progress.targeted or None,
            detail=", ".join(under_way[:3]) + failed if not progress.is_over else failed.removeprefix(", "),
        )
        step = progress.targeted / _LINES_IN_A_LOG
        if not err.is_terminal and (progress.is_over or progress.materialized >= self._shown + step):
            # A log file gets a line now and then instead of a bar that moves.
            self._shown = progress.materialized
            self.note(f"Import and analyse: {progress.materialized}/{progress.targeted} partitions{failed}")

    def close(self) -> None:
        self._bar.stop()


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal end us in order; while that goes on, more of them change nothing."""

    def interrupt(_: int, __: FrameType | None) -> NoReturn:
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    # What is ignored stays so: nohup means it.
    numbers = [n for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) != signal.SIG_IGN]
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
