"""Indicators and patterns of stored bars: what is missing or stale is computed and stored, the rest left alone.

1. Ask the ledger which of the partitions are missing or stale under the present definitions, and take portions of
   them that fit in memory. Each is committed by itself, so a killed run goes on after the last one.
2. Note the revision of their input and since when each year is stale, then read it: each symbol's bars from the
   earliest anchor on that is needed. What was analysed before the first changed bar holds and is left alone.
3. Compute. Years that are fed from the same first bar share one pass: a result depends on nothing after its bar. Of
   the bars before them, which are warm-up, no patterns are looked for.
4. In one transaction, lock the input, leave out symbols whose input or coverage has changed since 2., and write values,
   patterns and coverage. What was left out begins again at 2.

A symbol that cannot be read, computed or stored fails alone, whatever it raises: see ``isolation``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.analysis import DefinitionSet, analyse_many, definition_set
from tickstock_pipeline.batch.commit import commit_together
from tickstock_pipeline.batch.isolation import apart
from tickstock_pipeline.batch.outcome import Outcome, Status, in_order_of, ledger_by_partition
from tickstock_pipeline.batch.retractions import enqueue_retractions
from tickstock_pipeline.batch.stale_years import AnalysisInput, Span, StaleYear, input_years, read_inputs
from tickstock_pipeline.batch.windows import windows
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.calendar import TradingCalendar
from tickstock_pipeline.market.partition import Partition, years_by_symbol
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.analysed_window import AnalysedWindow
from tickstock_pipeline.storage.analysis_failures import clear_failures, record_failures
from tickstock_pipeline.storage.analysis_store import write_analysis
from tickstock_pipeline.storage.coverage import (
    Coverage,
    StalePartition,
    read_coverage,
    record_coverage,
    stale_analysis,
)
from tickstock_pipeline.storage.definitions import read_definitions
from tickstock_pipeline.storage.instants import plain
from tickstock_pipeline.storage.ledger import LedgerRow, lock_inputs, read_ledger

# A symbol whose bars are being written all the time must not keep a run from ending; it stays stale and comes again.
_MOST_ROUNDS = 5
# Their arrays stay in the processor's caches.
_SYMBOLS_AT_ONCE = 10
# Stale bars of a portion: as many values as 150 MB hold, warm-up included.
_BARS_AT_ONCE = 250_000
# A stale bar of minutes is fed with up to thirteen sessions.
_WARM_UP_BARS = 5_000


@dataclass(frozen=True)
class _Analysed:
    """One symbol's stale years, computed."""

    of: AnalysisInput
    windows: tuple[AnalysedWindow, ...]


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
    stale = [one for one in found if Partition(one.symbol, one.year) in wanted]
    outcomes = [
        Outcome(partition, Status.UNCHANGED)
        for partition in wanted - {Partition(one.symbol, one.year) for one in stale}
    ]
    for portion in _portions(timeframe, stale):
        left = set(portion)
        for _ in range(_MOST_ROUNDS):
            done = _round(engine, calendar, definitions, sorted(left))
            outcomes += done
            left -= {outcome.partition for outcome in done}
            if not left:
                break
        outcomes += [
            Outcome(partition, Status.FAILED, error="its bars kept changing while they were analysed; try again")
            for partition in left
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


def _portions(timeframe: Timeframe, stale: Sequence[StalePartition]) -> Iterator[list[Partition]]:
    """Partitions to read and commit together; those of a symbol together, except for minutes, which share no pass."""
    portion: list[StalePartition] = []
    weight = 0
    for one in sorted(stale):
        of_one = one.bars + (_WARM_UP_BARS if timeframe is Timeframe.MINUTE else 0)
        may_part = not portion or timeframe is Timeframe.MINUTE or one.symbol != portion[-1].symbol
        if portion and may_part and weight + of_one > _BARS_AT_ONCE:
            yield [Partition(each.symbol, each.year) for each in portion]
            portion, weight = [], 0
        portion.append(one)
        weight += of_one
    if portion:
        yield [Partition(each.symbol, each.year) for each in portion]


def _round(
    engine: sa.Engine, calendar: TradingCalendar, definitions: DefinitionSet, partitions: Sequence[Partition]
) -> list[Outcome]:
    """Steps 2 to 4; partitions without an outcome have to be tried again."""
    timeframe = definitions.timeframe
    of_year = {year: windows(calendar, timeframe, year) for year in {p.year for p in partitions}}
    span = input_years(of_year)
    by_symbol = years_by_symbol(partitions)

    def named(symbol: str, years: Sequence[int]) -> str:
        return f"analysis of {symbol}, {timeframe} bars of {', '.join(map(str, years))},"

    def read(symbols: Sequence[str]) -> list[AnalysisInput | Outcome]:
        wanted = {symbol: by_symbol[symbol] for symbol in symbols}
        return read_inputs(engine, calendar, definitions, wanted, of_year, span)

    def refused(symbol: str, reason: str) -> list[Outcome]:
        return [Outcome(Partition(symbol, year), Status.FAILED, error=reason) for year in by_symbol[symbol]]

    found = apart(sorted(by_symbol), read, refused, lambda s: named(s, by_symbol[s]))
    inputs = [one for one in found if isinstance(one, AnalysisInput)]
    computed: list[_Analysed | Outcome] = []
    for start in range(0, len(inputs), _SYMBOLS_AT_ONCE):
        computed += apart(
            inputs[start : start + _SYMBOLS_AT_ONCE],
            lambda some: _analyse_together(calendar, definitions, some),
            lambda one, why: refused(one.symbol, why),
            lambda one: named(one.symbol, list(one.years)),
        )
    analysed = [one for one in computed if isinstance(one, _Analysed)]
    outcomes = [one for one in [*found, *computed] if isinstance(one, Outcome)]
    return outcomes + commit_together(
        engine,
        analysed,
        lambda connection, items: _write(connection, calendar, definitions, items, span),
        lambda item: [one for one, _ in item.of.partitions()],
        f"storing the analysis of {timeframe} bars of",
    )


def _analyse_together(
    calendar: TradingCalendar, definitions: DefinitionSet, inputs: Sequence[AnalysisInput]
) -> list[_Analysed]:
    passes = [(one, *found) for one in inputs for found in one.passes()]
    fed_bars = [one.series.bars[fed] for one, fed, _ in passes]
    firsts = [
        int(np.searchsorted(bars.time, of_pass[0].first))
        for bars, (_, _, of_pass) in zip(fed_bars, passes, strict=True)
    ]
    analyses = analyse_many(fed_bars, definitions, firsts)
    kept: dict[str, list[AnalysedWindow]] = {one.symbol: [] for one in inputs}
    for (one, fed, of_pass), analysis in zip(passes, analyses, strict=True):
        instants = calendar.instant(definitions.timeframe, analysis.bars.time)
        kept[one.symbol] += [
            AnalysedWindow(analysis, one.series.divisors[fed], instants, window.first, window.last)
            for window in of_pass
        ]
    return [_Analysed(one, tuple(kept[one.symbol])) for one in inputs]


def _write(
    connection: sa.Connection,
    calendar: TradingCalendar,
    definitions: DefinitionSet,
    items: Sequence[_Analysed],
    span: Span,
) -> list[Outcome]:
    timeframe = definitions.timeframe
    symbols = [item.of.symbol for item in items]
    locked = lock_inputs(connection, timeframe, symbols, *span)
    known = read_coverage(connection, timeframe, symbols)
    current = [
        item
        for item in items
        if locked[item.of.symbol] == item.of.revision
        and all(year.holds_still(known.get(one), definitions.digest) for one, year in item.of.partitions())
    ]
    written = write_analysis(connection, definitions, [window for item in current for window in item.windows])
    enqueue_retractions(connection, calendar, timeframe, written.retracted)
    ledger = ledger_by_partition(read_ledger(connection, timeframe, symbols))
    facts = {"indicators": len(definitions.indicators), "patterns": len(definitions.patterns)}
    coverage, outcomes = [], []
    for item in current:
        for one, year in item.of.partitions():
            analysed = item.of.bars_of(year)
            coverage.append(_coverage(one, definitions, year, analysed, ledger.get(one)))
            outcomes.append(Outcome(one, Status.WRITTEN, {"bars_analysed": len(analysed), **facts}))
    record_coverage(connection, coverage)
    return outcomes


def _coverage(
    partition: Partition, definitions: DefinitionSet, year: StaleYear, analysed: Bars, stored: LedgerRow | None
) -> Coverage:
    n_bars, through = len(analysed), analysed.time[-1] if len(analysed) else None
    if year.holds_before is not None:
        # a part of the year was read; the input is locked, so the ledger counts what is analysed now
        last = None if stored is None else stored.last_time
        n_bars, through = 0 if stored is None else stored.n_bars, None if last is None else plain(last)
    return Coverage(
        partition.symbol,
        definitions.timeframe,
        partition.year,
        definitions.digest,
        anchor=year.anchor,
        covered_through=through,
        n_bars=n_bars,
    )
