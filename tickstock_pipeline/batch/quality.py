"""Are the stored bars sane? The answer for the asset checks and for people, and the gate that a wrong bar stops at.

PostgreSQL enforces the rules of ``market.bar``, and a provider's bar that breaks one is quarantined before that. What
is left are bars that somebody wrote while a constraint was not in force.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.batch.outcome import Outcome, Status
from tickstock_pipeline.market.bar import Bars, first_refused
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.quality import constraints_not_in_force, insane_bars
from tickstock_pipeline.storage.quarantine import count_refused_bars


@dataclass(frozen=True)
class Sanity:
    """Do all bars of a table obey the rules of ``market.bar``?

    Attributes
    ----------
    unenforced : names of the table's constraints that are not in force; none, if nobody tampered with it
    insane : bars in the table that break a rule, by partition; only where a constraint is not in force
    refused : bars that broke a rule and were quarantined instead, by symbol
    """

    unenforced: tuple[str, ...]
    insane: dict[Partition, int]
    refused: dict[str, int]


def sanity(connection: sa.Connection, timeframe: Timeframe) -> Sanity:
    """Judge one table. PostgreSQL enforces the rules, so its rows are read only if it does not."""
    unenforced = constraints_not_in_force(connection, timeframe)
    return Sanity(
        tuple(unenforced),
        insane_bars(connection, timeframe) if unenforced else {},
        count_refused_bars(connection, timeframe),
    )


def held_back(connection: sa.Connection, timeframe: Timeframe, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The outcomes, FAILED where a stored bar of the partition breaks a rule: nothing may be computed from it."""
    if not outcomes or not constraints_not_in_force(connection, timeframe):
        return list(outcomes)
    insane = insane_bars(connection, timeframe, sorted({outcome.partition.symbol for outcome in outcomes}))
    return [
        replace(
            outcome,
            status=Status.FAILED,
            error=f"{insane[outcome.partition]} stored bars break a rule; correct or delete them",
        )
        if outcome.partition in insane and outcome.status is not Status.FAILED
        else outcome
        for outcome in outcomes
    ]


def refusal(bars: Bars) -> str | None:
    """Why nothing may be computed from these stored bars; None if all of them obey the rules."""
    found = first_refused(bars)
    if found is None:
        return None
    at, reason = found
    time = np.datetime_as_string(bars.time[at], unit="m" if bars.timeframe.is_intraday else "D")
    return f"the stored {bars.timeframe} bar of {time} breaks a rule: {reason}; correct or delete it"
