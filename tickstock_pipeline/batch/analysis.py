"""Indicators and patterns of stored bars: what is missing or stale is computed and stored, the rest left alone.

1. Ask the ledger which of the partitions are missing or stale under the present definitions.
2. Note the revision of their input, then read it: each symbol's bars from the earliest anchor on.
3. Compute. Years that are fed from the same first bar share one pass: a result depends on nothing after its bar. Of
   the bars before them, which are warm-up, no patterns are looked for.
4. In one transaction, lock the input, leave out symbols whose input has changed since 2., and write values, patterns
   and coverage. What was left out begins again at 2.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.analysis import DefinitionSet, analyse_many, definition_set
from tickstock_pipeline.batch.commit import commit_together
from tickstock_pipeline.batch.outcome import Outcome, Status, in_order_of
from tickstock_pipeline.batch.series import Series, read_series
from tickstock_pipeline.batch.windows import Window, windows, year_bounds
from tickstock_pipeline.market.bar import Bars, empty_bars
from tickstock_pipeline.market.calendar import TradingCalendar
from tickstock_pipeline.market.partition import Partition, years_by_symbol
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.analysed_window import AnalysedWindow
from tickstock_pipeline.storage.analysis_failures import clear_failures, record_failures
from tickstock_pipeline.storage.analysis_store import write_analysis
from tickstock_pipeline.storage.coverage import Coverage, StalePartition, record_coverage, stale_analysis
from tickstock_pipeline.storage.definitions import read_definitions
from tickstock_pipeline.storage.ledger import input_revisions, lock_inputs
from tickstock_pipeline.storage.marks import read_marks

# A symbol whose bars are being written all the time must not keep a run from ending; it stays stale and comes again.
_MOST_ROUNDS = 5
# Their arrays stay in the processor's caches.
_SYMBOLS_AT_ONCE = 10


@dataclass(frozen=True)
class _Input:
    """One symbol's series, the windows of its stale years in ascending order, and the revision of what was read."""

    series: Series
    years: Mapping[int, Sequence[Window]]
    revision: int


@dataclass(frozen=True)
class _Analysed:
    """One symbol's stale years, computed on input of this revision."""

    symbol: str
    revision: int
    windows: tuple[AnalysedWindow, ...]
    coverage: tuple[Coverage, ...]


@dataclass(frozen=True)
class PartitionView:
    """What a person sees of an analysed partition: its bars, split-adjusted, and the detections on them.

    Attributes
    ----------
    marks : (position of the bar, pattern, +1, 0 or -1)
    counts : detections by pattern
    """

    bars: Bars
    marks: tuple[tuple[int, str, int], ...]
    counts: Mapping[str, int]


def analyse_partitions(
    engine: sa.Engine, calendar: TradingCalendar, timeframe: Timeframe, partitions: Sequence[Partition]
) -> list[Outcome]:
    """Bring the analysis of ``partitions`` up to date.

    Returns
    -------
    One outcome a partition, in the order given.
    """
    wanted = set(partitions)
    with engine.connect() as connection:
        definitions = _definitions(connection, timeframe)
        found = stale_analysis(connection, timeframe, definitions.digest, {p.symbol for p in partitions})
        stale = {Partition(one.symbol, one.year) for one in found} & wanted
    outcomes = [Outcome(partition, Status.UNCHANGED) for partition in wanted - stale]
    for _ in range(_MOST_ROUNDS):
        if not stale:
            break
        done = _round(engine, calendar, definitions, sorted(stale))
        outcomes += done
        stale -= {outcome.partition for outcome in done}
    outcomes += [
        Outcome(partition, Status.FAILED, error="its bars kept changing while they were analysed; try again")
        for partition in stale
    ]
    with engine.begin() as connection:
        failed = {outcome.partition: outcome.error for outcome in outcomes if outcome.status is Status.FAILED}
        record_failures(connection, timeframe, failed)
        clear_failures(connection, timeframe, wanted - failed.keys())
    return in_order_of(partitions, outcomes)


def stale_partitions(
    connection: sa.Connection, timeframe: Timeframe, symbols: Sequence[str] | None = None
) -> list[StalePartition]:
    """What is missing or stale under the present definitions, by symbol and year; ``symbols`` None means of all."""
    return stale_analysis(connection, timeframe, _definitions(connection, timeframe).digest, symbols)


def _definitions(connection: sa.Connection, timeframe: Timeframe) -> DefinitionSet:
    stored = read_definitions(connection)
    return definition_set(timeframe, stored.indicators, stored.patterns)


def view_partitions(
    engine: sa.Engine, calendar: TradingCalendar, timeframe: Timeframe, partitions: Sequence[Partition]
) -> dict[Partition, PartitionView]:
    """Stored bars and detections of ``partitions``; one without bars is left out."""
    if not partitions:
        return {}
    first, last = _extent(timeframe, partitions)
    symbols = sorted({partition.symbol for partition in partitions})
    with engine.connect() as connection:
        series = read_series(connection, calendar, timeframe, symbols, first, last)
        marks = read_marks(connection, timeframe, symbols, first, last)
    views = {}
    for partition in partitions:
        if partition.symbol not in series:
            continue
        year_first, year_last = year_bounds(timeframe, partition.year)
        bars = series[partition.symbol].bars.since(year_first).until(year_last)
        if not len(bars):
            continue
        stored = marks.get(partition.symbol, [])
        times = np.array([mark.bar_time for mark in stored], "datetime64[us]")
        # A bar may have gone since its detection was stored.
        has_bar = np.isin(times, bars.time)
        found = [mark for mark, is_kept in zip(stored, has_bar, strict=True) if is_kept]
        positions = np.searchsorted(bars.time, times[has_bar])
        views[partition] = PartitionView(
            bars,
            tuple((int(at), mark.pattern, mark.direction) for at, mark in zip(positions, found, strict=True)),
            Counter(mark.pattern for mark in found),
        )
    return views


