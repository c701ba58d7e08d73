"""What is known of the sessions of one symbol's year, and how complete each of them is.

Bars are counted only where the counts of the whole year leave a doubt, and in one query for all such years.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date
from enum import StrEnum

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from tickstock_pipeline.market.bar import IntArray, TimeArray
from tickstock_pipeline.market.calendar import TradingCalendar, exchange_date
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.ledger import LedgerRow
from tickstock_pipeline.storage.provenance import Provenance, read_session_bars
from tickstock_pipeline.storage.quality import Span, count_bars_by_date
from tickstock_pipeline.storage.quarantine import quarantined_dates

_MINUTE = np.timedelta64(1, "m")
_DAYS_OF_A_YEAR = 366


class Standing(StrEnum):
    """How complete a session is; the value is what people read."""

    COMPLETE = "complete"
    """Everything that the provider has of it is stored."""
    PARTIAL = "partial"
    """Some of its bars are stored, and others are missing, or nobody has asked the provider whether any are."""
    EMPTY = "empty at the provider"
    FAILED = "failed"
    """The provider was asked and did not answer, or its bar broke a rule."""
    NOT_ASKED = "not asked"


ORDER = tuple(Standing)
"""The standing of each code below, which stand for them in arrays."""
COMPLETE, PARTIAL, EMPTY, FAILED, NOT_ASKED = range(len(ORDER))


@dataclass
class JudgedYear:
    """Sessions of one year: the position in :data:`ORDER` of each one's standing, and of its reason."""

    sessions: TimeArray
    standing: IntArray
    reason: IntArray


class Reasons:
    """Reasons by number, so that a session's fits into an array; 0 is none."""

    def __init__(self) -> None:
        self.texts = [""]
        self._numbers = {"": 0}

    def number(self, text: str) -> int:
        """The number of a reason, its place in ``texts``."""
        if text not in self._numbers:
            self._numbers[text] = len(self.texts)
            self.texts.append(text)
        return self._numbers[text]


def is_evidently_complete(
    calendar: TradingCalendar,
    timeframe: Timeframe,
    sessions: TimeArray,
    made: Provenance | None,
    stored: LedgerRow | None,
) -> bool:
    """Whether the counts alone tell that every session has its bars.

    Of minutes they never do: a session without a trade has none, and only the counts by session say which it is.
    """
    if timeframe is Timeframe.MINUTE or made is None or stored is None or made.requested_through is None:
        return False
    year = date(made.year, 1, 1)
    asked = calendar.sessions(year, made.requested_through)
    return (
        made.outcome != "failed"
        and not made.n_refused
        and stored.n_bars == len(asked)
        and bool(sessions[-1] <= np.datetime64(made.requested_through, "D"))
    )


class Evidence:
    """How many bars were given and are stored by session, and what was refused, of the partitions in doubt."""

    def __init__(
        self,
        connection: sa.Connection,
        timeframe: Timeframe,
        partitions: Sequence[Partition],
        known: Mapping[Partition, Provenance],
        ledger: Mapping[Partition, LedgerRow],
    ) -> None:
        self.partitions = frozenset(partitions)
        self.given = read_session_bars(connection, timeframe, partitions) if timeframe is Timeframe.MINUTE else {}
        spans: dict[Partition, Span] = {}
        for partition in partitions:
            row, made = ledger.get(partition), known.get(partition)
            if row is None or not row.n_bars:
                continue
            span = date(partition.year, 1, 1), date(partition.year, 12, 31)
            if partition in self.given and made is not None and made.requested_through is not None:
                if made.n_bars == row.n_bars:
                    continue  # all that was given is stored, and nothing else
                newest = last_date(row)
                if newest is not None and made.requested_through < newest:
                    # most often, minutes were written live since; counting those alone may be enough
                    span = date.fromordinal(made.requested_through.toordinal() + 1), span[1]
            spans[partition] = Span(partition.symbol, *span)
        self.stored = _by_day(spans, count_bars_by_date(connection, timeframe, list(spans.values())))
        again = {}
        for partition in spans:
            if spans[partition].first > date(partition.year, 1, 1):
                since = int(self.stored[partition].sum())
                if ledger[partition].n_bars - since == known[partition].n_bars:
                    self.stored[partition] = self.stored[partition] + self.given[partition]
                else:
                    again[partition] = Span(partition.symbol, date(partition.year, 1, 1), date(partition.year, 12, 31))
        self.stored |= _by_day(again, count_bars_by_date(connection, timeframe, list(again.values())))
        for partition in self.partitions - spans.keys():
            row = ledger.get(partition)
            nothing = np.zeros(_DAYS_OF_A_YEAR, np.int64)
            self.stored[partition] = self.given[partition] if row is not None and row.n_bars else nothing
        refused = {partition.symbol for partition in partitions if partition in known and known[partition].n_refused}
        self.refused = quarantined_dates(connection, timeframe, sorted(refused))


