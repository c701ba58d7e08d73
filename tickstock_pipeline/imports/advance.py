"""One look at all jobs under way: what has happened is noted, what comes next is asked for.

Made to be called every few seconds, and to be killed at any point: whatever was noted is true, and whatever was asked
for is asked for again under the same key until the orchestrator is seen to have it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import sqlalchemy as sa

from tickstock_pipeline.imports.acceptance import plan_accepted
from tickstock_pipeline.imports.launching import (
    JobView,
    Work,
    end_finished,
    next_steps,
    record_given_up,
    shared_out,
)
from tickstock_pipeline.imports.planning import Surroundings, chunks_of
from tickstock_pipeline.imports.status import StatusPublisher
from tickstock_pipeline.storage.job_progress import RunState, store_chunks, store_run, update_run
from tickstock_pipeline.storage.jobs import JobState, active_jobs, end_job, read_job
from tickstock_pipeline.storage.symbols import read_symbols

MOST_REQUESTS = 20
MOST_IN_FLIGHT = 10

_MOST_JOBS = 20


@dataclass(frozen=True)
class KnownRun:
    """What the orchestrator knows of a run.

    Attributes
    ----------
    state : REQUESTED for one that was created and never queued
    """

    run_id: str
    state: RunState


class Orchestrator(Protocol):
    """What runs our work."""

    def symbols(self) -> Sequence[str]:
        """The symbols of the grid, in its order."""

    def runs_of(self, job_id: str) -> Mapping[str, KnownRun]:
        """The runs of a job, by the key under which they were asked for."""

    def cancel_waiting(self, run_id: str) -> bool:
        """End a run that has not begun; False for one that has, which is left alone."""


@dataclass(frozen=True)
class Advance:
    """What to ask of the orchestrator now: symbols to add to the grid first, in this order, then runs."""

    new_symbols: tuple[str, ...] = ()
    work: tuple[Work, ...] = ()


def advance_jobs(
    engine: sa.Engine, publisher: StatusPublisher, surroundings: Surroundings, orchestrator: Orchestrator
) -> Advance:
    """Move every job on as far as it goes."""
    with engine.connect() as connection:
        before = active_jobs(connection)[:_MOST_JOBS]
    for job in before:
        plan_accepted(engine, job, surroundings)
    on_grid = orchestrator.symbols()
    with engine.connect() as connection:
        registered = read_symbols(connection, active=None)
        found = [read_job(connection, job.job_id) for job in before]
        views = [JobView.read(connection, job) for job in found if job is not None]
    wanted = [*registered, *(symbol.symbol for view in views if view.job.timeframes for symbol in view.symbols)]
    order = {symbol: place for place, symbol in enumerate(dict.fromkeys([*on_grid, *wanted]))}
    advanced = [_advance_job(engine, orchestrator, view, order) for view in views]
    room = min(MOST_REQUESTS, MOST_IN_FLIGHT - sum(job.started for job in advanced))
    work = shared_out([job.work for job in advanced], room)
    with engine.begin() as connection:
        for item in work:
            store_run(connection, item.run)
        after = {job.job_id: read_job(connection, job.job_id) for job in before}
    for job in before:
        now = after[job.job_id]
        if now is not None and now.status is not job.status:
            publisher.publish(job.job_id)
    publisher.publish_due()
    return Advance(tuple(order)[len(on_grid) :], tuple(work))


@dataclass(frozen=True)
class _Advanced:
    work: tuple[Work, ...] = ()
    started: int = 0


def _advance_job(engine: sa.Engine, orchestrator: Orchestrator, view: JobView, order: Mapping[str, int]) -> _Advanced:
    job = view.job
    if job.status is JobState.SUBMITTED or job.status.is_over:
        return _Advanced()
    known = orchestrator.runs_of(job.job_id)
    with engine.begin() as connection:
        _note_runs(connection, view, known)
        if job.cancel_requested_at is not None:
            _cancel_waiting(connection, orchestrator, view, known)
        view = JobView.read(connection, job)
        if job.cancel_requested_at is not None:
            if not view.in_flight:
                end_job(connection, job.job_id, JobState.CANCELLED)
            return _Advanced(started=len(view.in_flight))
        if any(symbol.chunk is None for symbol in view.symbols):
            store_chunks(connection, job.job_id, chunks_of([symbol.symbol for symbol in view.symbols], order))
            view = JobView.read(connection, job)
        found = next_steps(view, order)
        if found.given_up:
            record_given_up(connection, job.job_id, found)
            view = JobView.read(connection, job)
            found = next_steps(view, order)
        if found.is_over:
            end_finished(connection, job, view.symbols)
    return _Advanced(found.work, sum(run.status is RunState.STARTED for run in view.runs))


def _note_runs(connection: sa.Connection, view: JobView, known: Mapping[str, KnownRun]) -> None:
    for run in view.runs:
        found = known.get(run.key)
        if found is not None and (found.run_id, found.state) != (run.run_id, run.status):
            update_run(connection, run, found.run_id, found.state)


def _cancel_waiting(
    connection: sa.Connection, orchestrator: Orchestrator, view: JobView, known: Mapping[str, KnownRun]
) -> None:
    for run in view.runs:
        found = known.get(run.key)
        if found is None and not run.status.is_over:
            # it was asked for and never taken up
            update_run(connection, run, None, RunState.CANCELED)
        elif found is not None and not found.state.is_over and orchestrator.cancel_waiting(found.run_id):
            update_run(connection, run, found.run_id, RunState.CANCELED)
