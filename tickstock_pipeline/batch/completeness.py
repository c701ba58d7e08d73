"""The ledger of completeness: of each symbol's sessions, which have all the bars that the provider has.

Nothing is stored for a session. ``bar_provenance`` says of a symbol's year what was asked and what came, ``bar_ledger``
how many bars there are now, the calendar which sessions there were:

1. A year whose counts agree is complete; nothing else is read. That is nearly every year of nearly every symbol.
2. Of the others, bars are counted by session, in one query for all of them.
3. Each session is judged (:class:`Standing`); sessions in a row that lack the same are one gap.

Hours, weeks and months are derived: they are complete as far as their input is, once they are made of it as it is now.
So they are judged by year.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.batch.imports import last_settled
from tickstock_pipeline.batch.outcome import ledger_by_partition
from tickstock_pipeline.batch.standing import (
    COMPLETE,
    EMPTY,
    ORDER,
    PARTIAL,
    Evidence,
    JudgedYear,
    Reasons,
    Standing,
    is_evidently_complete,
    judge,
    last_date,
)
from tickstock_pipeline.market.bar import IntArray, TimeArray
from tickstock_pipeline.market.calendar import TradingCalendar
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.ledger import LedgerRow, read_ledger
from tickstock_pipeline.storage.provenance import Provenance, read_provenance, stale_roll_ups


@dataclass(frozen=True)
class Gap:
    """Sessions in a row, or years, that lack the same for the same reason.

    Attributes
    ----------
    first, last : dates, both included
    count : how many sessions, or years of derived bars
    """

    first: date
    last: date
    count: int
    standing: Standing
    reason: str

    def describe(self) -> str:
        """The gap in words."""
        dates = f"{self.first}" if self.first == self.last else f"{self.first} to {self.last}"
        return f"{dates}: {self.standing}" + (f" ({self.reason})" if self.reason else "")

    @property
    def can_be_imported(self) -> bool:
        """Whether asking the provider again may close it."""
        return self.standing is not Standing.EMPTY


@dataclass(frozen=True)
class SymbolCompleteness:
    """One symbol's bars of a timeframe.

    Attributes
    ----------
    first, last : dates judged, both included
    counts : sessions, or years of derived bars, by standing
    bars : stored in the years judged
    provisional : days among them that are derived from minutes, in place of the provider's own
    gaps : oldest first; empty sessions before the symbol's first bar and after its last one are none
    """

    symbol: str
    first: date
    last: date
    counts: Mapping[Standing, int]
    bars: int
    provisional: int
    gaps: tuple[Gap, ...]

    @property
    def expected(self) -> int:
        """Sessions judged, or years of derived bars."""
        return sum(self.counts.values())


def completeness(
    connection: sa.Connection,
    calendar: TradingCalendar,
    timeframe: Timeframe,
    symbols: Sequence[str] | None = None,
    first: date | None = None,
    last: date | None = None,
    *,
    now: datetime | None = None,
) -> list[SymbolCompleteness]:
    """Judge the stored bars of a timeframe.

    Parameters
    ----------
    symbols : None: all that were ever asked for or stored
    first, last : sessions to judge, both included; by default from the first year to the last session that was asked
        for or stored, of each symbol
    now : UTC; sessions that have not ended by then are left out

    Returns
    -------
    By symbol. A symbol given that nobody knows anything of is judged only where ``first`` is given.
    """
    ended = last_settled(calendar, now or datetime.now(UTC))
    known = read_provenance(connection, timeframe, symbols)
    ledger = ledger_by_partition(read_ledger(connection, timeframe, symbols))
    years: dict[str, list[int]] = {symbol: [] for symbol in symbols or ()}
    for partition in sorted({*known, *(p for p, row in ledger.items() if row.n_bars)}):
        years.setdefault(partition.symbol, []).append(partition.year)
    ranges = {}
    for symbol, found in years.items():
        known_to = [_known_to(known.get(Partition(symbol, y)), ledger.get(Partition(symbol, y)), y) for y in found]
        start = first or (date(found[0], 1, 1) if found else None)
        end = min(last or max(known_to, default=ended), ended)
        if start is not None and start <= end:
            ranges[symbol] = (start, end)
    if timeframe in (Timeframe.MINUTE, Timeframe.DAILY):
        return _judge_sessions(connection, calendar, timeframe, ranges, known, ledger)
    return _judge_years(connection, timeframe, ranges, known, ledger)


def _known_to(made: Provenance | None, stored: LedgerRow | None, year: int) -> date:
    """The last date of which anything is known."""
    dates = [date(year, 1, 1)]
    if made is not None and made.requested_through is not None:
        dates.append(min(made.requested_through, date(year, 12, 31)))
    if made is not None and made.outcome == "failed":
        dates.append(date(year, 12, 31))
    newest = None if stored is None else last_date(stored)
    return max(dates if newest is None else [*dates, newest])


def _judge_sessions(
    connection: sa.Connection,
    calendar: TradingCalendar,
    timeframe: Timeframe,
    ranges: Mapping[str, tuple[date, date]],
    known: Mapping[Partition, Provenance],
    ledger: Mapping[Partition, LedgerRow],
) -> list[SymbolCompleteness]:
    sessions = {
        partition: calendar.sessions(max(start, date(partition.year, 1, 1)), min(end, date(partition.year, 12, 31)))
        for symbol, (start, end) in ranges.items()
        for partition in (Partition(symbol, year) for year in range(start.year, end.year + 1))
    }
    doubtful = [
        partition
        for partition, of_year in sessions.items()
        if len(of_year)
        and not is_evidently_complete(calendar, timeframe, of_year, known.get(partition), ledger.get(partition))
    ]
    evidence = Evidence(connection, timeframe, doubtful, known, ledger)
    reasons = Reasons()
    found = []
    for symbol, (start, end) in ranges.items():
        judged = []
        for year in range(start.year, end.year + 1):
            partition = Partition(symbol, year)
            of_year = sessions[partition]
            one = JudgedYear(of_year, np.zeros(len(of_year), np.int64), np.zeros(len(of_year), np.int64))
            if partition in evidence.partitions:
                judge(one, partition, timeframe, calendar, known.get(partition), evidence, reasons)
            judged.append(one)
        rows = [ledger[p] for p in (Partition(symbol, y) for y in range(start.year, end.year + 1)) if p in ledger]
        made = [known[p] for p in (Partition(symbol, y) for y in range(start.year, end.year + 1)) if p in known]
        standing = np.concatenate([one.standing for one in judged])
        found.append(
            SymbolCompleteness(
                symbol,
                start,
                end,
                {which: int((standing == code).sum()) for code, which in enumerate(ORDER)},
                bars=sum(row.n_bars for row in rows),
                provisional=sum(row.n_provisional for row in made),
                gaps=_gaps(
                    np.concatenate([one.sessions for one in judged]),
                    standing,
                    np.concatenate([one.reason for one in judged]),
                    reasons,
                ),
            )
        )
    return found


def _gaps(sessions: TimeArray, standing: IntArray, reason: IntArray, reasons: Reasons) -> tuple[Gap, ...]:
    has_bars = np.flatnonzero((standing == COMPLETE) | (standing == PARTIAL))
    is_gap = standing != COMPLETE
    if len(has_bars):
        outside = np.ones(len(standing), np.bool_)
        outside[has_bars[0] : has_bars[-1] + 1] = False
        is_gap &= ~(outside & (standing == EMPTY))
    else:
        is_gap &= standing != EMPTY
    key = np.where(is_gap, standing * len(reasons.texts) + reason, -1)
    starts = np.flatnonzero(np.concatenate(([True], key[1:] != key[:-1]))) if len(key) else np.empty(0, np.int64)
    ends = np.concatenate((starts[1:], [len(key)])) - 1
    return tuple(
        Gap(
            sessions[low].item(),
            sessions[high].item(),
            int(high - low) + 1,
            ORDER[standing[low]],
            reasons.texts[reason[low]],
        )
        for low, high in zip(starts, ends, strict=True)
        if is_gap[low]
    )


def _judge_years(
    connection: sa.Connection,
    timeframe: Timeframe,
    ranges: Mapping[str, tuple[date, date]],
    known: Mapping[Partition, Provenance],
    ledger: Mapping[Partition, LedgerRow],
) -> list[SymbolCompleteness]:
    stale = set(stale_roll_ups(connection, timeframe))
    outdated = f"not derived from the {timeframe.derived_from} bars as they are now"
    found = []
    for symbol, (start, end) in ranges.items():
        counts = dict.fromkeys(Standing, 0)
        gaps, bars = [], 0
        for partition in (Partition(symbol, year) for year in range(start.year, end.year + 1)):
            row, made = ledger.get(partition), known.get(partition)
            n_bars = row.n_bars if row is not None else 0
            bars += n_bars
            reason = ""
            standing = Standing.COMPLETE if n_bars else Standing.EMPTY
            if partition in stale:
                standing, reason = (Standing.PARTIAL if n_bars else Standing.NOT_ASKED), outdated
            elif made is None and not n_bars:
                standing = Standing.NOT_ASKED
            elif made is not None and n_bars < made.n_bars:
                standing, reason = Standing.PARTIAL, f"{made.n_bars - n_bars} derived bars are not stored any more"
            counts[standing] += 1
            if standing not in (Standing.COMPLETE, Standing.EMPTY):
                span = max(start, date(partition.year, 1, 1)), min(end, date(partition.year, 12, 31))
                gaps.append(Gap(*span, 1, standing, reason))
        found.append(SymbolCompleteness(symbol, start, end, counts, bars, 0, tuple(gaps)))
    return found


def totals(found: Iterable[SymbolCompleteness]) -> dict[Standing, int]:
    """Sessions, or years of derived bars, of all symbols by standing."""
    counts = dict.fromkeys(Standing, 0)
    for one in found:
        for standing, count in one.counts.items():
            counts[standing] += count
    return counts
