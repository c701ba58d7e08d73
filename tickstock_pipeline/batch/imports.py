"""Bars from a provider into their table: which requests to send, and what becomes of each partition.

1. Decide what need not be asked: years that have not begun, years before the provider's history, and partitions that
   were fetched since a moment given, which is how an interrupted import goes on where it was.
2. Ask: one request a symbol for consecutive years of days, since the number of requests is what limits most accounts;
   one a year for minutes, since memory is what limits us. Splits and dividends are asked once a day and symbol;
   those announced are stored on their day.
3. Store what arrives while the rest is fetched (:mod:`tickstock_pipeline.batch.fetching`,
   :mod:`tickstock_pipeline.batch.import_store`), so memory does not depend on the number of symbols.

Only sessions that have ended, and that providers have had some minutes to settle, are asked for and stored.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import TypedDict

import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.batch.fetching import CANCELLED, Answer, OwedFacts, Refusal, Request, fetch_in_batches
from tickstock_pipeline.batch.import_store import (
    plan_begins,
    store_answers,
    store_failures,
    store_nothing_to_have,
)
from tickstock_pipeline.batch.outcome import Outcome, Status, in_order_of, ledger_by_partition, ledger_facts
from tickstock_pipeline.batch.plan_history import PlanHistory
from tickstock_pipeline.market.calendar import EXCHANGE_ZONE, TradingCalendar
from tickstock_pipeline.market.partition import Partition, years_by_symbol
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.base import HistoricalProvider
from tickstock_pipeline.storage.corporate_actions import KINDS, actions_fetched_since
from tickstock_pipeline.storage.instants import plain
from tickstock_pipeline.storage.ledger import read_ledger
from tickstock_pipeline.storage.provenance import Provenance, read_provenance

# Cheaper plans deliver a quarter of an hour late, and the closing auction is corrected for some minutes.
SETTLED_AFTER = np.timedelta64(20, "m")
"""How long after its end a session is asked for."""

OnSymbol = Callable[[str, list[Outcome]], None]


class Following(TypedDict, total=False):
    """How the one who asked for an import follows it; see :func:`import_bars`."""

    fresh_since: datetime | None
    on_symbol: OnSymbol | None
    should_stop: Callable[[], bool] | None


@dataclass
class _Progress:
    """Outcomes so far, and who is told when a symbol has all of its own."""

    on_symbol: OnSymbol | None
    left: dict[str, int]
    done: dict[str, list[Outcome]] = field(default_factory=dict)

    def settle(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            symbol = outcome.partition.symbol
            found = self.done.setdefault(symbol, [])
            found.append(outcome)
            if len(found) == self.left[symbol] and self.on_symbol is not None:
                self.on_symbol(symbol, sorted(found, key=lambda one: one.partition))


def import_bars(
    engine: sa.Engine,
    provider: HistoricalProvider,
    calendar: TradingCalendar,
    timeframe: Timeframe,
    partitions: Sequence[Partition],
    *,
    now: datetime | None = None,
    fresh_since: datetime | None = None,
    on_symbol: OnSymbol | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> list[Outcome]:
    """Fetch the bars of ``partitions`` and store what is new or different, symbol by symbol as answers arrive.

    Parameters
    ----------
    provider : where to fetch from; a timeframe that it does not have is an empty answer, not a failure
    now : UTC; sessions that have not ended by then are left for later
    fresh_since : partitions whose fetch succeeded at or after this instant, by the database's clock, are not fetched
        again
    on_symbol : called from the calling thread with a symbol's outcomes, once all of its bars are committed or failed
    should_stop : asked before each request and once a second; from then on nothing more is asked for, and what is
        left fails as "cancelled"

    Returns
    -------
    One outcome a partition, in the order given. A symbol that the provider refuses or does not answer for fails with
    the provider's reason, and only it.
    """
    years = years_by_symbol(partitions)
    progress = _Progress(on_symbol, {symbol: len(found) for symbol, found in years.items()})
    if timeframe not in provider.timeframes:
        facts: dict[str, int | float | str] = {
            "source": provider.name,
            "bars": 0,
            "note": f"{provider.name} has no {timeframe} bars",
        }
        progress.settle(Outcome(Partition(symbol, year), Status.UNCHANGED, facts) for symbol, year in _all(years))
        return in_order_of(partitions, (outcome for found in progress.done.values() for outcome in found))

    moment = (now or datetime.now(UTC)).astimezone(UTC)
    today = moment.astimezone(EXCHANGE_ZONE).date()
    ended = last_settled(calendar, moment)
    # What the provider does not have yet is not marked as asked for: it is asked for again.
    through = {listing.symbol: min(listing.last, ended) for listing in provider.catalogue()}
    earliest = provider.earliest(timeframe, moment.date())
    with engine.connect() as connection:
        known = read_provenance(connection, timeframe, years)
        ledger = ledger_by_partition(read_ledger(connection, timeframe, list(years)))
        # A split counts from its day on, so what was asked the evening before does not tell of it.
        fresh = actions_fetched_since(connection, years, datetime.combine(today, time(), EXCHANGE_ZONE))

    wanted: dict[str, list[int]] = {}
    too_early: list[Partition] = []
    for partition in _all(years):
        if partition.year > ended.year:
            note = f"no session of {partition.year} has ended yet"
        elif earliest is not None and (partition.year < earliest.year or earliest > ended):
            note = f"{provider.name} has nothing before {earliest}"
            too_early.append(partition)
        elif _is_fetched(known.get(partition), fresh_since):
            note = "fetched already"
        else:
            wanted.setdefault(partition.symbol, []).append(partition.year)
            continue
        facts = ledger_facts(ledger.get(partition)) | {"source": provider.name, "note": note}
        progress.settle([Outcome(partition, Status.UNCHANGED, facts)])
    if earliest is not None:
        store_nothing_to_have(
            engine, provider.name, timeframe, too_early, earliest, f"{provider.name} has nothing before {earliest}"
        )

    def requests() -> Iterator[Request]:
        for symbol, found in wanted.items():
            facts = OwedFacts(frozenset(KINDS) - fresh[symbol])
            for span in _spans(timeframe, found):
                first = date(span[0], 1, 1)
                yield Request(
                    symbol,
                    span,
                    first if earliest is None else max(first, earliest),
                    min(date(span[-1], 12, 31), ended),
                    facts,
                )

    history = PlanHistory(provider, timeframe, ended)
    for arrivals in fetch_in_batches(provider, history, requests(), should_stop or (lambda: False)):
        refusals = [item for item in arrivals if isinstance(item, Refusal)]
        answers = [item for item in arrivals if not isinstance(item, Refusal)]
        outcomes = store_answers(
            engine, provider.name, timeframe, answers, lambda symbol: through.get(symbol, ended), earliest, today
        )
        outcomes += _before_the_plan(engine, provider.name, timeframe, answers)
        outcomes += [
            Outcome(Partition(item.request.symbol, year), Status.FAILED, error=item.fetched.reason)
            for item in answers
            for year in item.request.years
            if item.fetched.begins is not None
            and max(item.begins or date.min, date(year, 1, 1)) <= date(year, 12, 31) < item.fetched.begins
        ]
        outcomes += [
            Outcome(
                Partition(item.request.symbol, year),
                Status.UNCHANGED,
                {"source": provider.name, "bars": 0, "note": item.fetched.reason},
            )
            for item in answers
            for year in item.request.years
            if item.fetched.ends is not None and year > item.fetched.ends.year
        ]
        outcomes += [
            Outcome(Partition(item.request.symbol, year), Status.FAILED, error=item.reason)
            for item in refusals
            for year in item.request.years
        ]
        store_failures(
            engine,
            provider.name,
            timeframe,
            # nobody was asked for what was cancelled
            [one for one in outcomes if one.status is Status.FAILED and one.error != CANCELLED],
        )
        progress.settle(outcomes)
    return in_order_of(partitions, (outcome for found in progress.done.values() for outcome in found))


def _before_the_plan(engine: sa.Engine, asked: str, timeframe: Timeframe, answers: Sequence[Answer]) -> list[Outcome]:
    """The years of requests that end before the account's plan begins: it is noted why there is nothing to have."""
    too_early = {
        Partition(answer.request.symbol, year): answer.begins
        for answer in answers
        for year in answer.request.years
        if answer.begins is not None and year < answer.begins.year
    }
    for begins in set(too_early.values()):
        partitions = [partition for partition, found in too_early.items() if found == begins]
        store_nothing_to_have(engine, asked, timeframe, partitions, begins, plan_begins(asked, begins))
    return [
        Outcome(partition, Status.UNCHANGED, {"source": asked, "bars": 0, "note": plan_begins(asked, begins)})
        for partition, begins in too_early.items()
    ]


def last_settled(calendar: TradingCalendar, now: datetime) -> date:
    """The newest session whose bars a provider can be asked for at ``now``.

    Raises
    ------
    ValueError
        If no session of the calendar has ended by then.
    """
    moment = plain(now)
    return date.fromisoformat(str(calendar.last_closed(moment - SETTLED_AFTER)))


def _all(years: Mapping[str, Sequence[int]]) -> Iterator[Partition]:
    return (Partition(symbol, year) for symbol, found in years.items() for year in found)


def _spans(timeframe: Timeframe, years: Sequence[int]) -> list[tuple[int, ...]]:
    """The years of each request: runs of consecutive ones, of minutes single ones."""
    spans: list[list[int]] = []
    for year in years:
        if spans and spans[-1][-1] == year - 1 and timeframe is not Timeframe.MINUTE:
            spans[-1].append(year)
        else:
            spans.append([year])
    return [tuple(span) for span in spans]


def _is_fetched(known: Provenance | None, fresh_since: datetime | None) -> bool:
    return (
        known is not None
        and fresh_since is not None
        and not known.is_derived
        and known.outcome in ("complete", "empty")
        and known.updated_at is not None
        and known.updated_at >= fresh_since
    )