def _round(
    engine: sa.Engine, calendar: TradingCalendar, definitions: DefinitionSet, partitions: Sequence[Partition]
) -> list[Outcome]:
    """Steps 2 to 4; partitions without an outcome have to be tried again."""
    timeframe = definitions.timeframe
    years = years_by_symbol(partitions)
    of_year = {year: windows(calendar, timeframe, year) for year in {p.year for p in partitions}}
    needed = [window for found in of_year.values() for window in found]
    anchors = [window.anchor for window in needed]
    first = None if None in anchors else min(anchor for anchor in anchors if anchor is not None)
    last = max(window.last for window in needed)
    span = (None if first is None else first.astype(object).year, max(p.year for p in partitions))
    with engine.connect() as connection:
        revisions = input_revisions(connection, timeframe, years, *span)
        series = read_series(connection, calendar, timeframe, list(years), first, last)
    inputs = [
        _Input(
            series.get(symbol) or Series(empty_bars(symbol, timeframe), np.empty(0)),
            {year: of_year[year] for year in years[symbol]},
            revisions[symbol],
        )
        for symbol in sorted(years)
    ]
    analysed, outcomes = _analyse(calendar, definitions, inputs)

    def write(connection: sa.Connection, items: Sequence[_Analysed]) -> list[Outcome]:
        locked = lock_inputs(connection, timeframe, [item.symbol for item in items], *span)
        current = [item for item in items if locked[item.symbol] == item.revision]
        write_analysis(connection, definitions, [window for item in current for window in item.windows])
        coverage = [row for item in current for row in item.coverage]
        record_coverage(connection, coverage)
        facts = {"indicators": len(definitions.indicators), "patterns": len(definitions.patterns)}
        return [
            Outcome(Partition(row.symbol, row.year), Status.WRITTEN, {"bars_analysed": row.n_bars, **facts})
            for row in coverage
        ]

    return outcomes + commit_together(
        engine, analysed, write, lambda item: [Partition(row.symbol, row.year) for row in item.coverage]
    )


def _analyse(
    calendar: TradingCalendar, definitions: DefinitionSet, inputs: Sequence[_Input]
) -> tuple[list[_Analysed], list[Outcome]]:
    """What could be computed, and the outcomes of what could not."""
    analysed: list[_Analysed] = []
    outcomes: list[Outcome] = []
    for start in range(0, len(inputs), _SYMBOLS_AT_ONCE):
        portion = inputs[start : start + _SYMBOLS_AT_ONCE]
        try:
            analysed += _analyse_together(calendar, definitions, portion)
        except ValueError:
            for one in portion:
                try:
                    analysed += _analyse_together(calendar, definitions, [one])
                except ValueError as error:
                    symbol = one.series.bars.symbol
                    outcomes += [
                        Outcome(Partition(symbol, year), Status.FAILED, error=str(error)) for year in one.years
                    ]
    return analysed, outcomes


def _analyse_together(
    calendar: TradingCalendar, definitions: DefinitionSet, inputs: Sequence[_Input]
) -> list[_Analysed]:
    passes = [(one, *found) for one in inputs for found in _passes(one)]
    fed_bars = [one.series.bars[fed] for one, fed, _ in passes]
    firsts = [
        int(np.searchsorted(bars.time, of_pass[0].first))
        for bars, (_, _, of_pass) in zip(fed_bars, passes, strict=True)
    ]
    analyses = analyse_many(fed_bars, definitions, firsts)
    kept: dict[str, list[AnalysedWindow]] = {one.series.bars.symbol: [] for one in inputs}
    for (one, fed, of_pass), analysis in zip(passes, analyses, strict=True):
        instants = calendar.instant(definitions.timeframe, analysis.bars.time)
        kept[analysis.bars.symbol] += [
            AnalysedWindow(analysis, one.series.divisors[fed], instants, window.first, window.last)
            for window in of_pass
        ]
    return [
        _Analysed(symbol, one.revision, tuple(kept[symbol]), _coverage(one, definitions))
        for one in inputs
        for symbol in [one.series.bars.symbol]
    ]


def _passes(one: _Input) -> Iterator[tuple[slice, list[Window]]]:
    """Windows that are fed from the same first bar, and the bars that they are fed."""
    time = one.series.bars.time
    by_start: dict[int, list[Window]] = {}
    for window in (window for found in one.years.values() for window in found):
        start = 0 if window.anchor is None else int(np.searchsorted(time, window.anchor))
        by_start.setdefault(start, []).append(window)
    for start, found in by_start.items():
        yield slice(start, int(np.searchsorted(time, found[-1].last, side="right"))), found


def _coverage(one: _Input, definitions: DefinitionSet) -> tuple[Coverage, ...]:
    bars = one.series.bars
    rows = []
    for year, found in one.years.items():
        stored = bars.since(found[0].first).until(found[-1].last)
        rows.append(
            Coverage(
                bars.symbol,
                bars.timeframe,
                year,
                definitions.digest,
                anchor=found[0].anchor,
                covered_through=stored.time[-1] if len(stored) else None,
                n_bars=len(stored),
            )
        )
    return tuple(rows)


def _extent(timeframe: Timeframe, partitions: Sequence[Partition]) -> tuple[np.datetime64, np.datetime64]:
    years = [partition.year for partition in partitions]
    return year_bounds(timeframe, min(years))[0], year_bounds(timeframe, max(years))[1]
