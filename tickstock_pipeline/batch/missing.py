"""Bars without analysis: how many there are, and which partitions to analyse first when not all can be.

Asked of the coverage ledger, so the counts are exact and cost milliseconds whatever is stored.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from tickstock_pipeline.analysis import definition_set
from tickstock_pipeline.batch.analysis import stale_partitions
from tickstock_pipeline.errors import DefinitionError
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.coverage import MissingAnalysis, StalePartition, missing_analysis
from tickstock_pipeline.storage.definitions import read_definitions
from tickstock_pipeline.storage.symbols import read_symbols


@dataclass(frozen=True, slots=True)
class Selection:
    """Partitions to analyse, in the order in which they are wanted.

    Attributes
    ----------
    left_out : bars of those that did not fit
    """

    partitions: tuple[StalePartition, ...]
    left_out: int = 0

    @property
    def bars(self) -> int:
        """Bars without analysis in the partitions chosen."""
        return sum(one.bars for one in self.partitions)


def missing_by_timeframe(connection: sa.Connection) -> dict[Timeframe, MissingAnalysis | DefinitionError]:
    """What has no analysis, of each timeframe; an error where the enabled definitions cannot run together."""
    stored = read_definitions(connection)
    found: dict[Timeframe, MissingAnalysis | DefinitionError] = {}
    for timeframe in Timeframe:
        try:
            digest = definition_set(timeframe, stored.indicators, stored.patterns).digest
        except DefinitionError as error:
            found[timeframe] = error
        else:
            found[timeframe] = missing_analysis(connection, timeframe, digest)
    return found


def by_symbol(stale: Iterable[StalePartition]) -> dict[str, dict[str, int]]:
    """Symbol → year → bars without analysis, as JSON has it."""
    found: dict[str, dict[str, int]] = {}
    for one in stale:
        found.setdefault(one.symbol, {})[str(one.year)] = one.bars
    return found


def by_year(stale: Iterable[StalePartition]) -> dict[str, int]:
    """Year → bars without analysis, the oldest first."""
    found: dict[str, int] = {}
    for one in stale:
        found[str(one.year)] = found.get(str(one.year), 0) + one.bars
    return dict(sorted(found.items()))


def select_missing(
    connection: sa.Connection,
    timeframe: Timeframe,
    *,
    first_year: int,
    symbols: Sequence[str] | None = None,
    most_bars: int | None = None,
) -> Selection:
    """The stale partitions of the grid, symbol by symbol as they were registered, the oldest year first.

    Parameters
    ----------
    first_year : of the grid
    symbols : None is all
    most_bars : no partition is added that would exceed it, except for the first one; None is no limit
    """
    order = {symbol: place for place, symbol in enumerate(read_symbols(connection, active=None))}
    stale = [one for one in stale_partitions(connection, timeframe, symbols) if one.year >= first_year]
    stale.sort(key=lambda one: (order.get(one.symbol, len(order)), one.symbol, one.year))
    return bounded(stale, most_bars)


def bounded(stale: Sequence[StalePartition], most_bars: int | None) -> Selection:
    """As many of ``stale``, from the first one on, as have ``most_bars`` bars together; one at least."""
    count = total = 0
    for one in stale:
        if most_bars is not None and count and total + one.bars > most_bars:
            break
        count, total = count + 1, total + one.bars
    return Selection(tuple(stale[:count]), sum(one.bars for one in stale[count:]))


def bars_left(
    connection: sa.Connection, wanted: Mapping[Timeframe, Collection[Partition]]
) -> dict[tuple[Timeframe, Partition], int]:
    """The partitions of ``wanted`` that have no analysis that holds, with the number of their bars without one."""
    found = {}
    for timeframe, partitions in wanted.items():
        symbols = sorted({partition.symbol for partition in partitions})
        for one in stale_partitions(connection, timeframe, symbols):
            if (partition := Partition(one.symbol, one.year)) in partitions:
                found[timeframe, partition] = one.bars
    return found
