"""Answers of a provider into the tables: bars, refused bars, facts, and how each partition came to be."""

import logging
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from functools import partial
from itertools import groupby

import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.batch.commit import commit_together
from tickstock_pipeline.batch.fetching import Answer, of_dates
from tickstock_pipeline.batch.outcome import Outcome, judge, ledger_by_partition
from tickstock_pipeline.market.bar import Bars, RefusedBar, TimeArray, joined
from tickstock_pipeline.market.calendar import exchange_date
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.bars import write_bars
from tickstock_pipeline.storage.corporate_actions import record_action_fetches
from tickstock_pipeline.storage.dividends import write_dividends
from tickstock_pipeline.storage.ledger import read_ledger
from tickstock_pipeline.storage.provenance import (
    Provenance,
    read_provenance,
    record_failures,
    record_provenance,
)
from tickstock_pipeline.storage.quarantine import record_refused
from tickstock_pipeline.storage.splits import withdraw_splits, write_splits
from tickstock_pipeline.storage.symbols import add_symbols, read_symbols

_DAYS_OF_A_YEAR = 366

_logger = logging.getLogger(__name__)


def store_answers(
    engine: sa.Engine,
    asked: str,
    timeframe: Timeframe,
    answers: Sequence[Answer],
    through: Callable[[str], date],
    earliest: date | None,
    today: date,
) -> list[Outcome]:
    """Write answers, those of one source in one transaction.

    Bars of a provider that was fallen back to do not replace bars of the one asked: it may be wrong by a cent for
    years, and the one asked will answer again tomorrow.

    Parameters
    ----------
    asked : the provider's name; a source of ``FetchedBars`` names another that gave the bars instead
    through : symbol -> the last date that the provider can have
    earliest : the first date that the provider has, if it says
    today : on the exchange; splits and dividends of later dates are only announced, and are left out

    Returns
    -------
    One outcome for each year of each request, but for those that end before the account's plan, or the history of
    whoever answered, begins.
    """
    if not answers:
        return []
    # Of its own transaction: registering takes a lock that another import must not wait for while bars are written.
    with engine.begin() as connection:
        known = set(read_symbols(connection, active=None))
        new = dict.fromkeys(item.request.symbol for item in answers if item.request.symbol not in known)
        if new:
            add_symbols(connection, list(new))
    ordered = sorted(answers, key=lambda item: (item.fetched.source, item.request.symbol, item.request.years))
    outcomes: list[Outcome] = []
    for source, group in groupby(ordered, key=lambda item: item.fetched.source):
        outcomes += commit_together(
            engine,
            list(group),
            partial(
                _write,
                asked=asked,
                source=source or asked,
                timeframe=timeframe,
                through=through,
                earliest=earliest,
                today=today,
            ),
            lambda item: [Partition(item.request.symbol, year) for year in _had_years(item)],
            f"storing the {timeframe} bars of",
        )
    return outcomes


def store_failures(engine: sa.Engine, asked: str, timeframe: Timeframe, failed: Sequence[Outcome]) -> None:
    """Record why partitions could not be had."""
    if not failed:
        return
    with engine.begin() as connection:
        record_failures(
            connection,
            [
                Provenance(one.partition.symbol, timeframe, one.partition.year, asked, "failed", 0, error=one.error)
                for one in failed
            ],
        )


def store_nothing_to_have(
    engine: sa.Engine, asked: str, timeframe: Timeframe, partitions: Sequence[Partition], earliest: date, reason: str
) -> None:
    """Record that what can be had begins after these partitions; what is known of one already stays."""
    if not partitions:
        return
    with engine.begin() as connection:
        known = read_provenance(connection, timeframe, {partition.symbol for partition in partitions})
        record_provenance(
            connection,
            [
                Provenance(
                    partition.symbol,
                    timeframe,
                    partition.year,
                    asked,
                    "empty",
                    n_bars=0,
                    requested_from=date(partition.year, 1, 1),
                    requested_through=min(date(partition.year, 12, 31), earliest - timedelta(days=1)),
                    reason=reason,
                )
                for partition in partitions
                if partition not in known or known[partition].outcome == "failed"
            ],
        )


def plan_begins(asked: str, begins: date) -> str:
    """Why there is nothing before a date, where the provider has refused it."""
    return f"the account's plan at {asked} has nothing before {begins}"


def _cut(asked: str, year: int, earliest: date | None, begins: date | None) -> str:
    """Why a year does not begin with its first day."""
    if begins is not None and begins > date(year, 1, 1):
        return plan_begins(asked, begins)
    return f"{asked} has nothing before {earliest}" if earliest is not None and earliest > date(year, 1, 1) else ""


