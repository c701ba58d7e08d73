"""A job under way, for the person who waits for it: a bar that moves, or lines where nothing can move."""

import time

import sqlalchemy as sa
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from tickstock_pipeline.cli.terminal import err
from tickstock_pipeline.errors import JobError
from tickstock_pipeline.imports.status import status_of
from tickstock_pipeline.messaging.job_status import JobStatus
from tickstock_pipeline.runtime.attach import find_running_services
from tickstock_pipeline.settings import Settings
from tickstock_pipeline.storage.job_progress import read_job_runs, read_job_symbols
from tickstock_pipeline.storage.jobs import JobState, read_job

_LOOK_EVERY_S = 0.5
_NOBODY_TAKES_IT_S = 30.0
_FAILURES_SHOWN = 20


def exit_code_of(status: JobStatus) -> int:
    """0: everything was done; 2: some symbols failed; 1: the job failed or was cancelled."""
    if status.status != "completed":
        return 1
    return 2 if status.failed_symbols else 0


def job_status(engine: sa.Engine, job_id: str) -> JobStatus:
    """What the tables say of a job.

    Raises
    ------
    JobError
        If there is no such job.
    """
    with engine.connect() as connection:
        job = read_job(connection, job_id) if job_id.isprintable() else None
        if job is None:
            raise JobError(f"There is no job {job_id!a}.", advice="`tickstock jobs` lists the jobs that there are.")
        return status_of(job, read_job_symbols(connection, job_id), read_job_runs(connection, job_id))


def watch_job(engine: sa.Engine, settings: Settings, job_id: str) -> JobStatus | None:
    """Show a job until it has ended, or the person has seen enough.

    Returns
    -------
    How it ended; None if the person left with Ctrl-C, which does not touch the job.
    """
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=40),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("[red]{task.fields[failed]}"),
        console=err,
    )
    shown = -1
    warned = False
    began = time.monotonic()
    try:
        with bar:
            task = bar.add_task(job_id, total=100, failed="", start=True)
            while True:
                status = job_status(engine, job_id)
                failed = f"{len(status.failed_symbols)} failed" if status.failed_symbols else ""
                bar.update(task, completed=status.progress, description=status.message, failed=failed)
                if not err.is_terminal and status.progress // 10 > shown // 10:
                    shown = status.progress
                    err.print(f"{status.message}, {status.progress} %")
                if JobState(status.status).is_over:
                    break
                is_waiting = status.status in (JobState.SUBMITTED, JobState.QUEUED) and not status.run_ids
                if is_waiting and not warned and time.monotonic() - began > _patience(settings):
                    warned = True
                    err.print(
                        "[yellow]Nothing takes the job up.[/] It is stored and waits. Runs are started by Dagster's "
                        "daemon, with the sensor `import_jobs` switched on: see `tickstock status`, or start "
                        "`tickstock up`."
                    )
                time.sleep(_LOOK_EVERY_S)
    except KeyboardInterrupt:
        err.print(
            f"\nThe job goes on. Watch it with [bold]tickstock jobs {job_id} --watch[/], end it with "
            f"[bold]tickstock jobs cancel {job_id}[/]."
        )
        return None
    show_end(status)
    return status


def show_end(status: JobStatus) -> None:
    """How a job ended, and which symbols failed."""
    style = {"completed": "green", "cancelled": "yellow"}.get(status.status, "red")
    err.print(f"[{style}]{status.status}[/]: {status.error_message or status.message}", soft_wrap=True)
    for symbol, reason in list(status.errors.items())[:_FAILURES_SHOWN]:
        err.print(f"  {symbol}: {reason}", markup=False, soft_wrap=True)
    if len(status.errors) > _FAILURES_SHOWN:
        err.print(f"  and {len(status.errors) - _FAILURES_SHOWN} more; `tickstock jobs {status.job_id}` shows all.")


def _patience(settings: Settings) -> float:
    """Where an instance of ours runs without a daemon, or none runs, there is nothing to wait for."""
    running = find_running_services(settings.home.absolute())
    return _NOBODY_TAKES_IT_S if running is not None and "daemon" in running.processes else 0.0
