"""``tickstock doctor``: what is wrong here, and how to mend it."""

from collections.abc import Iterator
from dataclasses import asdict

import typer
from pydantic import SecretStr
from rich.table import Table
from rich.text import Text

from tickstock_pipeline.cli.checks.finding import Finding, Level
from tickstock_pipeline.cli.checks.machine import check_disk, check_ports, check_programs, check_python
from tickstock_pipeline.cli.checks.services import check_data, check_servers
from tickstock_pipeline.cli.terminal import JsonOption, new_table, out, print_json, print_result
from tickstock_pipeline.errors import ServiceError, SettingsError
from tickstock_pipeline.runtime.attach import find_running_services, with_running_services
from tickstock_pipeline.settings import Settings

EXAMPLES = """Examples:

tickstock doctor

tickstock doctor --json | jq '.findings[] | select(.level != "ok")'
"""

_MARKS = {Level.OK: ("✓", "ok", "green"), Level.WARNING: ("!", "!", "yellow"), Level.PROBLEM: ("✗", "X", "bold red")}


def doctor(as_json: JsonOption = False) -> None:
    """Check this machine, the settings, the servers and the data, and say how to mend what is wrong.

    Nothing is started or changed. Exit code 1 if there is a problem; warnings alone give 0.
    """
    settings: Settings | None = None
    try:
        settings = Settings.load()
        findings = list(_findings(settings))
    except SettingsError as error:
        findings = [*check_python(), Finding.of_error("Settings", error)]
    is_well = all(finding.level is not Level.PROBLEM for finding in findings)
    if as_json:
        print_json(
            {
                "ok": is_well,
                "findings": [asdict(finding) for finding in findings],
                "settings": {variable: value for variable, value, _ in setting_rows(settings)},
            }
        )
    else:
        print_result(_list(findings), _settings_table(settings))
        problems = sum(finding.level is Level.PROBLEM for finding in findings)
        warnings = sum(finding.level is Level.WARNING for finding in findings)
        typer.echo("\nAll is well." if not problems + warnings else f"\nProblems: {problems}, warnings: {warnings}.")
    if not is_well:
        raise typer.Exit(1)


def setting_rows(settings: Settings | None) -> list[tuple[str, str | None, str]]:
    """All settings: variable, value, meaning. A secret's value is never shown; None is a value that is not set.

    Parameters
    ----------
    settings : None if they cannot be used: then no value is shown
    """
    return [
        (_variable(name), _shown(getattr(settings, name, None)), field.description or "")
        for name, field in Settings.model_fields.items()
    ]


def _findings(settings: Settings) -> Iterator[Finding]:
    yield from check_python()
    given = ", ".join(_variable(name) for name in Settings.model_fields if name in settings.model_fields_set)
    yield Finding("Settings", Level.OK, f"set: {given}" if given else "all have their defaults")
    yield from check_disk(settings)
    try:
        running = find_running_services(settings.home.absolute())
    except ServiceError as error:
        yield Finding.of_error("Running instance", error)
        running = None
    yield from check_programs(settings)
    yield from check_ports(settings, running)
    attached = with_running_services(settings, running)
    yield from check_servers(attached, running)
    yield from check_data(attached)


def _variable(field: str) -> str:
    return f"TICKSTOCK_{field.upper()}"


def _shown(value: object) -> str | None:
    if isinstance(value, SecretStr):
        return "set, hidden"
    return None if value is None else str(value)


def _list(findings: list[Finding]) -> Table:
    grid = Table.grid(padding=(0, 1))
    for _ in range(2):
        grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for finding in findings:
        mark, plain_mark, style = _MARKS[finding.level]
        text = Text(finding.text)
        if finding.advice:
            text.append(f"\n→ {finding.advice}" if not out.options.ascii_only else f"\n-> {finding.advice}", "bold")
        grid.add_row(Text(plain_mark if out.options.ascii_only else mark, style), Text(finding.check, "bold"), text)
    return grid


def _settings_table(settings: Settings | None) -> Table:
    table = new_table("Settings", "Variable")
    for heading in ("Value", "Meaning"):
        table.add_column(heading, overflow="fold")
    for variable, value, meaning in setting_rows(settings):
        table.add_row(variable, Text(value if value is not None else "", "green"), Text(meaning, "dim"))
    return table
