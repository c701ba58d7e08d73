"""What the symbols and the runs of an import job are doing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, insert

from tickstock_pipeline.storage.job_tables import IMPORT_JOB_RUNS, IMPORT_JOB_SYMBOLS
from tickstock_pipeline.storage.texts import storable_text


@dataclass(frozen=True, slots=True)
class JobSymbol:
    """One symbol of a job.

    Attributes
    ----------
    chunk : which of the job's runs it is in; None until the job is cut into runs
    steps_done : what has ended for it, well or not
    errors : step → why it did not end well
    """

    symbol: str
    position: int
    chunk: int | None
    steps_done: frozenset[str]
    errors: Mapping[str, str]


class RunState(StrEnum):
    """Where a run that was asked of Dagster stands."""

    REQUESTED = "requested"
    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def is_over(self) -> bool:
        """Whether it will do nothing more."""
        return self not in (RunState.REQUESTED, RunState.STARTED)


@dataclass(frozen=True, slots=True)
class JobRun:
    """One run of a job: an attempt at one stage of one chunk of its symbols, with so many steps to do."""

    job_id: str
    stage: str
    chunk: int
    attempt: int
    n_owed: int = 0
    run_id: str | None = None
    status: RunState = RunState.REQUESTED
    requested_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def key(self) -> str:
        """The key under which Dagster knows it: asking twice with one key starts one run."""
        return f"{self.job_id}/{self.stage}/{self.chunk}/{self.attempt}"


def read_job_symbols(connection: sa.Connection, job_id: str) -> list[JobSymbol]:
    """The symbols of a job in the order of the request."""
    table = IMPORT_JOB_SYMBOLS
    query = sa.select(table.c.symbol, table.c.position, table.c.chunk, table.c.steps_done, table.c.errors)
    rows = connection.execute(query.where(table.c.job_id == job_id).order_by(table.c.position))
    return [JobSymbol(symbol, at, chunk, frozenset(done), errors) for symbol, at, chunk, done, errors in rows]


def store_chunks(connection: sa.Connection, job_id: str, chunks: Sequence[Sequence[str]]) -> None:
    """Note which chunk each symbol is in; those that are in one already stay there."""
    table = IMPORT_JOB_SYMBOLS
    statement = (
        sa.update(table)
        .where(table.c.job_id == job_id, table.c.symbol == sa.bindparam("of_symbol"), table.c.chunk.is_(None))
        .values(chunk=sa.bindparam("into"))
    )
    rows = [{"of_symbol": symbol, "into": number} for number, symbols in enumerate(chunks) for symbol in symbols]
    if rows:
        connection.execute(statement, rows)


def record_step(
    connection: sa.Connection, job_id: str, symbols: Sequence[str], step: str, error: str | None = None
) -> None:
    """A step has ended for these symbols of a job.

    Parameters
    ----------
    error : why it did not end well; None clears what an earlier attempt has left
    """
    table = IMPORT_JOB_SYMBOLS
    # `step = ANY (…)` keeps the order in which steps ended, and each once
    done = sa.case(
        (sa.literal(step) == sa.any_(table.c.steps_done), table.c.steps_done),
        else_=sa.func.array_append(table.c.steps_done, sa.literal(step)),
    )
    left = table.c.errors.op("-", return_type=JSONB)(sa.literal(step, sa.Text))
    errors = (
        left if error is None else left.op("||", return_type=JSONB)(sa.literal({step: storable_text(error)}, JSONB))
    )
    connection.execute(
        sa.update(table)
        .where(table.c.job_id == job_id, table.c.symbol == sa.any_(sa.literal(sorted(symbols), sa.ARRAY(sa.Text))))
        .values(steps_done=done, errors=errors, updated_at=sa.func.clock_timestamp())
    )


def read_job_runs(connection: sa.Connection, job_id: str) -> list[JobRun]:
    """The runs of a job in the order in which they were asked for."""
    table = IMPORT_JOB_RUNS
    query = sa.select(table).where(table.c.job_id == job_id)
    query = query.order_by(table.c.requested_at, table.c.stage, table.c.chunk, table.c.attempt)
    return [
        JobRun(**{**row, "status": RunState(row["status"])}) for row in connection.execute(query).mappings().fetchall()
    ]


def store_run(connection: sa.Connection, run: JobRun) -> None:
    """Note that a run is asked for; one that is noted stays as it is."""
    values = {"job_id": run.job_id, "stage": run.stage, "chunk": run.chunk, "attempt": run.attempt}
    values |= {"n_owed": run.n_owed}
    connection.execute(insert(IMPORT_JOB_RUNS).values(values).on_conflict_do_nothing())


def update_run(connection: sa.Connection, run: JobRun, run_id: str | None, state: RunState) -> None:
    """Note what Dagster says of a run."""
    table = IMPORT_JOB_RUNS
    connection.execute(
        sa.update(table)
        .where(
            table.c.job_id == run.job_id,
            table.c.stage == run.stage,
            table.c.chunk == run.chunk,
            table.c.attempt == run.attempt,
        )
        .values(
            run_id=run_id,
            status=state.value,
            ended_at=sa.func.coalesce(table.c.ended_at, sa.func.clock_timestamp()) if state.is_over else None,
        )
    )
