"""Are the stored bars sane and complete? Answers for the asset checks and for people."""

from dataclasses import dataclass
from datetime import date

import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.market.bar import TimeArray
from tickstock_pipeline.market.calendar import TradingCalendar
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.quality import (
    bar_dates,
    constraints_not_in_force,
    count_insane_bars,
    count_refused_bars,
    series_extents,
)

_DATES_SHOWN = 5


@dataclass(frozen=True)
class Sanity:
    """Do all bars of a table obey the rules of ``market.bar``?

    Attributes
    ----------
    unenforced : names of the table's constraints that are not in force; none, if nobody tampered with it
    insane : bars in the table that break a rule; can be more than none only where a constraint is not in force
    refused : bars that broke a rule and were quarantined instead, by symbol
    """

    unenforced: tuple[str, ...]
    insane: int
    refused: dict[str, int]


@dataclass(frozen=True)
class Gap:
    """Periods without a bar between a symbol's first and last one.

    Attributes
    ----------
    missing : their keys, oldest first
    expected : periods between the first and the last bar, both included
    """

    symbol: str
    expected: int
    missing: tuple[date, ...]

    def describe(self) -> str:
        """The gap in words, the first few dates named."""
        dates = ", ".join(day.isoformat() for day in self.missing[:_DATES_SHOWN])
        more = f" and {len(self.missing) - _DATES_SHOWN} more" if len(self.missing) > _DATES_SHOWN else ""
        return f"{len(self.missing)} of {self.expected} missing: {dates}{more}"


def sanity(connection: sa.Connection, timeframe: Timeframe) -> Sanity:
    """Judge one table. PostgreSQL enforces the rules, so its rows are read only if it does not."""
    unenforced = constraints_not_in_force(connection, timeframe)
    return Sanity(
        tuple(unenforced),
        count_insane_bars(connection, timeframe) if unenforced else 0,
        count_refused_bars(connection, timeframe),
    )


def gaps(connection: sa.Connection, calendar: TradingCalendar, timeframe: Timeframe) -> list[Gap]:
    """Periods of the exchange's calendar without a bar, for each symbol that lacks any.

    A minute or an hour without a trade has no bar, so intraday timeframes are asked for at least one bar a session.
    The ledger's counts tell which symbols to look at, so a complete table costs no reading of bars.
    """
    found = []
    for symbol, (count, first, last) in series_extents(connection, timeframe).items():
        expected = _periods(calendar, timeframe, first, last)
        if not timeframe.is_intraday and count == len(expected):
            continue
        missing = np.setdiff1d(expected, bar_dates(connection, timeframe, symbol))
        if len(missing):
            found.append(Gap(symbol, len(expected), tuple(missing.tolist())))
    return found


def _periods(calendar: TradingCalendar, timeframe: Timeframe, first: np.datetime64, last: np.datetime64) -> TimeArray:
    sessions = calendar.sessions(first, last)
    if timeframe is Timeframe.WEEKLY:
        return np.unique(calendar.week_ending(sessions))
    if timeframe is Timeframe.MONTHLY:
        return np.unique(calendar.month_ending(sessions))
    return sessions
