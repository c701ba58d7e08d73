"""What has to be done for each symbol of a job, in which order, and what waits for what.

A *step* is one timeframe's bars, or one timeframe's analysis; its name is recorded with the symbol when it has ended. A
*stage* is the steps that one run may do together: none of them waits for another, since a step that fails ends what
comes after it in a run, for every symbol.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tickstock_pipeline.batch.assets import bars_asset, indicators_asset, patterns_asset
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.job_progress import JobSymbol
from tickstock_pipeline.storage.jobs import StoredJob

# Which bars must be imported for others to be made. Daily bars come from the provider itself.
_MADE_FROM = {
    Timeframe.HOURLY: Timeframe.MINUTE,
    Timeframe.WEEKLY: Timeframe.DAILY,
    Timeframe.MONTHLY: Timeframe.DAILY,
}
_BAR_STAGES = (
    ("minutes", (Timeframe.MINUTE,)),
    ("bars", (Timeframe.HOURLY, Timeframe.DAILY)),
    ("roll_ups", (Timeframe.WEEKLY, Timeframe.MONTHLY)),
)


@dataclass(frozen=True)
class Step:
    """One thing to do for a symbol.

    Attributes
    ----------
    name : as recorded
    needs : the step without which this one cannot be done; empty if there is none
    assets : what is materialised by it
    """

    name: str
    needs: str
    assets: tuple[str, ...]


@dataclass(frozen=True)
class Stage:
    """Steps that one run may do together."""

    name: str
    steps: tuple[Step, ...]
    is_analysis: bool = False


def bars_step(timeframe: Timeframe) -> str:
    """The step of a timeframe's bars."""
    return bars_asset(timeframe)


def analysis_step(timeframe: Timeframe) -> str:
    """The step of a timeframe's indicators and patterns."""
    return f"analysis_{timeframe}"


def step_of(asset: str) -> str:
    """The step that materialises an asset.

    Raises
    ------
    KeyError
        If there is none: no job does that.
    """
    return _STEP_OF[asset]


_STEP_OF = {
    **{bars_asset(frame): bars_step(frame) for frame in Timeframe},
    **{name(frame): analysis_step(frame) for name in (indicators_asset, patterns_asset) for frame in Timeframe},
}


def job_stages(job: StoredJob) -> list[Stage]:
    """What a job does, in order: the bars asked for and those that they are made from, then their analysis."""
    wanted = {*job.timeframes, *(_MADE_FROM[frame] for frame in job.timeframes if frame in _MADE_FROM)}
    stages = []
    for name, timeframes in _BAR_STAGES:
        steps = tuple(
            Step(
                bars_step(frame),
                bars_step(_MADE_FROM[frame]) if frame in _MADE_FROM else "",
                (bars_asset(frame),),
            )
            for frame in timeframes
            if frame in wanted
        )
        if steps:
            stages.append(Stage(name, steps))
    if job.run_analysis and job.timeframes:
        steps = tuple(
            Step(analysis_step(frame), bars_step(frame), (indicators_asset(frame), patterns_asset(frame)))
            for frame in Timeframe
            if frame in job.timeframes
        )
        stages.append(Stage("analysis", steps, is_analysis=True))
    return stages


def owed_steps(symbol: JobSymbol, steps: Sequence[Step], all_stages: Sequence[Stage]) -> list[Step]:
    """Those of ``steps`` that are still to be done for a symbol; what it lacks the input for is not."""
    needs = {step.name: step.needs for stage in all_stages for step in stage.steps}
    return [
        step for step in steps if step.name not in symbol.steps_done and not _is_hopeless(symbol, step.needs, needs)
    ]


def _is_hopeless(symbol: JobSymbol, step: str, needs: dict[str, str]) -> bool:
    while step:
        if step in symbol.errors:
            return True
        step = needs.get(step, "")
    return False
