"""``tickstock env``: the variables with which other programs see the same services."""

import shlex
from pathlib import Path

import typer
from sqlalchemy.engine import make_url

from tickstock_pipeline.cli.terminal import JsonOption, err, print_json
from tickstock_pipeline.runtime.attach import attached_settings
from tickstock_pipeline.runtime.binaries import find_postgres
from tickstock_pipeline.runtime.dagster_services import dagster_environment, dagster_home
from tickstock_pipeline.settings import Settings

EXAMPLES = """Examples:

eval "$(tickstock env)"; psql

eval "$(tickstock env)"; pg_dump --format=custom --file=tickstock.dump

eval "$(tickstock env)"; dagster asset list -m tickstock_pipeline.definitions

tickstock env --json | jq -r .TICKSTOCK_REDIS_URL
"""


def env(as_json: JsonOption = False) -> None:
    """Print `export NAME=value` lines for the running or configured services, for `eval` in a shell.

    They contain passwords: print them into a shell, not into a log. With the embedded PostgreSQL, its own `psql`,
    `pg_dump` and `pg_restore` come first on the PATH: a dump needs a program that is not older than the server.
    """
    configured = Settings.load()
    settings = attached_settings(configured)
    variables = {**dagster_environment(settings), **_libpq_environment(settings.database_dsn())}
    if not (dagster_home(settings) / "dagster.yaml").is_file():
        err.print(
            f"Note: {dagster_home(settings)} has no dagster.yaml yet: start `tickstock up` once, or copy the "
            "repository's dagster.yaml there.",
            markup=False,
            soft_wrap=True,
        )
    if as_json:
        print_json(variables)
        return
    for name, value in variables.items():
        typer.echo(f"export {name}={shlex.quote(value)}")
    if configured.database_url is None and (folder := _clients(configured)) is not None:
        typer.echo(f'export PATH={shlex.quote(str(folder))}:"$PATH"')


def _clients(settings: Settings) -> Path | None:
    """The folder of the embedded server's own clients, if it has any."""
    folder = find_postgres(settings.postgres_bin).folder
    return folder if (folder / "pg_dump").is_file() else None


def _libpq_environment(dsn: str) -> dict[str, str]:
    """For psql and pg_dump, so that nobody has to put a URL with a password on a command line."""
    url = make_url(dsn)
    given = {
        "PGHOST": url.host,
        "PGPORT": url.port,
        "PGUSER": url.username,
        "PGPASSWORD": url.password,
        "PGDATABASE": url.database,
    }
    return {name: str(value) for name, value in given.items() if value}
