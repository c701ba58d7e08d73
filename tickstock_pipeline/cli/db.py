"""``tickstock db``: the version of the database's schema."""

import sqlalchemy as sa
import typer

from tickstock_pipeline.cli.terminal import JsonOption, err, print_json
from tickstock_pipeline.runtime.attach import attached_settings
from tickstock_pipeline.settings import Settings
from tickstock_pipeline.storage import schema
from tickstock_pipeline.storage.engine import create_engine

app = typer.Typer(no_args_is_help=True, help="Show and update the version of the database's schema.")

_UPGRADE_EXAMPLES = """Examples:

tickstock db upgrade

TICKSTOCK_DATABASE_URL=postgresql://me@db/stocks tickstock db upgrade
"""
_REVISION_EXAMPLES = """Examples:

tickstock db revision || tickstock db upgrade

tickstock db revision --json
"""


@app.command("upgrade", epilog=_UPGRADE_EXAMPLES)
def upgrade() -> None:
    """Create or update the schema, and add default definitions that are missing; nothing else is changed.

    One transaction: if a step fails, the database is as it was. `tickstock up` does the same at its start.
    """
    dsn = attached_settings(Settings.load()).database_dsn()
    before = _current(dsn)
    schema.upgrade(dsn)
    after = _current(dsn)
    if before == after:
        typer.echo(f"The schema is up to date: {after}.")
    else:
        typer.echo(f"Schema upgraded from {before or 'an empty database'} to {after}.")


@app.command("revision", epilog=_REVISION_EXAMPLES)
def revision(as_json: JsonOption = False) -> None:
    """Print the schema version of the database and the one this program needs; exit code 1 if they differ."""
    current = _current(attached_settings(Settings.load()).database_dsn())
    head = schema.head_revision()
    if as_json:
        print_json({"current": current, "head": head})
    else:
        typer.echo(f"current  {current or 'none'}\nhead     {head}")
    if current != head:
        err.print("They differ: run [bold]tickstock db upgrade[/], or update the program.")
        raise typer.Exit(1)


def _current(dsn: str) -> str | None:
    engine = create_engine(dsn, poolclass=sa.NullPool)
    with engine.connect() as connection:
        return schema.current_revision(connection)
