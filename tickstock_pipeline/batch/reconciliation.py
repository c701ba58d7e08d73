"""A day's minutes as they were stored live, compared with what the provider has of the day afterwards.

The provider's bars win: they are written where they differ. What is stored and the provider does not have is reported
and left: a provider may be late, and a deletion would take the analysis along.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.batch.commit import commit_together
from tickstock_pipeline.batch.fetching import Answer, Refusal, Request, fetch_in_batches
from tickstock_pipeline.batch.outcome import Outcome, Status
from tickstock_pipeline.batch.plan_history import PlanHistory
from tickstock_pipeline.market.bar import Bars, empty_bars
from tickstock_pipeline.market.calendar import TradingCalendar
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.base import HistoricalProvider
from tickstock_pipeline.storage.bars import read_bars, write_bars
from tickstock_pipeline.storage.quarantine import record_refused

_VALUES = ("open", "high", "low", "close", "volume")
_EXAMPLES = 5


@dataclass(frozen=True)
class Difference:
    """How one symbol's day compares.

    Attributes
    ----------
    stored : bars that were stored before
    missing : bars of the provider that were not stored
    extra : stored bars that the provider does not have
    different : bars that both have with other values
    largest_pct : the largest difference of a price, in percent of the provider's
    examples : the first few bars that differ, in words
    error : why there is no comparison; empty if there is
    """

    symbol: str
    stored: int = 0
    missing: int = 0
    extra: int = 0
    different: int = 0
    largest_pct: float = 0.0
    examples: tuple[str, ...] = ()
    error: str = ""

    @property
    def is_same(self) -> bool:
        """Whether the provider has just what was stored."""
        return not (self.missing or self.extra or self.different or self.error)


def symbols_with_minutes(connection: sa.Connection, calendar: TradingCalendar, day: date) -> list[str]:
    """Symbols of which a minute of a session is stored."""
    first, last = _bounds(calendar, day)
    return list(
        connection.scalars(
            sa.text("""
                SELECT symbol FROM bar_ledger known WHERE timeframe = '1min' AND year = :year AND n_bars > 0
                    AND EXISTS (
                        SELECT FROM ohlcv_1min bar WHERE bar.symbol = known.symbol
                            AND bar."timestamp" BETWEEN cast(:first AS timestamptz) AND cast(:last AS timestamptz)
                    )
                ORDER BY symbol
            """),
            {"year": day.year, "first": f"{first}+00", "last": f"{last}+00"},
        )
    )


def reconcile_day(
    engine: sa.Engine, provider: HistoricalProvider, calendar: TradingCalendar, day: date, symbols: Sequence[str]
) -> list[Difference]:
    """Ask the provider for a session's minutes of ``symbols``, compare, and store what differs.

    Returns
    -------
    A comparison for each symbol, in their order; one that the provider does not answer for has an ``error``.

    Raises
    ------
    ValueError
        If ``day`` is not a session.
    """
    first, last = _bounds(calendar, day)
    requests = (Request(symbol, (day.year,), day, day) for symbol in symbols)
    found: dict[str, Difference] = {}
    history = PlanHistory(provider, Timeframe.MINUTE, day)
    for arrivals in fetch_in_batches(provider, history, requests, lambda: False):
        answers = {item.request.symbol: item for item in arrivals if isinstance(item, Answer)}
        for item in arrivals:
            if isinstance(item, Refusal):
                found[item.request.symbol] = Difference(item.request.symbol, error=item.reason)
        with engine.connect() as connection:
            stored = read_bars(connection, Timeframe.MINUTE, list(answers), first, last)
        for symbol, item in answers.items():
            known = stored.get(symbol, empty_bars(symbol, Timeframe.MINUTE))
            found[symbol] = compare(known, item.fetched.bars.since(first).until(last))

        def write(connection: sa.Connection, items: Sequence[Answer]) -> list[Outcome]:
            for source in {item.fetched.source or provider.name for item in items}:
                of_source = [item for item in items if (item.fetched.source or provider.name) == source]
                write_bars(connection, [item.fetched.bars.since(first).until(last) for item in of_source], source)
                record_refused(connection, [bar for item in of_source for bar in item.fetched.refused], source)
            return []

        ordered = [answers[symbol] for symbol in sorted(answers)]
        for outcome in commit_together(engine, ordered, write, lambda item: [Partition(item.request.symbol, day.year)]):
            if outcome.status is Status.FAILED:
                symbol = outcome.partition.symbol
                found[symbol] = Difference(symbol, error=outcome.error)
    return [found.get(symbol, Difference(symbol, error="the provider was not asked")) for symbol in symbols]


def compare(stored: Bars, given: Bars) -> Difference:
    """How stored bars differ from those that a provider gave; both of one symbol and span."""
    is_known, is_given = np.isin(given.time, stored.time), np.isin(stored.time, given.time)
    ours, theirs = stored[np.flatnonzero(is_given)], given[np.flatnonzero(is_known)]
    differs = np.zeros(len(ours), np.bool_)
    largest = 0.0
    for name in _VALUES:
        mine, yours = getattr(ours, name), getattr(theirs, name)
        differs |= mine != yours
        if name != "volume" and len(ours):
            largest = max(largest, float(np.max(np.abs(mine - yours) / yours)) * 100)
    examples = tuple(
        f"{np.datetime_as_string(ours.time[at], unit='m')}Z: "
        + ", ".join(
            f"{name} {getattr(ours, name)[at]:g}, provider {getattr(theirs, name)[at]:g}"
            for name in _VALUES
            if getattr(ours, name)[at] != getattr(theirs, name)[at]
        )
        for at in np.flatnonzero(differs)[:_EXAMPLES]
    )
    return Difference(
        stored.symbol,
        stored=len(stored),
        missing=int((~is_known).sum()),
        extra=int((~is_given).sum()),
        different=int(differs.sum()),
        largest_pct=largest,
        examples=examples,
    )


def _bounds(calendar: TradingCalendar, day: date) -> tuple[np.datetime64, np.datetime64]:
    opening = np.datetime64(str(calendar.opening(day)), "us")
    closing = np.datetime64(str(calendar.closing(day)), "us")
    return opening, closing - np.timedelta64(1, "m")
