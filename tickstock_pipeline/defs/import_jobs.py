"""Import jobs as Dagster sees them: the sensor that asks for their runs, and what ties a run to its job.

What a job needs next is decided in :mod:`tickstock_pipeline.imports`; here it is said in Dagster's words. A run covers
a range of partitions, so one run does up to fifty symbols with all their years.
"""

from collections.abc import Mapping, Sequence

import dagster as dg

from tickstock_pipeline.defs.analysis import GROUP as ANALYSIS
from tickstock_pipeline.defs.automation import LEAST_SECONDS_BETWEEN_TICKS, switched_off
from tickstock_pipeline.defs.bars import GROUP as BARS
from tickstock_pipeline.defs.partitions import SYMBOLS
from tickstock_pipeline.defs.resources import Database
from tickstock_pipeline.defs.under_way import RANGE_END_TAG, RANGE_START_TAG
from tickstock_pipeline.imports.advance import KnownRun, advance_jobs
from tickstock_pipeline.imports.launching import Work
from tickstock_pipeline.imports.planning import Surroundings
from tickstock_pipeline.imports.stages import step_of
from tickstock_pipeline.imports.status import StatusPublisher, redis_client
from tickstock_pipeline.imports.tracker import JobTracker
from tickstock_pipeline.settings import Settings
from tickstock_pipeline.storage.job_progress import RunState
from tickstock_pipeline.storage.jobs import read_job

JOB_TAG = "tickstock/job_id"
STAGE_TAG = "tickstock/stage"
CHUNK_TAG = "tickstock/chunk"
ATTEMPT_TAG = "tickstock/attempt"

_RUN_KEY_TAG = "dagster/run_key"
_ENDED = {
    dg.DagsterRunStatus.SUCCESS: RunState.SUCCEEDED,
    dg.DagsterRunStatus.FAILURE: RunState.FAILED,
    dg.DagsterRunStatus.CANCELED: RunState.CANCELED,
}
EVERY_ASSET = dg.AssetSelection.groups(BARS, ANALYSIS)


@dg.sensor(
    target=EVERY_ASSET,
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=LEAST_SECONDS_BETWEEN_TICKS,
    description="Turns accepted import jobs into runs over exactly their partitions, stage by stage, and notes what "
    "became of them. What a killed run has left over is asked for again. All runs of a job carry the tag "
    "tickstock/job_id: click it to see them together. Switched off, jobs are accepted and wait.",
)
def import_jobs(context: dg.SensorEvaluationContext, database: Database) -> dg.SensorResult | dg.SkipReason:
    """One look at all jobs under way."""
    if (off := switched_off("import_jobs")) is not None:
        return off
    settings = Settings.load()
    client = redis_client(settings)
    try:
        found = advance_jobs(
            database.engine,
            StatusPublisher(database.engine, client),
            Surroundings(settings.universe_folder, settings.first_year),
            _DagsterInstance(context.instance),
        )
    finally:
        if client is not None:
            client.close()
    return dg.SensorResult(
        run_requests=[_run_request(work) for work in found.work],
        dynamic_partitions_requests=[SYMBOLS.build_add_request(list(found.new_symbols))] if found.new_symbols else [],
        skip_reason=None if found.work else "Nothing is to be started now.",
    )


def job_of(context: dg.AssetExecutionContext) -> JobTracker | None:
    """The job that a run works for, to be told about each symbol; None for a run that nobody's job asked for."""
    job_id = context.run.tags.get(JOB_TAG)
    if job_id is None:
        return None
    engine = context.resources.database.engine
    with engine.connect() as connection:
        job = read_job(connection, job_id)
    if job is None:
        context.log.warning(f"There is no import job {job_id}: its row was deleted. The run goes on without it.")
        return None
    tracker = JobTracker(engine, StatusPublisher(engine, redis_client(Settings.load())), job, _step(context))
    tracker.start()
    return tracker


def _step(context: dg.AssetExecutionContext) -> str:
    (step,) = {step_of(key.to_user_string()) for key in context.selected_asset_keys}
    return step


def _run_request(work: Work) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=work.run.key,
        asset_selection=[dg.AssetKey(asset) for asset in work.assets],
        # None means all of them
        asset_check_keys=None if work.is_checked else [],
        tags={
            RANGE_START_TAG: work.first.key,
            RANGE_END_TAG: work.last.key,
            # a killed run is ours to repeat: only the job's tables tell what is left of it
            "dagster/max_retries": "0",
            JOB_TAG: work.run.job_id,
            STAGE_TAG: work.run.stage,
            CHUNK_TAG: str(work.run.chunk),
            ATTEMPT_TAG: str(work.run.attempt),
        },
    )


class _DagsterInstance:
    """Dagster's instance as what runs our work."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self._instance = instance

    def symbols(self) -> Sequence[str]:
        return self._instance.get_dynamic_partitions(str(SYMBOLS.name))

    def runs_of(self, job_id: str) -> Mapping[str, KnownRun]:
        runs = self._instance.get_runs(dg.RunsFilter(tags={JOB_TAG: job_id}))
        return {
            run.tags[_RUN_KEY_TAG]: KnownRun(run.run_id, _state(run.status)) for run in runs if _RUN_KEY_TAG in run.tags
        }

    def cancel_waiting(self, run_id: str) -> bool:
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.status not in (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED):
            return False
        self._instance.report_run_canceled(run, message="Its import job was cancelled.")
        return True


def _state(status: dg.DagsterRunStatus) -> RunState:
    if status is dg.DagsterRunStatus.NOT_STARTED:
        # created and not handed over: asking again under its key makes the daemon finish that
        return RunState.REQUESTED
    return _ENDED.get(status, RunState.STARTED)
