"""Daily bars: the provider's own, and where it gave none, those that minutes add up to."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Unpack

import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.batch.imports import Following, import_bars
from tickstock_pipeline.batch.outcome import Outcome, Status, in_order_of
from tickstock_pipeline.batch.roll_ups import roll_up_bars
from tickstock_pipeline.market.calendar import TradingCalendar
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.base import HistoricalProvider
from tickstock_pipeline.storage.instants import plain
from tickstock_pipeline.storage.quality import Span, count_bars_by_date, dates_given

_OF_THE_TABLE = ("bars", "first_bar", "last_bar", "bars_from_minutes")


def import_days(
    engine: sa.Engine,
    provider: HistoricalProvider,
    calendar: TradingCalendar,
    partitions: Sequence[Partition],
    *,
    now: datetime | None = None,
    **following: Unpack[Following],
) -> list[Outcome]:
    """Import the daily bars of ``partitions`` and fill what is missing from stored minutes.

    The parameters are those of :func:`tickstock_pipeline.batch.imports.import_bars`. A symbol is reported when it is
    filled as well: whoever is killed after that has nothing left to do for it.

    Returns
    -------
    One outcome a partition, in the order given. One whose import failed is filled all the same, and has failed.
    """
    on_symbol = following.get("on_symbol")
    done: dict[Partition, Outcome] = {}

    def fill(symbol: str, imported: list[Outcome]) -> None:
        wanted = [outcome.partition for outcome in imported]
        filled = roll_up_bars(engine, calendar, Timeframe.DAILY, wanted, now=now)
        both = [_both(of_import, of_fill) for of_import, of_fill in zip(imported, filled, strict=True)]
        done.update((outcome.partition, outcome) for outcome in both)
        if on_symbol is not None:
            on_symbol(symbol, both)

    following["on_symbol"] = fill
    import_bars(engine, provider, calendar, Timeframe.DAILY, partitions, now=now, **following)
    return in_order_of(partitions, done.values())


def _both(imported: Outcome, filled: Outcome) -> Outcome:
    if Status.FAILED in (imported.status, filled.status):
        return imported if imported.status is Status.FAILED else filled
    facts = {name: filled.facts[name] for name in _OF_THE_TABLE if name in filled.facts}
    status = Status.WRITTEN if Status.WRITTEN in (imported.status, filled.status) else Status.UNCHANGED
    revision = filled.revision or imported.revision
    return replace(imported, status=status, facts={**imported.facts, **facts}, revision=revision)


def lacking_days(
    connection: sa.Connection, calendar: TradingCalendar, partitions: Collection[Partition], now: datetime
) -> set[Partition]:
    """The partitions in which minutes are stored of a session that has ended and of which nobody gave a daily bar."""
    moment = plain(now)
    ended = date.fromisoformat(str(calendar.last_closed(moment)))
    symbols: dict[int, list[str]] = {}
    for symbol, year in sorted(partitions):
        symbols.setdefault(year, []).append(symbol)
    spans: list[Span] = []
    for year, of_year in symbols.items():
        first, last = date(year, 1, 1), min(date(year, 12, 31), ended)
        sessions = calendar.sessions(first, last)
        for symbol, given in dates_given(connection, of_year, first, last).items():
            lacking = np.flatnonzero(~np.isin(sessions, given))
            # sessions in a row are one range to look into, and the days between two of them are not looked at
            rows = np.split(sessions[lacking], np.flatnonzero(np.diff(lacking) > 1) + 1)
            spans += [Span(symbol, row[0].item(), row[-1].item()) for row in rows if len(row)]
    counts = count_bars_by_date(connection, Timeframe.MINUTE, spans)
    return {Partition(span.symbol, span.first.year) for span, (days, _) in zip(spans, counts, strict=True) if len(days)}
