"""``tickstock jobs``: what was asked for, where it stands, and how to end it."""

from datetime import datetime
from typing import Annotated

import sqlalchemy as sa
import typer
from rich.table import Table
from rich.text import Text

from tickstock_pipeline.cli.job_progress import exit_code_of, job_status, watch_job
from tickstock_pipeline.cli.terminal import JsonOption, err, new_table, print_json, print_result, shown_instant
from tickstock_pipeline.errors import JobError
from tickstock_pipeline.imports.acceptance import cancel_job
from tickstock_pipeline.imports.message import CancelRequest
from tickstock_pipeline.imports.status import StatusPublisher, redis_client, status_of
from tickstock_pipeline.messaging.job_status import JobStatus
from tickstock_pipeline.runtime.attach import attached_settings
from tickstock_pipeline.settings import Settings
from tickstock_pipeline.storage.engine import create_engine
from tickstock_pipeline.storage.job_progress import read_job_symbols
from tickstock_pipeline.storage.jobs import StoredJob, latest_jobs
from tickstock_pipeline.storage.refused_messages import RefusedMessages, read_refused
from tickstock_pipeline.storage.schema import require_head

EXAMPLES = """Examples:

tickstock jobs

tickstock jobs job_20241030_145623_abc123 --watch

tickstock jobs cancel job_20241030_145623_abc123

tickstock jobs --json | jq '.jobs[] | select(.status == "failed")'
"""

_STYLES = {"completed": "green", "failed": "red", "cancelled": "yellow", "running": "bold"}
_CANCEL = "cancel"


def jobs(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[cancel] [JOB]", help="Only this job; after `cancel`: end it.", show_default=False),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow the job, or the newest, to its end.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many at most, the newest first.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List import jobs, show one with its failed symbols, follow one to its end, or cancel one.

    Exit code for one job: 0 if all is well so far, 2 if some symbols failed, 1 if the job failed or was cancelled.
    """
    given = words or []
    is_cancel = given[:1] == [_CANCEL]
    named = given[1:] if is_cancel else given
    if len(named) > 1 or (is_cancel and not named):
        raise typer.BadParameter("give one job", param_hint="JOB")
    settings = attached_settings(Settings.load())
    engine = create_engine(settings.database_dsn())
    try:
        with engine.connect() as connection:
            require_head(connection)
        if is_cancel:
            _cancel(engine, settings, named[0])
        elif named or watch:
            _show_one(engine, settings, named[0] if named else _newest(engine), watch=watch, as_json=as_json)
        else:
            _show_all(engine, limit, as_json=as_json)
    finally:
        engine.dispose()


def _cancel(engine: sa.Engine, settings: Settings, job_id: str) -> None:
    job_status(engine, job_id)  # says so if there is none
    cancel_job(engine, CancelRequest(job_id=job_id, requested_by="command line"))
    StatusPublisher(engine, redis_client(settings)).publish(job_id)
    status = job_status(engine, job_id)
    if status.status in ("completed", "failed"):
        raise JobError(f"Job {job_id} was over before: {status.status}.", advice="There is nothing to cancel.")
    err.print("Cancelled." if status.status == "cancelled" else "It ends at the next symbol of what runs.")


def _show_one(engine: sa.Engine, settings: Settings, job_id: str, *, watch: bool, as_json: bool) -> None:
    status: JobStatus | None = job_status(engine, job_id)
    if watch:
        status = watch_job(engine, settings, job_id)
    if status is None:
        return
    if as_json:
        print_json(status.as_document())
    elif not watch:
        print_result(_one_table(status))
    over = status.completed_at is not None
    raise typer.Exit(exit_code_of(status) if over else 0)


def _show_all(engine: sa.Engine, limit: int, *, as_json: bool) -> None:
    with engine.connect() as connection:
        found = [
            (job, status_of(job, read_job_symbols(connection, job.job_id))) for job in latest_jobs(connection, limit)
        ]
        refused = read_refused(connection)
    if as_json:
        print_json(
            {
                "jobs": [status.as_document() for _, status in found],
                "refused_messages": {row.reason: row.count for row in refused},
            }
        )
        return
    if found:
        print_result(_all_table(found))
    else:
        err.print("No job was submitted yet. [bold]tickstock import --help[/] says how.")
    if refused:
        print_result(_refused_table(refused))


def _newest(engine: sa.Engine) -> str:
    with engine.connect() as connection:
        found = latest_jobs(connection, 1)
    if not found:
        raise JobError("No job was submitted yet.", advice="`tickstock import --help` says how.")
    return found[0].job_id


def _all_table(found: list[tuple[StoredJob, JobStatus]]) -> Table:
    table = new_table("Import jobs", "Job", "Accepted (UTC)", "Status", "Progress")
    for heading in ("Symbols", "Failed"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for job, status in found:
        table.add_row(
            Text(job.job_id),
            shown_instant(job.accepted_at),
            Text(status.status, style=_STYLES.get(status.status, "")),
            f"{status.progress} %",
            f"{status.total_symbols:,}",
            f"{len(status.failed_symbols):,}",
            Text(status.error_message or status.message),
        )
    return table


def _one_table(status: JobStatus) -> Table:
    table = new_table(f"Job {status.job_id}", "", "")
    rows: list[tuple[str, object]] = [
        ("Status", f"{status.status}, {status.progress} %"),
        ("", status.error_message or status.message),
        ("Symbols", f"{status.processed_symbols} of {status.total_symbols} imported"),
        ("Started (UTC)", _instant(status.started_at)),
        ("Completed (UTC)", _instant(status.completed_at)),
        ("Runs", ", ".join(status.run_ids)),
        *((symbol, reason) for symbol, reason in status.errors.items()),
    ]
    for name, value in rows:
        table.add_row(Text(name), Text(str(value)))
    return table


def _refused_table(refused: list[RefusedMessages]) -> Table:
    table = new_table("Refused messages", "Reason", "Count", "Latest (UTC)", "It began")
    for row in refused:
        table.add_row(Text(row.reason), f"{row.count:,}", shown_instant(row.latest_at), Text(row.latest_excerpt))
    return table


def _instant(time: datetime | None) -> str:
    return "" if time is None else shown_instant(time)
