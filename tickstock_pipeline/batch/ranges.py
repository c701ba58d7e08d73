"""Partitions as the ranges that one run can cover: neighbours on the grid with the same consecutive years."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product

from tickstock_pipeline.market.partition import Partition, years_by_symbol

MOST_SYMBOLS = 50


@dataclass(frozen=True, slots=True)
class PartitionRange:
    """All years of ``years`` of all ``symbols``, which are neighbours on the grid."""

    symbols: tuple[str, ...]
    years: tuple[int, ...]

    @property
    def first(self) -> Partition:
        """Where it begins."""
        return Partition(self.symbols[0], self.years[0])

    @property
    def last(self) -> Partition:
        """Where it ends, included."""
        return Partition(self.symbols[-1], self.years[-1])

    def partitions(self) -> list[Partition]:
        """Everything in it."""
        return [Partition(symbol, year) for symbol, year in product(self.symbols, self.years)]


def ranges_of(partitions: Iterable[Partition], order: Mapping[str, int]) -> list[PartitionRange]:
    """Ranges that together are exactly ``partitions``, of fifty symbols at most, in the order of the grid.

    Parameters
    ----------
    order : each symbol's place on the grid
    """
    by_years: dict[tuple[int, ...], list[str]] = {}
    for symbol, years in years_by_symbol(
        sorted(set(partitions), key=lambda one: (order[one.symbol], one.year))
    ).items():
        for span in _consecutive(years):
            by_years.setdefault(span, []).append(symbol)
    ranges = [
        PartitionRange(tuple(found), years)
        for years, symbols in by_years.items()
        for found in _neighbours(symbols, order)
    ]
    return sorted(ranges, key=lambda one: (order[one.symbols[0]], one.years))


def _consecutive(years: list[int]) -> list[tuple[int, ...]]:
    spans: list[list[int]] = []
    for year in years:
        if spans and spans[-1][-1] == year - 1:
            spans[-1].append(year)
        else:
            spans.append([year])
    return [tuple(span) for span in spans]


def _neighbours(symbols: list[str], order: Mapping[str, int]) -> list[list[str]]:
    groups: list[list[str]] = []
    for symbol in symbols:
        if groups and order[symbol] == order[groups[-1][-1]] + 1 and len(groups[-1]) < MOST_SYMBOLS:
            groups[-1].append(symbol)
        else:
            groups.append([symbol])
    return groups
