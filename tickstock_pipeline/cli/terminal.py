"""How everything looks in a terminal: colours, tables, errors. Results go to stdout, everything else to stderr."""

import json
from datetime import UTC, date, datetime
from typing import Annotated
from uuid import UUID

import typer
from rich import box
from rich.console import Console, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tickstock_pipeline.errors import TickstockError

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of tables.")]

# A pipe has no width of its own, and a table must not be cut in one.
_PIPE_WIDTH = 250


def print_error(error: TickstockError) -> None:
    """What went wrong, and what to do about it."""
    message = Text(error.message)
    if error.advice:
        message.append("\n\n")
        message.append("What to do: ", style="bold")
        message.append(error.advice)
    err.print(Panel(message, title="[bold red]tickstock[/]", title_align="left", border_style="red", expand=False))


def print_result(*items: RenderableType) -> None:
    """Results for people on stdout, a blank line between them: as wide as the terminal, never cut in a pipe."""
    console = out if out.is_terminal else Console(width=_PIPE_WIDTH, highlight=False)
    for position, item in enumerate(items):
        if position:
            console.print()
        console.print(item)


def print_json(value: object) -> None:
    """A result for programs on stdout: one JSON document, instants in ISO 8601, UTC."""
    typer.echo(json.dumps(value, indent=2, allow_nan=False, default=_as_json))


def shown_instant(time: datetime) -> str:
    """An instant for people, in UTC whatever zone the database's session is in."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def new_table(title: str, *columns: str) -> Table:
    """An empty table in the house's look; add columns that need a style of their own afterwards."""
    return Table(
        *columns,
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        # Narrow gaps: the table of detections has to fit 80 columns.
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )


def _as_json(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")
