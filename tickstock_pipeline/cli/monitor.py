"""``tickstock monitor``: live work at the moment, once or again and again."""

import time
from typing import Annotated

import sqlalchemy as sa
import typer
from rich.console import Console
from rich.live import Live

from tickstock_pipeline.cli.live_screen import as_document, screen
from tickstock_pipeline.cli.terminal import JsonOption, out, print_json, print_result
from tickstock_pipeline.messaging.connection import connect
from tickstock_pipeline.runtime.attach import attached_settings
from tickstock_pipeline.settings import Settings
from tickstock_pipeline.storage.engine import create_engine
from tickstock_pipeline.storage.schema import require_head
from tickstock_pipeline.streaming.observation import LiveView, Observer

EXAMPLES = """Examples:

tickstock monitor --watch

tickstock monitor --json | jq '.flows.latencies'
"""

_EVERY_S = 2.0


def monitor(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look every two seconds; Ctrl-C ends.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show live work: feed, workers, lag, pattern events of the last minutes and how long they took.

    Exit code 1 if PostgreSQL or Redis does not answer.
    """
    if watch and as_json:
        raise typer.BadParameter("choose one of them", param_hint="--watch, --json")
    settings = attached_settings(Settings.load())
    with create_engine(settings.database_dsn(), poolclass=sa.NullPool).connect() as connection:
        require_head(connection)
    observer = Observer(settings.database_dsn(), connect(settings.redis_dsn()))
    try:
        if watch:
            _watch(observer, out)
            return
        view, flows = observer.look(), observer.flows()
    finally:
        observer.close()
    if as_json:
        print_json(as_document(view, flows))
    else:
        print_result(screen(view, flows))
    raise typer.Exit(_exit_code(view))


def _watch(observer: Observer, console: Console) -> None:
    try:
        with Live(console=console, screen=console.is_terminal, auto_refresh=False) as live:
            while True:
                live.update(screen(observer.look(), observer.flows()), refresh=True)
                time.sleep(_EVERY_S)
    except KeyboardInterrupt:
        pass


def _exit_code(view: LiveView) -> int:
    return 1 if view.problems else 0
