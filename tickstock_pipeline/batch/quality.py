"""Are the stored bars sane? The answer for the asset checks and for people."""

from dataclasses import dataclass

import sqlalchemy as sa

from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.quality import constraints_not_in_force, count_insane_bars, count_refused_bars


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


def sanity(connection: sa.Connection, timeframe: Timeframe) -> Sanity:
    """Judge one table. PostgreSQL enforces the rules, so its rows are read only if it does not."""
    unenforced = constraints_not_in_force(connection, timeframe)
    return Sanity(
        tuple(unenforced),
        count_insane_bars(connection, timeframe) if unenforced else 0,
        count_refused_bars(connection, timeframe),
    )
