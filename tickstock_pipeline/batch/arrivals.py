"""What bars that somebody else wrote call for: what to tell of them, which roll-ups to repair, what to analyse.

1. Bars that a run of ours wrote are no news. Of the others the orchestrator is told once a session and partition.
2. Roll-ups come before the analysis of what is rolled up. Bars of a day are not repaired here: the provider's own bar
   wins, and asking it is the business of the schedule after the close.
3. What a run, a backfill, an import job or a live worker is about to do is left to it, and looked at again later.
4. What failed a moment ago rests.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.batch.analysis import stale_partitions
from tickstock_pipeline.batch.assets import bars_asset, indicators_asset, patterns_asset
from tickstock_pipeline.market.calendar import TradingCalendar, exchange_date
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.symbol import normalise_symbol
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.analysis_failures import read_failures
from tickstock_pipeline.storage.claims import series_of_live_workers, symbols_of_active_jobs
from tickstock_pipeline.storage.ingestion import ChangedBars, imported_only
from tickstock_pipeline.storage.provenance import read_provenance, stale_roll_ups
from tickstock_pipeline.storage.symbols import read_symbols

REPAIRED = (Timeframe.HOURLY, Timeframe.WEEKLY, Timeframe.MONTHLY)

# Somebody who writes minute after minute must not cause a roll-up of the year after each of them.
_ROLL_UP_RESTS = timedelta(minutes=10)

IsBusy = Callable[[str, Partition], bool]
"""Whether the orchestrator is doing, or about to do, a partition of an asset."""


@dataclass(frozen=True, slots=True)
class GridYears:
    """The years of which there can be partitions, both included."""

    first: int
    last: int

    def __contains__(self, partition: Partition) -> bool:
        return self.first <= partition.year <= self.last


@dataclass(frozen=True, slots=True)
class Task:
    """Partitions of assets that are computed together."""

    timeframe: Timeframe
    assets: tuple[str, ...]
    partitions: tuple[Partition, ...]


@dataclass
class Plan:
    """What is to be done now.

    Attributes
    ----------
    reports : partitions of which to tell the orchestrator
    tasks : what to compute
    is_partial : something has to wait; look at the same bars again
    """

    reports: list[ChangedBars] = field(default_factory=list)
    tasks: list[Task] = field(default_factory=list)
    is_partial: bool = False


def plan_arrivals(
    connection: sa.Connection, changes: Sequence[ChangedBars], session: date, grid: GridYears, is_busy: IsBusy
) -> Plan:
    """What ``changes`` call for.

    Parameters
    ----------
    session : the newest session, see :func:`newest_session`
    """
    plan = Plan()
    news = []
    for one in changes:
        if one.is_imported or one.partition not in grid or not is_symbol(one.symbol):
            continue
        if is_busy(bars_asset(one.timeframe), one.partition):
            plan.is_partial = True
            continue
        news.append(one)
        if one.reported_revision != one.revision and one.reported_session != session:
            plan.reports.append(one)
    if news:
        plan_repairs(connection, plan, {one.symbol for one in news}, grid, is_busy)
    return plan


def plan_repairs(
    connection: sa.Connection, plan: Plan, symbols: Iterable[str], grid: GridYears, is_busy: IsBusy
) -> None:
    """Add the stale roll-ups of ``symbols``, and the analysis that need not wait for them.

    Left out are symbols that are not active, and series that were imported without analysis.
    """
    wanted = set(symbols)
    wanted -= set(read_symbols(connection, active=False))
    of_jobs = wanted & symbols_of_active_jobs(connection)
    of_workers = series_of_live_workers(connection)
    if of_jobs:
        plan.is_partial = True
    wanted -= of_jobs
    for timeframe in Timeframe:
        waits: set[Partition] = set()
        if timeframe in REPAIRED:
            stale = {one for one in stale_roll_ups(connection, timeframe) if one.symbol in wanted and one in grid}
            free = {one for one in stale if (one.symbol, timeframe) not in of_workers}
            free -= {one for one in free if is_busy(bars_asset(timeframe), one)}
            rested = _rested(connection, timeframe, free)
            # without a roll-up for a while the coarse bars are old, but they are there: their analysis need not wait
            waits = stale - (free - rested)
            # what is rolled up is to be analysed afterwards
            plan.is_partial |= bool(stale)
            _add(plan, timeframe, (bars_asset(timeframe),), rested)
        assets = (indicators_asset(timeframe), patterns_asset(timeframe))
        failures = read_failures(connection, timeframe)
        unasked = imported_only(connection, timeframe)
        found = {Partition(one.symbol, one.year) for one in stale_partitions(connection, timeframe, sorted(wanted))}
        found = {
            one
            for one in found
            if one in grid and one.symbol not in unasked and not (one in failures and failures[one].is_resting)
        }
        held = {one for one in found if one in waits or (one.symbol, timeframe) in of_workers}
        held |= {one for one in found - held if any(is_busy(asset, one) for asset in assets)}
        plan.is_partial |= bool(held)
        _add(plan, timeframe, assets, found - held)


def newest_session(calendar: TradingCalendar, now: datetime) -> date:
    """The session of today, or the last one before it."""
    today = exchange_date(np.array([now.astimezone(UTC).replace(tzinfo=None)], "datetime64[us]"))[0]
    sessions = calendar.sessions(today - np.timedelta64(14, "D"), today)
    return date.fromisoformat(str(sessions[-1]))


def is_symbol(text: str) -> bool:
    """Whether a text that somebody wrote as a symbol can be one."""
    try:
        return normalise_symbol(text) == text
    except ValueError:
        return False


def _rested(connection: sa.Connection, timeframe: Timeframe, partitions: set[Partition]) -> set[Partition]:
    if not partitions:
        return set()
    made = read_provenance(connection, timeframe, {partition.symbol for partition in partitions})
    now: datetime = connection.execute(sa.select(sa.func.now())).scalar_one()
    return {
        one
        for one in partitions
        if one not in made or (at := made[one].updated_at) is None or not (timedelta(0) <= now - at < _ROLL_UP_RESTS)
    }


def _add(plan: Plan, timeframe: Timeframe, assets: tuple[str, ...], partitions: set[Partition]) -> None:
    if partitions:
        plan.tasks.append(Task(timeframe, assets, tuple(sorted(partitions))))
