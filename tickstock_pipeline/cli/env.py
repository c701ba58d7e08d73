"""``tickstock env``: the variables with which other programs see the same services."""

import shlex

import typer
from sqlalchemy.engine import make_url

from tickstock_pipeline.cli.terminal import JsonOption, err, print_json
from tickstock_pipeline.runtime.attach import attached_settings
from tickstock_pipeline.runtime.dagster_services import dagster_environment, dagster_home
from tickstock_pipeline.settings import Settings

EXAMPLES = """Examples:

eval "$(tickstock env)"; psql

eval "$(tickstock env)"; dagster asset list -m tickstock_pipeline.definitions

tickstock env --json | jq -r .TICKSTOCK_REDIS_URL
"""


def env(as_json: JsonOption = False) -> None:
    """Print `export NAME=value` lines for the running or configured services, for `eval` in a shell.

    They contain passwords: print them into a shell, not into a log.
    """
    settings = attached_settings(Settings.load())
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