def _by_day(
    spans: Mapping[Partition, Span], counts: Sequence[tuple[TimeArray, IntArray]]
) -> dict[Partition, NDArray[np.int64]]:
    found = {}
    for partition, (days, n_bars) in zip(spans, counts, strict=True):
        of_year = np.zeros(_DAYS_OF_A_YEAR, np.int64)
        of_year[_day_of_year(days)] = n_bars
        found[partition] = of_year
    return found


def _day_of_year(days: TimeArray) -> IntArray:
    found: IntArray = (days - days.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.int64)
    return found


def judge(
    one: JudgedYear,
    partition: Partition,
    timeframe: Timeframe,
    calendar: TradingCalendar,
    made: Provenance | None,
    evidence: Evidence,
    reasons: Reasons,
) -> None:
    """Fill in the standing of a year's sessions; what is not set is complete."""
    day = _day_of_year(one.sessions)
    stored = evidence.stored[partition][day]
    asked = np.zeros(len(day), np.bool_)
    if made is not None and not made.is_derived and made.requested_from and made.requested_through:
        asked = one.sessions <= np.datetime64(made.requested_through, "D")
        asked &= one.sessions >= np.datetime64(made.requested_from, "D")
    has_failed = made is not None and made.outcome == "failed"
    error = (made.error if made is not None else None) or ""

    def set_where(where: NDArray[np.bool_], code: int, reason: str = "") -> None:
        one.standing[where] = code
        one.reason[where] = reasons.number(reason)

    set_where((stored == 0) & asked, EMPTY, (made.reason if made is not None else None) or "")
    set_where((stored == 0) & ~asked, FAILED if has_failed else NOT_ASKED, error if has_failed else "")
    if timeframe is Timeframe.MINUTE:
        whole = ((calendar.closing(one.sessions) - calendar.opening(one.sessions)) // _MINUTE).astype(np.int64)
        unsure = ~asked & (stored > 0) & (stored < whole)
        set_where(unsure, PARTIAL, error if has_failed else "the provider was not asked for what is missing")
        given = evidence.given.get(partition)
        if given is not None:
            lost = asked & (stored < given[day])
            set_where(lost, PARTIAL, "bars that the provider gave are not stored any more")
    for refused, reason in evidence.refused.get(partition.symbol, {}).items():
        of_day = one.sessions == np.datetime64(refused, "D")
        set_where(of_day & (stored == 0), FAILED, f"quarantined: {reason}")
        set_where(of_day & (stored > 0) & (timeframe is Timeframe.MINUTE), PARTIAL, f"quarantined: {reason}")


def last_date(stored: LedgerRow) -> date | None:
    """The date, on the exchange, of the newest bar of a year; None if there is none."""
    if stored.last_time is None:
        return None
    instant = np.array([stored.last_time.astimezone(UTC).replace(tzinfo=None)], "datetime64[us]")
    days = exchange_date(instant) if stored.timeframe.is_intraday else instant.astype("datetime64[D]")
    return date.fromisoformat(str(days[0]))