def _write(
    connection: sa.Connection,
    items: Sequence[Answer],
    *,
    asked: str,
    source: str,
    timeframe: Timeframe,
    through: Callable[[str], date],
    earliest: date | None,
    today: date,
) -> list[Outcome]:
    symbols = list(dict.fromkeys(item.request.symbol for item in items))
    bars = [of_dates(item.fetched.bars, item.request.first, item.request.last) for item in items]
    before = ledger_by_partition(read_ledger(connection, timeframe, symbols))
    # bars first, as every other writer takes their locks
    write_bars(connection, _by_symbol(bars), source, yields_to=None if source == asked else asked)
    gone = withdraw_splits(
        connection, {item.request.symbol: item.splits for item in items if item.has_all_splits}, asked
    )
    for split in gone:
        _logger.warning("%s no longer lists the split of %s on %s", asked, split.symbol, split.ex_date)
    write_splits(connection, [split for item in items for split in item.splits if split.ex_date <= today], asked)
    write_dividends(connection, [paid for item in items for paid in item.dividends if paid.ex_date <= today], asked)
    record_action_fetches(connection, [fetch for item in items for fetch in item.answered])
    record_refused(connection, [bar for item in items for bar in item.fetched.refused], source)
    after = ledger_by_partition(read_ledger(connection, timeframe, symbols))
    parts = [item.request.symbol for item in items if item.fetched.begins is not None]
    known = read_provenance(connection, timeframe, parts) if parts else {}
    outcomes, provenance = [], []
    for item, of_item in zip(items, bars, strict=True):
        request = item.request
        refused = _refused_by_year(item.fetched.refused, request.years)
        years_of_bars = _dates(of_item).astype("datetime64[Y]").astype(np.int64) + 1970
        for year in _had_years(item):
            partition = Partition(request.symbol, year)
            of_year = of_item[years_of_bars == year]
            cut = _cut(asked, year, earliest, item.begins)
            reason = "; ".join(part for part in (item.fetched.reason, cut) if part)
            notes = "; ".join(item.notes)
            outcomes.append(
                judge(
                    partition,
                    before.get(partition),
                    after.get(partition),
                    source=source,
                    bars_fetched=len(of_year),
                    bars_refused=refused[year],
                    requests=item.n_requests,
                    **({"outside_session": item.fetched.outside_session} if item.fetched.outside_session else {}),
                    **({"reason": reason} if reason else {}),
                    **({"note": notes} if notes else {}),
                )
            )
            # dates that nobody gives now may have been had before
            is_part = item.fetched.begins is not None and item.fetched.begins > date(year, 1, 1)
            if is_part and partition in known and known[partition].outcome == "complete":
                continue
            provenance.append(
                Provenance(
                    request.symbol,
                    timeframe,
                    year,
                    source=source,
                    outcome="partial" if is_part else "complete" if len(of_year) else "empty",
                    n_bars=len(of_year),
                    n_refused=refused[year],
                    requested_from=max(date(year, 1, 1), item.fetched.begins or date.min),
                    requested_through=min(
                        date(year, 12, 31), request.last, through(request.symbol), item.fetched.ends or date.max
                    ),
                    reason=reason or None,
                    session_bars=_session_bars(of_year) if timeframe is Timeframe.MINUTE else None,
                )
            )
    record_provenance(connection, provenance)
    return outcomes


def _had_years(answer: Answer) -> list[int]:
    """The years of a request of which whoever answered has anything."""
    begins = [day for day in (answer.begins, answer.fetched.begins) if day is not None]
    ends = answer.fetched.ends or date.max
    return [year for year in answer.request.years if all(year >= day.year for day in begins) and year <= ends.year]


def _by_symbol(bars: Sequence[Bars]) -> list[Bars]:
    """One series a symbol, of pieces that are in order of symbol and time."""
    return [joined(list(pieces)) for _, pieces in groupby(bars, key=lambda piece: piece.symbol)]


def _dates(bars: Bars) -> TimeArray:
    return exchange_date(bars.time) if bars.timeframe.is_intraday else bars.time.astype("datetime64[D]")


def _session_bars(bars: Bars) -> tuple[int, ...]:
    days = _dates(bars)
    of_year = (days - days.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.int64)
    return tuple(np.bincount(of_year, minlength=_DAYS_OF_A_YEAR).tolist())


def _refused_by_year(refused: Sequence[RefusedBar], years: Sequence[int]) -> dict[int, int]:
    """How many refused bars count for each year of a request; one whose time is no date counts for the last."""
    counts = dict.fromkeys(years, 0)
    for bar in refused:
        year = int(bar.time[:4]) if bar.time[:4].isascii() and bar.time[:4].isdigit() else years[-1]
        counts[min(max(year, years[0]), years[-1])] += 1
    return counts
