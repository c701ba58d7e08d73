"""What to ask of the orchestrator next, for the jobs that are under way; it may be any, and it is asked by name.

1. A chunk of symbols goes through the job's stages one after the other; chunks do not wait for each other, except for
   analysis at the end.
2. A stage of a chunk is over when each symbol's steps are recorded. A run that ended before that was killed: what is
   left is asked for again. After three runs in a row that brought nothing it has failed: something in it kills them.
3. No more runs are asked for than a few, so that a small job is not behind all of a large one.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from tickstock_pipeline.imports.planning import job_years
from tickstock_pipeline.imports.stages import Stage, Step, job_stages, owed_steps
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.storage.job_progress import (
    JobRun,
    JobSymbol,
    RunState,
    read_job_runs,
    read_job_symbols,
    record_step,
)
from tickstock_pipeline.storage.jobs import JobState, StoredJob, end_job

MOST_FRUITLESS = 3


@dataclass(frozen=True)
class Work:
    """A run to ask for: these assets over the range of partitions from ``first`` to ``last``.

    Attributes
    ----------
    is_checked : whether the assets' checks are run too. They judge whole tables, so one run of a stage is enough.
    """

    run: JobRun
    assets: tuple[str, ...]
    first: Partition
    last: Partition
    is_checked: bool


@dataclass(frozen=True)
class GivenUp:
    """A step that will not be done for these symbols, and why."""

    symbols: tuple[str, ...]
    step: str
    reason: str


@dataclass(frozen=True)
class JobView:
    """A job with all that is known of it."""

    job: StoredJob
    symbols: Sequence[JobSymbol]
    runs: Sequence[JobRun]

    @classmethod
    def read(cls, connection: sa.Connection, job: StoredJob) -> "JobView":
        """The view of a job now."""
        return cls(job, read_job_symbols(connection, job.job_id), read_job_runs(connection, job.job_id))

    @property
    def in_flight(self) -> list[JobRun]:
        """Runs that are asked for and not over."""
        return [run for run in self.runs if not run.status.is_over]


@dataclass(frozen=True)
class NextSteps:
    """What is to be done for a job now.

    Attributes
    ----------
    work : runs to ask for, also those that were asked for and are not known to have begun
    given_up : what will not be done
    is_over : nothing is left to do
    """

    work: tuple[Work, ...] = ()
    given_up: tuple[GivenUp, ...] = ()
    is_over: bool = False


def next_steps(view: JobView, order: Mapping[str, int]) -> NextSteps:
    """Rules 1 and 2 for one job.

    Parameters
    ----------
    order : each symbol's place on the grid, in which a run's range goes
    """
    job = view.job
    stages = job_stages(job)
    if job.first_date is None or job.last_date is None:
        return NextSteps(is_over=True)
    years = job_years((job.first_date, job.last_date))
    runs: dict[tuple[str, int], list[JobRun]] = {}
    for run in sorted(view.runs, key=lambda run: run.attempt):
        runs.setdefault((run.stage, run.chunk), []).append(run)
    is_imported = not any(
        owed_steps(symbol, stage.steps, stages) for symbol in view.symbols for stage in stages if not stage.is_analysis
    )
    work: list[Work] = []
    given_up: list[GivenUp] = []
    is_waiting = any(symbol.chunk is None for symbol in view.symbols)
    chunks = _chunks(view.symbols)
    last = max(chunks, default=0)
    for number, symbols in chunks.items():
        stage = next((found for found in stages if _owed(symbols, found, stages)), None)
        if stage is None:
            continue
        is_waiting = True
        if stage.is_analysis and job.analysis_mode == "batch" and not is_imported:
            continue
        earlier = runs.get((stage.name, number), [])
        before = earlier[-1] if earlier else None
        if before is not None and before.status is RunState.STARTED:
            continue
        owed = _owed(symbols, stage, stages)
        n_owed = sum(len(steps) for steps in owed.values())
        fruitless = sum(1 for run in earlier if run.status.is_over and run.n_owed <= n_owed)
        if before is not None and before.status.is_over and fruitless >= MOST_FRUITLESS:
            times = f"its run ended {fruitless} times without having done any of it"
            given_up += _give_up(symbols, stage, stages, f"{times} (run {before.run_id} {before.status})")
            continue
        if _span(symbols, order) != len(symbols):
            given_up += _give_up(symbols, stage, stages, "the order of the partitions has changed; submit it again")
            continue
        attempt = 1 if before is None else before.attempt + before.status.is_over
        run = JobRun(job.job_id, stage.name, number, attempt, n_owed=n_owed)
        asked = sorted(owed, key=order.__getitem__)
        steps = [step for step in stage.steps if any(step in steps for steps in owed.values())]
        work.append(
            Work(
                run,
                tuple(asset for step in steps for asset in step.assets),
                Partition(asked[0], years[0]),
                Partition(asked[-1], years[-1]),
                is_checked=number == last,
            )
        )
    return NextSteps(tuple(work), tuple(given_up), is_over=not is_waiting)


def shared_out(wanted: Sequence[Sequence[Work]], room: int) -> list[Work]:
    """Rule 3: ``room`` pieces of work at most, from each job in turn."""
    queues = deque(deque(work) for work in wanted if work)
    chosen: list[Work] = []
    while queues and len(chosen) < room:
        queue = queues.popleft()
        chosen.append(queue.popleft())
        if queue:
            queues.append(queue)
    return chosen


def end_finished(connection: sa.Connection, job: StoredJob, symbols: Sequence[JobSymbol]) -> None:
    """End a job with nothing left to do: it has failed only if each of its symbols has."""
    if symbols and all(symbol.errors for symbol in symbols):
        reasons = {reason for symbol in symbols for reason in symbol.errors.values()}
        every = f"All {len(symbols)} symbols failed" if len(symbols) > 1 else f"{symbols[0].symbol} failed"
        said = f": {reasons.pop()}" if len(reasons) == 1 else "; see errors."
        end_job(connection, job.job_id, JobState.FAILED, every + said)
    else:
        end_job(connection, job.job_id, JobState.COMPLETED)


def record_given_up(connection: sa.Connection, job_id: str, steps: NextSteps) -> None:
    """Note what will not be done, and why."""
    for item in steps.given_up:
        record_step(connection, job_id, item.symbols, item.step, item.reason)


def _chunks(symbols: Sequence[JobSymbol]) -> dict[int, list[JobSymbol]]:
    chunks: dict[int, list[JobSymbol]] = {}
    for symbol in symbols:
        if symbol.chunk is not None:
            chunks.setdefault(symbol.chunk, []).append(symbol)
    return dict(sorted(chunks.items()))


def _owed(symbols: Sequence[JobSymbol], stage: Stage, stages: Sequence[Stage]) -> dict[str, list[Step]]:
    found = {symbol.symbol: owed_steps(symbol, stage.steps, stages) for symbol in symbols}
    return {symbol: steps for symbol, steps in found.items() if steps}


def _span(symbols: Sequence[JobSymbol], order: Mapping[str, int]) -> int:
    places = [order[symbol.symbol] for symbol in symbols]
    return max(places) - min(places) + 1


def _give_up(symbols: Sequence[JobSymbol], stage: Stage, stages: Sequence[Stage], reason: str) -> list[GivenUp]:
    return [
        GivenUp(left, step.name, reason)
        for step in stage.steps
        if (left := tuple(item.symbol for item in symbols if owed_steps(item, [step], stages)))
    ]
