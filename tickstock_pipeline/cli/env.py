"""``tickstock env``: the variables with which other programs see the same services."""

import shlex

import typer

from tickstock_pipeline.cli.terminal import JsonOption, err, print_json
from tickstock_pipeline.runtime.attach import attached_settings
from tickstock_pipeline.runtime.dagster_services import dagster_environment, dagster_home
from tickstock_pipeline.settings import Settings

EXAMPLES = """Examples:

eval "$(tickstock env)"; psql "$TICKSTOCK_DATABASE_URL"

eval "$(tickstock env)"; dagster asset list -m tickstock_pipeline.definitions

tickstock env --json | jq -r .TICKSTOCK_REDIS_URL
"""


def env(as_json: JsonOption = False) -> None:
    """Print `export NAME=value` lines for the running or configured services, for `eval` in a shell.

    They contain passwords: print them into a shell, not into a log.
    """
    settings = attached_settings(Settings.load())
    variables = dagster_environment(settings)
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
