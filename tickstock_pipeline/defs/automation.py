"""What the automations have in common: their switches, and how a plan becomes requests for runs."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import dagster as dg
import sqlalchemy as sa

from tickstock_pipeline.batch.arrivals import GridYears, Plan, is_symbol
from tickstock_pipeline.batch.ranges import PartitionRange, ranges_of
from tickstock_pipeline.defs.partitions import SYMBOLS
from tickstock_pipeline.defs.under_way import RANGE_END_TAG, RANGE_START_TAG, UnderWay
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.settings import Settings
from tickstock_pipeline.storage.symbols import add_symbols, read_symbols

AUTOMATION_TAG = "tickstock/automation"
TIMEFRAME_TAG = "tickstock/timeframe"
MOST_RUNS = 10
"""Runs of one automation at once; a tick that asks for hundreds would keep the daemon from everything else."""

LEAST_SECONDS_BETWEEN_TICKS = 1
"""Dagster (1.13) looks at its sensors every five seconds, whatever they ask for. One that asks for just that comes some
milliseconds too early for many a look, and ticks ten seconds after its last time."""

RunKey = Callable[[tuple[str, ...], PartitionRange], str]


def switched_off(name: str) -> dg.SkipReason | None:
    """Why an automation does nothing, if the settings switch it off."""
    if name in (Settings.load().automations_off or "").split(","):
        return dg.SkipReason(f"Switched off by TICKSTOCK_AUTOMATIONS_OFF, which names {name}.")
    return None


def grid_years() -> GridYears:
    """From the first year of the settings to this one."""
    return GridYears(Settings.load().first_year, datetime.now(UTC).year)


def symbols_on_grid(instance: dg.DagsterInstance, engine: sa.Engine, seen: Sequence[str]) -> dict[str, int]:
    """Each symbol's place on the grid; symbols that were seen for the first time are registered and added.

    They are added in the order in which they were registered, and none is ever removed: a run's range goes by it.
    """
    on_grid = instance.get_dynamic_partitions(str(SYMBOLS.name))
    with engine.begin() as connection:
        registered = dict.fromkeys(read_symbols(connection, active=None))
        wanted = dict.fromkeys(symbol for symbol in seen if is_symbol(symbol))
        new = [symbol for symbol in wanted if symbol not in registered]
        if new:
            registered |= dict.fromkeys(add_symbols(connection, new))
    known = set(on_grid)
    missing = [symbol for symbol in registered if symbol in wanted and symbol not in known]
    if missing:
        instance.add_dynamic_partitions(str(SYMBOLS.name), missing)
    return {symbol: place for place, symbol in enumerate([*on_grid, *missing])}


def run_requests(
    plan: Plan, automation: str, under_way: UnderWay, order: Mapping[str, int], run_key: RunKey
) -> list[dg.RunRequest]:
    """Requests for the plan's tasks, as many as there is room for; what does not fit makes the plan partial."""
    wanted = [
        (task.timeframe, task.assets, found)
        for task in plan.tasks
        for found in ranges_of((one for one in task.partitions if one.symbol in order), order)
    ]
    room = max(0, MOST_RUNS - under_way.count(AUTOMATION_TAG, automation))
    plan.is_partial |= len(wanted) > room
    return [
        _request(automation, timeframe, assets, found, run_key(assets, found))
        for timeframe, assets, found in wanted[:room]
    ]


def digest(parts: Sequence[object]) -> str:
    """A short name for a state."""
    return hashlib.sha256(repr(list(parts)).encode()).hexdigest()[:16]


def _request(
    automation: str, timeframe: Timeframe, assets: tuple[str, ...], found: PartitionRange, run_key: str
) -> dg.RunRequest:
    return dg.RunRequest(
        run_key=run_key,
        asset_selection=[dg.AssetKey(asset) for asset in assets],
        tags={
            RANGE_START_TAG: found.first.key,
            RANGE_END_TAG: found.last.key,
            AUTOMATION_TAG: automation,
            TIMEFRAME_TAG: timeframe.value,
        },
    )
