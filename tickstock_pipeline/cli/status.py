"""``tickstock status``: what runs, what is stored, what is missing, what happened last."""

from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
import typer
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from tickstock_pipeline.cli.live_state import feed_table, read_feed_state
from tickstock_pipeline.cli.overview import Overview, TimeframeCoverage, read_overview
from tickstock_pipeline.cli.services import Service, State, services_of
from tickstock_pipeline.cli.terminal import JsonOption, err, new_table, print_json, print_result, shown_instant
from tickstock_pipeline.errors import TickstockError
from tickstock_pipeline.runtime.attach import attached_settings, find_running_services, with_running_services
from tickstock_pipeline.settings import Settings
from tickstock_pipeline.storage.engine import create_engine
from tickstock_pipeline.storage.schema import current_revision, head_revision, require_head

EXAMPLES = """Examples:

tickstock status

tickstock status --json | jq '.coverage[].bars_without_analysis'
"""

_STATE_STYLES = {State.UP: "green", State.DOWN: "bold red", State.NOT_STARTED: "dim"}


def status(as_json: JsonOption = False) -> None:
    """Show which services run, how the live feed is, what is stored, analysed and refused, and what happened last.

    Exit code 1 if nothing runs, a service is down, or the database has another schema version.
    """
    configured = Settings.load()
    running = find_running_services(configured.home.absolute())
    found = with_running_services(configured, running)
    services = services_of(found, running)
    live = read_feed_state(found)
    if not as_json:
        attached_settings(configured)  # says what to do if there is nothing to show
        print_result(_services_table(services), *([] if live is None else [feed_table(live)]))
    revision: str | None = None
    overview: Overview | None = None
    failure: TickstockError | None = None
    try:
        engine = create_engine(attached_settings(configured).database_dsn(), poolclass=sa.NullPool)
        with engine.connect() as connection:
            revision = current_revision(connection)
            require_head(connection)
            overview = read_overview(connection)
    except TickstockError as error:
        failure = error
    if as_json:
        print_json(
            {
                "home": str(configured.home.absolute()),
                "pid": None if running is None else running.pid,
                "services": [asdict(service) for service in services],
                "live": live,
                "schema": {"revision": revision, "head": head_revision()},
                **_data(overview),
                "error": None if failure is None else failure.message,
            }
        )
    elif overview is not None:
        typer.echo(f"\nSchema {revision}, up to date.\n")
        print_result(*_tables(overview))
    if failure is not None:
        if as_json:
            raise typer.Exit(1)
        raise failure
    down = [service.name for service in services if service.state is State.DOWN]
    if down:
        err.print(f"Down: {', '.join(down)}. [bold]tickstock doctor[/] says more.")
        raise typer.Exit(1)


def _data(overview: Overview | None) -> dict[str, Any]:
    if overview is None:
        return dict.fromkeys(("rows", "coverage", "quarantined", "imports", "failed_imports", "events"))
    return asdict(overview)


def _services_table(services: list[Service]) -> Table:
    table = new_table("Services", "Service", "State")
    table.add_column("PID", justify="right")
    table.add_column("Port", justify="right")
    table.add_column("")
    for service in services:
        table.add_row(
            service.name,
            Text(service.state, style=_STATE_STYLES[service.state]),
            "" if service.pid is None else str(service.pid),
            "" if service.port is None else str(service.port),
            Text(service.detail),
        )
    return table


def _tables(overview: Overview) -> list[RenderableType]:
    tables: list[RenderableType] = [_coverage_table(overview.coverage)]
    imports = overview.imports
    if imports.latest is not None:
        outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in imports.outcomes.items())
        tables.append(
            f"Partitions by their last import: {outcomes}; the latest at {shown_instant(imports.latest)} UTC."
        )
    tables.append(_rows_table(overview))
    if overview.quarantined:
        table = new_table("Quarantined bars", "Timeframe", "Reason", "Bars", "Symbols", "Latest (UTC)")
        for refused in overview.quarantined:
            table.add_row(
                *(refused.timeframe, Text(refused.reason), f"{refused.bars:,}", f"{refused.symbols:,}"),
                shown_instant(refused.latest),
            )
        tables.append(table)
    if overview.failed_imports:
        failed = overview.imports.outcomes["failed"]
        table = new_table(f"Failed imports, the latest of {failed:,}", "Symbol", "Timeframe", "Year", "Source", "Error")
        for item in overview.failed_imports:
            table.add_row(Text(item.symbol), item.timeframe, str(item.year), item.source, Text(item.error or ""))
        tables.append(table)
    if overview.events:
        table = new_table("Latest integration events", "Time (UTC)", "From", "Event", "Symbol", "Pattern", "Error")
        for event in overview.events:
            what = event.checkpoint or event.event_type
            table.add_row(
                shown_instant(event.timestamp),
                *(Text(value or "") for value in (event.source_system, what, event.symbol, event.pattern_name)),
                Text(event.error_message or "", style="red"),
            )
        tables.append(table)
    return tables


def _coverage_table(coverage: list[TimeframeCoverage]) -> Table:
    table = new_table("Bars and their analysis", "Timeframe")
    for heading in ("Symbols", "Bars", "First", "Last", "Without analysis"):
        table.add_column(heading, justify="right")
    for row in coverage:
        missing = row.bars_without_analysis
        if missing is None:
            shown = Text(row.problem, style="red")
        elif row.stale_partitions:
            shown = Text(f"{missing:,} in {row.stale_partitions:,} partitions", style="yellow")
        else:
            shown = Text("none" if row.bars else "", style="green")
        table.add_row(row.timeframe, f"{row.symbols:,}", f"{row.bars:,}", row.first or "", row.last or "", shown)
    return table


def _rows_table(overview: Overview) -> Table:
    table = new_table("Rows", "Table")
    table.add_column("Rows", justify="right")
    for name, count in overview.rows.items():
        table.add_row(name, f"{count:,}")
    return table
