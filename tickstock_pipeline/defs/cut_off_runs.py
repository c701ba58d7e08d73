"""``python -m tickstock_pipeline.defs.cut_off_runs RUN_ID…``: runs whose process is gone end as failed.

A run that was terminated unexpectedly is repeated, by Dagster or by the import job that it belongs to, and a backfill
waits for that. Dagster's default launcher never notices such an end, and its API can only cancel a run.
"""

import sys
from collections.abc import Sequence

import dagster as dg

# a failure without a reason would be repeated as well, but the page of the run would not say why it failed
from dagster._core.events import JobFailureData, RunFailureReason

_MESSAGE = "The process of this run was killed together with everything else, and the run is repeated."


def end_as_failed(instance: dg.DagsterInstance, run_ids: Sequence[str]) -> int:
    """Report those of the runs that are not over as failed; how many there were.

    Call it only for runs of which no process is left.
    """
    runs = [run for run in instance.get_runs(dg.RunsFilter(run_ids=list(run_ids))) if not run.is_finished]
    for run in runs:
        data = JobFailureData(error=None, failure_reason=RunFailureReason.UNEXPECTED_TERMINATION)
        instance.report_run_failed(run, _MESSAGE, data)
    return len(runs)


if __name__ == "__main__":
    with dg.DagsterInstance.get() as instance:
        end_as_failed(instance, sys.argv[1:])
