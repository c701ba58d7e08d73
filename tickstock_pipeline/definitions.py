"""Dagster's entry point: wires what :mod:`tickstock_pipeline.defs` defines, and does nothing else."""

import warnings

import dagster as dg

from tickstock_pipeline.defs.analysis import analysis_assets
from tickstock_pipeline.defs.bars import bar_assets
from tickstock_pipeline.defs.checks import analysis_checks, bar_checks
from tickstock_pipeline.defs.import_jobs import import_jobs, job_of
from tickstock_pipeline.defs.new_bars import new_bars
from tickstock_pipeline.defs.partitions import Grid
from tickstock_pipeline.defs.resources import Database, Market, provider_pool
from tickstock_pipeline.defs.schedules import after_close, catch_up
from tickstock_pipeline.defs.upkeep import upkeep_jobs, upkeep_schedules
from tickstock_pipeline.settings import Settings

with warnings.catch_warnings():
    # Backfill policies and two-dimensional mappings are marked beta; our tests watch what they do.
    warnings.simplefilter("ignore", dg.BetaWarning)
    _settings = Settings.load()
    _grid = Grid.starting(_settings.first_year)
    _assets = [
        *bar_assets(_grid, tracker_of=job_of, pool=provider_pool(_settings)),
        *analysis_assets(_grid, tracker_of=job_of),
    ]
    _upkeep = upkeep_jobs(_settings)

defs = dg.Definitions(
    assets=_assets,
    asset_checks=[*bar_checks(), *analysis_checks()],
    sensors=[import_jobs, new_bars],
    jobs=_upkeep,
    schedules=[catch_up, after_close, *upkeep_schedules(_upkeep)],
    resources={"database": Database(), "market": Market()},
    # A run's steps share one process: measured twenty times faster than a process for each.
    executor=dg.in_process_executor,
)
