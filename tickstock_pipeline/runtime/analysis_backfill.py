"""Analysis of what has none, by one native backfill: chosen by the ledger, run by the orchestrator, counted in bars."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from tickstock_pipeline.batch.assets import indicators_asset, patterns_asset
from tickstock_pipeline.batch.missing import bars_left, bounded, select_missing
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.runtime.orchestrator import Orchestrator
from tickstock_pipeline.storage.analysis_failures import read_failures
from tickstock_pipeline.storage.coverage import StalePartition
from tickstock_pipeline.storage.symbols import read_symbols

JOB_TAG = "tickstock/job"
TIMEFRAMES_TAG = "tickstock/timeframes"
BARS_TAG = "tickstock/bars"
_JOB = "analysis-backfill"
_LOOK_EVERY_S = 1.0

Chosen = Mapping[Timeframe, frozenset[Partition]]


@dataclass(frozen=True)
class Choice:
    """What a backfill is to do.

    Attributes
    ----------
    stale : partitions of each timeframe, in the order in which they are wanted
    left_out : bars of partitions that did not fit
    """

    stale: Mapping[Timeframe, Sequence[StalePartition]]
    left_out: int

    @property
    def bars(self) -> int:
        """Bars without analysis in what was chosen."""
        return sum(one.bars for found in self.stale.values() for one in found)


@dataclass(frozen=True)
class LaunchedBackfill:
    """A backfill under way.

    Attributes
    ----------
    total_bars : bars that had no analysis when we began to watch
    """

    backfill_id: str
    chosen: Chosen
    total_bars: int


@dataclass(frozen=True)
class BarProgress:
    """How far a backfill is.

    Attributes
    ----------
    status : in Dagster's words
    failures : partitions that were not analysed, and why; empty until it is over
    """

    processed_bars: int
    total_bars: int
    is_over: bool = False
    status: str = ""
    failures: Mapping[tuple[Timeframe, Partition], str] | None = None


def choose(
    engine: sa.Engine,
    timeframes: Sequence[Timeframe],
    *,
    first_year: int,
    symbols: Sequence[str] | None = None,
    most_bars: int | None = None,
) -> Choice:
    """The stale partitions of ``timeframes``; see :func:`tickstock_pipeline.batch.missing.select_missing`."""
    stale: dict[Timeframe, Sequence[StalePartition]] = {}
    room, left_out = most_bars, 0
    with engine.connect() as connection:
        for timeframe in timeframes:
            found = select_missing(connection, timeframe, first_year=first_year, symbols=symbols)
            if room is not None and room <= 0:
                left_out += found.bars
                continue
            selection = bounded(found.partitions, room)
            left_out += selection.left_out
            if selection.partitions:
                stale[timeframe] = selection.partitions
            room = None if room is None else room - selection.bars
    return Choice(stale, left_out)


def running_backfill(
    engine: sa.Engine, orchestrator: Orchestrator, timeframes: Sequence[Timeframe], first_year: int
) -> LaunchedBackfill | None:
    """The backfill of these timeframes that is under way, if there is one."""
    found = orchestrator.active_backfills(_tags(timeframes))
    if not found:
        return None
    targeted = orchestrator.targeted_partitions(found[0])
    stale = choose(engine, timeframes, first_year=first_year).stale
    chosen = {
        timeframe: frozenset(
            partition
            for one in partitions
            if (partition := Partition(one.symbol, one.year)) and (targeted is None or partition in targeted)
        )
        for timeframe, partitions in stale.items()
    }
    with engine.connect() as connection:
        total = sum(bars_left(connection, chosen).values())
    return LaunchedBackfill(found[0], chosen, total)


def launch(
    engine: sa.Engine, orchestrator: Orchestrator, timeframes: Sequence[Timeframe], choice: Choice
) -> LaunchedBackfill:
    """Launch exactly the chosen partitions as one backfill; their symbols are registered first."""
    with engine.connect() as connection:
        registered = read_symbols(connection, active=None)
    partitions = {
        timeframe: [Partition(one.symbol, one.year) for one in stale] for timeframe, stale in choice.stale.items()
    }
    symbols = {partition.symbol for found in partitions.values() for partition in found}
    order = dict.fromkeys([*registered, *sorted(symbols)])
    orchestrator.add_symbols([symbol for symbol in order if symbol in symbols])
    targets = {
        asset: found
        for timeframe, found in partitions.items()
        for asset in (indicators_asset(timeframe), patterns_asset(timeframe))
    }
    backfill_id = orchestrator.launch_backfill(
        targets,
        title=f"Analyse {choice.bars:,} {', '.join(choice.stale)} bars",
        tags={**_tags(timeframes), BARS_TAG: str(choice.bars)},
    )
    chosen = {timeframe: frozenset(found) for timeframe, found in partitions.items()}
    return LaunchedBackfill(backfill_id, chosen, choice.bars)


def watch(
    engine: sa.Engine,
    orchestrator: Orchestrator,
    backfill: LaunchedBackfill,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[BarProgress]:
    """Progress again and again until the backfill is over; the last one says what failed.

    Counted by the ledger, which knows of a partition when it is committed; Dagster's own count follows half a minute
    later. Bars that arrive meanwhile do not count.
    """
    processed = 0
    while True:
        state = orchestrator.progress(backfill.backfill_id)
        with engine.connect() as connection:
            left = bars_left(connection, backfill.chosen)
        processed = max(processed, backfill.total_bars - sum(left.values()))
        if state.is_over:
            reasons = _reasons(engine, left, "" if state.has_succeeded else f"Dagster ended it as {state.status}")
            yield BarProgress(processed, backfill.total_bars, True, state.status, reasons)
            return
        yield BarProgress(processed, backfill.total_bars)
        pause(_LOOK_EVERY_S)


def _reasons(
    engine: sa.Engine, left: Mapping[tuple[Timeframe, Partition], int], otherwise: str
) -> dict[tuple[Timeframe, Partition], str]:
    """Why each partition is left; one that has no reason got new bars after it was done."""
    with engine.connect() as connection:
        failures = {timeframe: read_failures(connection, timeframe) for timeframe in {frame for frame, _ in left}}
    reasons = {}
    for timeframe, partition in left:
        failure = failures[timeframe].get(partition)
        if failure is not None or otherwise:
            reasons[timeframe, partition] = otherwise if failure is None else failure.error
    return reasons


def _tags(timeframes: Sequence[Timeframe]) -> dict[str, str]:
    return {JOB_TAG: _JOB, TIMEFRAMES_TAG: ",".join(timeframes)}
