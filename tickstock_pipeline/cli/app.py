"""The command ``tickstock``: which commands there are, and what happens when one of them fails."""

import sys
from typing import Annotated

import typer

from tickstock_pipeline import __version__
from tickstock_pipeline.cli import db, doctor, env, patterns, status, up
from tickstock_pipeline.cli.terminal import print_error
from tickstock_pipeline.errors import TickstockError

app = typer.Typer(
    name="tickstock",
    help="Stock prices in, patterns out: import, analyse and watch, on Dagster.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("up")(up.up)
app.command("status", epilog=status.EXAMPLES)(status.status)
app.command("patterns", epilog=patterns.EXAMPLES)(patterns.patterns)
app.command("doctor", epilog=doctor.EXAMPLES)(doctor.doctor)
app.command("env", epilog=env.EXAMPLES)(env.env)
app.add_typer(db.app, name="db")


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line; a failure of ours ends it with a message and exit code 1, never with a stack trace."""
    try:
        app()
    except TickstockError as error:
        print_error(error)
        sys.exit(1)
