"""Series analysed from their stored bars: replayed to be followed, and what was stored without analysis made up for.

1. and 2. Read and compute: see ``replaying``.
3. In one transaction: check the shards, lock the input, leave out symbols whose input has changed since; write values,
   detections, coverage and what is to be told; take the bars off the backlog. What was left out comes again.
4. Follow the series from here on.

A symbol whose analysis fails stands alone, keeps its backlog and is tried again later.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.batch.commit import commit_together
from tickstock_pipeline.batch.outcome import Outcome, Status, failures
from tickstock_pipeline.live.bar import each_bar
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.bar_indicators import write_bar_indicators
from tickstock_pipeline.storage.coverage import Coverage, record_coverage
from tickstock_pipeline.storage.detections import replace_detections
from tickstock_pipeline.storage.instants import plain
from tickstock_pipeline.storage.latest_indicators import write_latest_indicators
from tickstock_pipeline.storage.ledger import input_states, lock_free_inputs
from tickstock_pipeline.storage.live_work import clear_backlog
from tickstock_pipeline.storage.outbox import Message, put
from tickstock_pipeline.streaming.announcing import tell_retractions
from tickstock_pipeline.streaming.desk import Desk, Told
from tickstock_pipeline.streaming.held_up import LockWaits
from tickstock_pipeline.streaming.late_news import tell_caught_up
from tickstock_pipeline.streaming.replaying import Reading, compute, read_inputs
from tickstock_pipeline.streaming.series_book import ActivePlan, WarmSeries
from tickstock_pipeline.streaming.storing import CORRECTED
from tickstock_pipeline.streaming.time_limit import time_limit

_logger = logging.getLogger(__name__)

_SLOW_S = 1.0
_WINDOWS_A_LIMIT = 10


@dataclass(slots=True)
class CaughtUp:
    """What became of some series.

    Attributes
    ----------
    told : what is to be published
    again : symbols that changed meanwhile, or that somebody else is writing
    held_up : symbols whose rows another program's transaction holds
    failed : symbols whose analysis raised something or had to be ended, or whose results the database does not take,
        and what was the matter
    n_tried : symbols whose analysis was begun
    """

    told: list[Told] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    held_up: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    n_tried: int = 0
    n_patterns: int = 0
    n_bars: int = 0


@dataclass(slots=True)
class _Written:
    """What one transaction has done: the years that are covered by it, by symbol, and since when."""

    covered: dict[str, dict[int, datetime]] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)
    outbox_id: int | None = None
    n_patterns: int = 0


def catch_up(desk: Desk, timeframe: Timeframe, symbols: Sequence[str], upcoming: int) -> CaughtUp:
    """Analyse what some series have on the backlog, and follow them from here on.

    Parameters
    ----------
    symbols : ten or so, whose bars and results fit the processor's caches
    upcoming : time of the bar to be expected next, microseconds since 1970: a series without a backlog is replayed
        for its window

    Raises
    ------
    LeaseLostError
        If one of the shards has been taken over.
    StorageError
        If the database does not answer.
    """
    result = CaughtUp()
    active = desk.book.plans.get(timeframe)
    if active is None:
        result.failed = dict.fromkeys(symbols, "its definitions cannot be used")
        return result
    with desk.engine.connect() as connection:
        readings = read_inputs(connection, desk, active, timeframe, sorted(symbols), upcoming)
    result.again = sorted(set(symbols) - {reading.symbol for reading in readings})
    computed: list[Reading] = []
    began = time.monotonic()
    for reading in readings:
        if time.monotonic() - began > _SLOW_S:
            # new bars come first, and the leases must be renewed in time
            result.again.append(reading.symbol)
            continue
        result.n_tried += 1
        try:
            # an old bar makes all weeks since to be analysed, each from its own anchor
            with time_limit(desk.analysis_s * max(1.0, len(reading.windows) / _WINDOWS_A_LIMIT)):
                compute(desk, active, reading)
        except Exception as error:  # noqa: BLE001 - a definition may run any function of a library
            result.failed[reading.symbol] = f"{type(error).__name__}: {error}"
            _logger.warning("analysis failed symbol=%s timeframe=%s reason=%s", reading.symbol, timeframe, error)
        else:
            computed.append(reading)
    covered = _committed(desk, active, timeframe, [one for one in computed if one.since is not None], result)
    for reading in computed:
        if reading.followed is None or (reading.since is not None and reading.symbol not in covered):
            continue
        year = reading.live_window.year
        if reading.since is None:
            known = reading.coverage.get(year)
            is_covered, covered_at = not reading.is_stale, None if known is None else known.analysed_at
        else:
            covered_at = covered[reading.symbol].get(year)
            is_covered = covered_at is not None
        desk.book.put(
            timeframe,
            reading.symbol,
            WarmSeries(
                reading.followed,
                reading.live_window,
                reading.live_state.revision,
                reading.live_state.n_bars,
                is_covered,
                reading.splits,
                next(each_bar(reading.series.bars[-1:]), None),
                covered_at,
            ),
        )
    return result


def _committed(
    desk: Desk, active: ActivePlan, timeframe: Timeframe, readings: Sequence[Reading], result: CaughtUp
) -> dict[str, dict[int, datetime]]:
    """Step 3; the covered years, and since when, of the symbols that were written."""
    attempts: dict[tuple[str, ...], _Written] = {}

    waits = LockWaits()

    def write(connection: sa.Connection, items: Sequence[Reading]) -> list[Outcome]:
        symbols = tuple(item.symbol for item in items)
        if waits.are_spent(symbols):
            return []
        with waits.counted(symbols):
            attempts[symbols] = _write(connection, desk, active, timeframe, items)
        return [Outcome(_partition(item), Status.WRITTEN) for item in items]

    outcomes = commit_together(desk.engine, readings, write, lambda item: [_partition(item)])
    for failure in failures(outcomes):
        if failure.partition.symbol not in waits.symbols:
            result.failed[failure.partition.symbol] = failure.error
            _logger.warning("storing failed symbol=%s reason=%s", failure.partition.symbol, failure.error)
    result.held_up = waits.symbols
    covered: dict[str, dict[int, datetime]] = {}
    for symbols, attempt in attempts.items():
        if result.failed.keys() & set(symbols):
            continue
        covered.update(attempt.covered)
        result.n_patterns += attempt.n_patterns
        if attempt.outbox_id is not None:
            result.told.append(Told(attempt.outbox_id, tuple(attempt.messages)))
    done = [reading for reading in readings if reading.symbol in covered]
    result.n_bars += sum(len(reading.backlog) for reading in done)
    left = {one.symbol for one in readings} - covered.keys() - result.failed.keys()
    result.again += sorted(left - waits.symbols)
    return covered


def _partition(reading: Reading) -> Partition:
    return Partition(reading.symbol, reading.live_window.year)


def _write(
    connection: sa.Connection, desk: Desk, active: ActivePlan, timeframe: Timeframe, readings: Sequence[Reading]
) -> _Written:
    written = _Written()
    desk.begin(connection, [reading.symbol for reading in readings])
    if desk.book.plans.get(timeframe) is not active:
        return written  # the definitions have changed: all of them come again
    free = lock_free_inputs(connection, timeframe, [reading.symbol for reading in readings])
    current: list[Reading] = []
    for span in dict.fromkeys(reading.span for reading in readings):
        together = [one for one in readings if one.span == span and one.symbol in free]
        states = input_states(connection, timeframe, [one.symbol for one in together], *span)
        current += [one for one in together if states[one.symbol].revision == one.state.revision]
    if not current:
        return written
    current.sort(key=lambda reading: reading.symbol)
    items = [item for reading in current for item in reading.items]
    definitions = active.plan.definitions
    write_bar_indicators(connection, definitions, items)
    found, retracted = replace_detections(connection, timeframe, items, items)
    write_latest_indicators(connection, items)
    coverage = [row for reading in current for row in _coverage(desk, active, reading)]
    covered_at = record_coverage(connection, coverage)
    written.covered = {reading.symbol: {} for reading in current}
    if covered_at is not None:
        for row in coverage:
            written.covered[row.symbol][row.year] = covered_at
    written.n_patterns = len(found)
    written.messages = tell_caught_up(connection, desk, active, timeframe, current, found)
    written.messages += tell_retractions(connection, timeframe, retracted, desk.moment(timeframe), CORRECTED)
    clear_backlog(connection, timeframe, [(one.symbol, time) for one in current for time in one.backlog])
    written.outbox_id = put(connection, written.messages)
    return written


def _coverage(desk: Desk, active: ActivePlan, reading: Reading) -> list[Coverage]:
    """The years of which now every bar has analysis."""
    rows = []
    since = np.datetime64(reading.since or 0, "us")
    for year in sorted({window.year for window in reading.windows}):
        stored, known = reading.ledger.get(year), reading.coverage.get(year)
        first = desk.windows.of_year(reading.series.bars.timeframe, year)[0]
        if stored is None or stored.first_time is None or stored.last_time is None:
            continue
        held_before = (
            known is not None
            and known.definition_digest == active.digest
            and (known.stale_from is None or plain(known.stale_from) >= since)
        )
        if held_before or plain(stored.first_time) >= since or first.first >= since:
            rows.append(
                Coverage(
                    reading.symbol,
                    stored.timeframe,
                    year,
                    active.digest,
                    anchor=first.anchor,
                    covered_through=plain(stored.last_time),
                    n_bars=stored.n_bars,
                )
            )
    return rows
