"""What became of each partition of a chunk: the words in which the batch layer reports to whoever called it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.storage.ledger import LedgerRow


class Status(StrEnum):
    """The end of one partition's work."""

    WRITTEN = "written"
    UNCHANGED = "unchanged"
    """Everything was there already; nothing was written."""
    FAILED = "failed"


@dataclass(frozen=True)
class Outcome:
    """What became of one partition.

    Attributes
    ----------
    facts : counts, dates and words to show a person, by name
    error : why it failed; empty unless ``status`` is FAILED
    revision : of the ledger, as the write of these bars left it; None where no bars were written
    """

    partition: Partition
    status: Status
    facts: Mapping[str, int | float | str] = field(default_factory=dict)
    error: str = ""
    revision: int | None = None


def failures(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """The outcomes that are failures."""
    return [outcome for outcome in outcomes if outcome.status is Status.FAILED]


def in_order_of(partitions: Sequence[Partition], outcomes: Iterable[Outcome]) -> list[Outcome]:
    """One outcome for each partition, in the partitions' order."""
    by_partition = {outcome.partition: outcome for outcome in outcomes}
    return [by_partition[partition] for partition in partitions]


def judge(partition: Partition, before: LedgerRow | None, after: LedgerRow | None, **facts: int | str) -> Outcome:
    """The outcome of a write, by what the ledger said before and after it in the same transaction."""
    is_same = (before.revision if before else None) == (after.revision if after else None)
    if is_same or after is None:
        return Outcome(partition, Status.UNCHANGED, {**ledger_facts(after), **facts})
    return Outcome(partition, Status.WRITTEN, {**ledger_facts(after), **facts}, revision=after.revision)


def ledger_facts(row: LedgerRow | None) -> dict[str, int | float | str]:
    """What is stored of a partition, in words and numbers for a person."""
    if row is None or row.first_time is None or row.last_time is None:
        return {"bars": 0}
    unit = "minutes" if row.timeframe.is_intraday else None
    first, last = (
        (time.isoformat(timespec=unit) if unit else time.date().isoformat()) for time in (row.first_time, row.last_time)
    )
    return {"bars": row.n_bars, "first_bar": first, "last_bar": last}


def ledger_by_partition(rows: Iterable[LedgerRow]) -> dict[Partition, LedgerRow]:
    """Ledger rows by what they are about."""
    return {Partition(row.symbol, row.year): row for row in rows}
