"""Series analysed from their stored bars: replayed to be followed, and what was stored without analysis made up for.

1. and 2. Read and compute: see ``replaying``.
3. In one transaction: check the shards, lock the input, leave out symbols whose input has changed since; write values,
   detections, coverage and what is to be told; take the bars off the backlog. What was left out comes again.
4. Follow the series from here on.

A symbol whose analysis fails stands alone, keeps its backlog and is tried again later.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.batch.commit import commit_together
from tickstock_pipeline.batch.outcome import Outcome, Status, failures
from tickstock_pipeline.live.bar import each_bar
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.messaging.pattern_event import LiveDetection
from tickstock_pipeline.storage.analysed_window import AnalysedWindow
from tickstock_pipeline.storage.bar_indicators import write_bar_indicators
from tickstock_pipeline.storage.coverage import Coverage, record_coverage
from tickstock_pipeline.storage.detections import DetectionKey, replace_detections
from tickstock_pipeline.storage.instants import aware_all, plain
from tickstock_pipeline.storage.latest_indicators import write_latest_indicators
from tickstock_pipeline.storage.ledger import input_states, lock_free_inputs
from tickstock_pipeline.storage.live_rows import BarKey
from tickstock_pipeline.storage.live_work import clear_backlog
from tickstock_pipeline.storage.outbox import Message, put
from tickstock_pipeline.storage.patterns import held_revisions
from tickstock_pipeline.streaming.announcing import (
    found_detections,
    keys_of,
    not_yet_told,
    stored_key,
    tell_complete,
    tell_patterns,
    tell_retractions,
)
from tickstock_pipeline.streaming.desk import Desk, Told
from tickstock_pipeline.streaming.held_up import LockWaits
from tickstock_pipeline.streaming.replaying import Reading, compute, read_inputs
from tickstock_pipeline.streaming.series_book import ActivePlan, WarmSeries
from tickstock_pipeline.streaming.storing import CORRECTED

_logger = logging.getLogger(__name__)

LATE_S = 1.0
"""A bar stored without analysis that long ago counts as made up for; a series replayed for its first bar does not."""


@dataclass(slots=True)
class CaughtUp:
    """What became of some series.

    Attributes
    ----------
    told : what is to be published
    again : symbols that changed meanwhile, or that somebody else is writing
    held_up : symbols whose rows another program's transaction holds
    failed : symbols whose analysis raised something, or whose results the database does not take, and what
    """

    told: list[Told] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    held_up: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
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
    computed = []
    for reading in readings:
        try:
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
    written.messages = _tell(connection, desk, active, timeframe, current, found)
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


def _tell(
    connection: sa.Connection,
    desk: Desk,
    active: ActivePlan,
    timeframe: Timeframe,
    readings: Sequence[Reading],
    found: Sequence[DetectionKey],
) -> list[Message]:
    """Of bars on the backlog all that nobody was told of; of later bars what the backlog has brought to light."""
    by_symbol = {reading.symbol: reading for reading in readings}
    items = [item for reading in readings for item in reading.items]
    revisions = {
        key: row.revision
        for row in found
        for key in [stored_key(row)]
        if _instant(desk, timeframe, min(by_symbol[row.symbol].backlog)) <= key.instant
    }
    on_backlog = set(keys_of(items, {reading.symbol: set(reading.backlog) for reading in readings}))
    if on_backlog - revisions.keys():
        instants = np.array([key.instant for key in on_backlog], "int64").view("datetime64[us]")
        first, last = aware_all(np.array([instants.min(), instants.max()]))
        for row in held_revisions(connection, timeframe, by_symbol, first, last):
            key = stored_key(DetectionKey(*row))
            if key in on_backlog:
                revisions[key] = row[3]
    detections = not_yet_told(connection, found_detections(items, revisions))
    moment = desk.moment(timeframe)
    messages: list[Message] = []

    def was_late(one: LiveDetection) -> bool:
        age_s = _age(by_symbol[one.symbol].backlog, one.bar_time)
        return age_s > LATE_S or desk.is_late(timeframe, one.symbol, one.bar_time)

    for is_late in (False, True):
        chosen = [one for one in detections if is_late == was_late(one)]
        messages += tell_patterns(connection, chosen, moment, is_late=is_late)
    for reading in readings:
        for item in reading.items:
            times = item.analysis.bars.time.astype("datetime64[us]").astype(np.int64)
            stored = item.stored
            places = [at for at in range(stored.start, stored.stop) if int(times[at]) in reading.backlog]
            if places:
                keys: list[BarKey] = [(reading.symbol, int(times[at])) for at in places]
                counts = _counts(item, len(times))
                messages += tell_complete(
                    active.plan.definitions, keys, item.analysis.values[places], [counts[at] for at in places]
                )
    return messages


def _counts(item: AnalysedWindow, n_bars: int) -> list[int]:
    counts = np.zeros(n_bars, np.int64)
    for detections in item.analysis.detections:
        np.add.at(counts, detections.index, 1)
    return list(counts.tolist())


def _age(backlog: Mapping[int, float], bar_time: int) -> float:
    return backlog.get(bar_time, max(backlog.values()))


def _instant(desk: Desk, timeframe: Timeframe, bar_time: int) -> int:
    moment = desk.calendar.instant(timeframe, np.asarray(np.datetime64(bar_time, "us")))
    return int(moment.astype("datetime64[us]").astype(np.int64))
