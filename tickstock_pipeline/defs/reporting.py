"""How a run over many partitions tells Dagster what became of each of them.

One run materialises up to fifty partitions, and one bad symbol must not take the others with it. Dagster's own way to
report a step, its return value, knows only "all of the range":

1. If every partition is good, the step returns, and Dagster itself records the range, with each partition's metadata.
2. If some failed, the step records the good ones one by one and then fails, naming the bad ones. The backfill daemon
   subtracts what was recorded from what a failed run was asked for: only the bad partitions, and what is downstream of
   them, count as failed; the rest goes on. What the run was to check afterwards is evaluated before it fails.

For 2. to leave downstream work alone, no downstream asset may be a step of the same run, since a failed step ends it.
:func:`backfill_policy` sees to that.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import dagster as dg

from tickstock_pipeline.batch.outcome import Outcome, failures
from tickstock_pipeline.market.partition import Partition

Metadata = Mapping[str, dg.MetadataValue | int | float | str]

_PARTITIONS_PER_RUN = 50
_NAMED_FAILURES = 20


def backfill_policy(depth: int) -> dg.BackfillPolicy:
    """Partitions per run for assets ``depth`` steps below an import.

    Dagster puts an asset and its parent into one run only if their policies are equal, so each depth has its own.
    """
    return dg.BackfillPolicy.multi_run(max_partitions_per_run=_PARTITIONS_PER_RUN + depth)


def requested_partitions(context: dg.AssetExecutionContext) -> list[Partition]:
    """The partitions that this run is to materialise."""
    return [Partition.parse(key) for key in context.partition_keys]


def report(
    context: dg.AssetExecutionContext,
    asset_keys: Sequence[dg.AssetKey],
    outcomes: Sequence[Outcome],
    metadata: Callable[[dg.AssetKey, Outcome], Metadata],
    planned_checks: Callable[[], Iterable[dg.AssetCheckEvaluation]],
) -> None:
    """Record each outcome; return if all are good.

    Parameters
    ----------
    planned_checks : evaluates what the run would have checked, if it does not come to that

    Raises
    ------
    dagster.Failure
        If a partition failed; the others are recorded as materialised by then.
    """
    failed = failures(outcomes)
    keys = {Partition.parse(key): key for key in context.partition_keys}
    is_bad = {outcome.partition for outcome in failed}
    for outcome in outcomes:
        if outcome.partition in is_bad:
            continue
        for asset_key in asset_keys:
            shown = metadata(asset_key, outcome)
            if failed:
                context.log_event(dg.AssetMaterialization(asset_key, partition=keys[outcome.partition], metadata=shown))
            else:
                context.add_asset_metadata(shown, asset_key=asset_key, partition_key=keys[outcome.partition])
    if failed:
        for evaluation in planned_checks():
            context.log_event(evaluation)
        # Not a log line for each: a line is an event, and costs as much as a partition.
        named = ", ".join(
            f"{outcome.partition.key} ({outcome.error.rstrip('.')})" for outcome in failed[:_NAMED_FAILURES]
        )
        more = f" and {len(failed) - _NAMED_FAILURES} more" if len(failed) > _NAMED_FAILURES else ""
        done = f" The other {len(outcomes) - len(failed)} are done." if len(outcomes) > len(failed) else ""
        raise dg.Failure(
            description=f"{len(failed)} of {len(outcomes)} partitions failed: {named}{more}.{done}",
            metadata={"failed_partitions": dg.MetadataValue.json({o.partition.key: o.error for o in failed})},
            allow_retries=False,
        )
