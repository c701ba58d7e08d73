"""Daily bars: the provider's own, and where it gave none, those that minutes add up to."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Unpack

import sqlalchemy as sa

from tickstock_pipeline.batch.imports import Following, import_bars
from tickstock_pipeline.batch.outcome import Outcome, Status
from tickstock_pipeline.batch.roll_ups import roll_up_bars
from tickstock_pipeline.market.calendar import TradingCalendar
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.base import HistoricalProvider

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

    The parameters are those of :func:`tickstock_pipeline.batch.imports.import_bars`.

    Returns
    -------
    One outcome a partition, in the order given. One whose import failed is filled all the same, and has failed.
    """
    imported = import_bars(engine, provider, calendar, Timeframe.DAILY, partitions, now=now, **following)
    filled = roll_up_bars(engine, calendar, Timeframe.DAILY, partitions, now=now)
    return [_both(of_import, of_fill) for of_import, of_fill in zip(imported, filled, strict=True)]


def _both(imported: Outcome, filled: Outcome) -> Outcome:
    if Status.FAILED in (imported.status, filled.status):
        return imported if imported.status is Status.FAILED else filled
    facts = {name: filled.facts[name] for name in _OF_THE_TABLE if name in filled.facts}
    status = Status.WRITTEN if Status.WRITTEN in (imported.status, filled.status) else Status.UNCHANGED
    revision = filled.revision or imported.revision
    return replace(imported, status=status, facts={**imported.facts, **facts}, revision=revision)
