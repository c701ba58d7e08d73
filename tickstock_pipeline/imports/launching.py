"""What to ask of the orchestrator next, for the jobs that are under way; it may be any, and it is asked by name.

1. A chunk of symbols goes through the job's stages one after the other; chunks do not wait for each other, except for
   analysis at the end.
2. A stage of a chunk is over when each symbol's steps are recorded and its run has ended. A run that ended before it
   had recorded them, or before it had told the orchestrator, was killed: what is left is asked for again. After three
   runs that have brought nothing it has failed: something in it kills them.
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
    if view.job.first_date is None or view.job.last_date is None:
        return NextSteps(is_over=True)
    plan = _Plan(view, job_years((view.job.first_date, view.job.last_date)), order)
    chunks = _chunks(view.symbols)
    found = [plan.next_of(number, symbols, is_last=number == max(chunks)) for number, symbols in chunks.items()]
    return NextSteps(
        tuple(work for chunk in found for work in chunk.work),
        tuple(item for chunk in found for item in chunk.given_up),
        is_over=all(chunk.is_over for chunk in found) and all(symbol.chunk is not None for symbol in view.symbols),
    )


class _Plan:
    """A job's stages, and the runs of each for each chunk."""

    def __init__(self, view: JobView, years: range, order: Mapping[str, int]) -> None:
        self._job = view.job
        self._years = years
        self._order = order
        self._stages = job_stages(view.job)
        self._runs: dict[tuple[str, int], list[JobRun]] = {}
        for run in sorted(view.runs, key=lambda run: run.attempt):
            self._runs.setdefault((run.stage, run.chunk), []).append(run)
        self._is_imported = not any(self._owed(view.symbols, stage) for stage in self._stages if not stage.is_analysis)

    def next_of(self, number: int, symbols: Sequence[JobSymbol], *, is_last: bool) -> NextSteps:
        """What comes next for a chunk."""
        for stage in self._stages:
            runs = self._runs.get((stage.name, number), [])
            run = runs[-1] if runs else None
            owed = self._owed(symbols, stage)
            if owed or _has_more_to_tell(runs, symbols, stage):
                break
        else:
            return NextSteps(is_over=True)
        is_early = stage.is_analysis and self._job.analysis_mode == "batch" and not self._is_imported
        if is_early or (run is not None and run.status is RunState.STARTED):
            return NextSteps()
        n_owed = sum(len(steps) for steps in owed.values())
        n_fruitless = sum(1 for earlier in runs if earlier.status.is_over and earlier.n_owed <= n_owed)
        if run is not None and run.status.is_over and n_fruitless >= MOST_FRUITLESS:
            times = f"its run ended {n_fruitless} times before it had done any of it"
            return self._given_up(symbols, stage, f"{times} (run {run.run_id} {run.status})")
        if _span(symbols, self._order) != len(symbols):
            return self._given_up(symbols, stage, "the order of the partitions has changed; submit it again")
        # where every result is recorded, the orchestrator is to hear of them all
        asked = owed or {symbol.symbol: list(stage.steps) for symbol in symbols}
        attempt = 1 if run is None else run.attempt + run.status.is_over
        in_order = sorted(asked, key=self._order.__getitem__)
        work = Work(
            JobRun(self._job.job_id, stage.name, number, attempt, n_owed=n_owed),
            tuple(
                asset for step in stage.steps if any(step in steps for steps in asked.values()) for asset in step.assets
            ),
            Partition(in_order[0], self._years[0]),
            Partition(in_order[-1], self._years[-1]),
            is_checked=is_last,
        )
        return NextSteps((work,))

    def _owed(self, symbols: Sequence[JobSymbol], stage: Stage) -> dict[str, list[Step]]:
        found = {symbol.symbol: owed_steps(symbol, stage.steps, self._stages) for symbol in symbols}
        return {symbol: steps for symbol, steps in found.items() if steps}

    def _given_up(self, symbols: Sequence[JobSymbol], stage: Stage, reason: str) -> NextSteps:
        left = {
            step: tuple(item.symbol for item in symbols if owed_steps(item, [step], self._stages))
            for step in stage.steps
        }
        return NextSteps(given_up=tuple(GivenUp(names, step.name, reason) for step, names in left.items() if names))


def _has_more_to_tell(runs: Sequence[JobRun], symbols: Sequence[JobSymbol], stage: Stage) -> bool:
    """Whether a stage whose results are all recorded is not over for the orchestrator.

    Its run is still at it; or it was killed in between, since nothing that it recorded explains why it did not succeed.
    """
    if not runs:
        return False
    run = runs[-1]
    if not run.status.is_over:
        return True
    n_told_in_vain = sum(1 for earlier in runs if earlier.n_owed == 0)
    is_explained = any(step.name in symbol.errors for step in stage.steps for symbol in symbols)
    return run.status is not RunState.SUCCEEDED and not is_explained and n_told_in_vain < MOST_FRUITLESS


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


def _span(symbols: Sequence[JobSymbol], order: Mapping[str, int]) -> int:
    places = [order[symbol.symbol] for symbol in symbols]
    return max(places) - min(places) + 1
