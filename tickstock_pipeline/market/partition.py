"""The grid that everything is planned, run and recorded in: one partition is one symbol's year."""

from collections.abc import Iterable
from typing import NamedTuple, Self


class Partition(NamedTuple):
    """One symbol's year. Sorts by symbol, then year, as its key does."""

    symbol: str
    year: int

    @property
    def key(self) -> str:
        """``SYMBOL|YEAR``, the partition key that the UI shows."""
        return f"{self.symbol}|{self.year}"

    @classmethod
    def parse(cls, key: str) -> Self:
        """The partition of a key.

        Raises
        ------
        ValueError
            If the text is not ``SYMBOL|YEAR``.
        """
        symbol, separator, year = key.rpartition("|")
        if not (separator and symbol and len(year) == 4 and year.isascii() and year.isdigit()):
            raise ValueError(f"not a partition key of the form SYMBOL|YEAR: {key!r}")
        return cls(symbol, int(year))


def years_by_symbol(partitions: Iterable[Partition]) -> dict[str, list[int]]:
    """Each symbol's years in ascending order; symbols in the order in which they first appear."""
    years: dict[str, list[int]] = {}
    for symbol, year in partitions:
        years.setdefault(symbol, []).append(year)
    return {symbol: sorted(set(found)) for symbol, found in years.items()}
