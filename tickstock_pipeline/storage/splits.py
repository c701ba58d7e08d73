"""Stock splits. A trigger makes all of a symbol's analysis stale when one of them changes."""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

import sqlalchemy as sa

from tickstock_pipeline.market.adjustment import Split
from tickstock_pipeline.storage.dated_facts import read_facts, write_facts
from tickstock_pipeline.storage.tables import SPLITS, WITHDRAWN_SPLITS

# Providers date a split on the day before or after its first session at the new price, some over a weekend.
_SAME_WITHIN = timedelta(days=5)


def write_splits(connection: sa.Connection, splits: Sequence[Split], source: str) -> int:
    """Upsert splits.

    A split of the same ratio a few days from a stored one is that one, dated by another provider: stored beside it, it
    would divide the prices twice.

    Returns
    -------
    How many were new or had another ratio; the others are not written.
    """
    stored = read_splits(connection, [split.symbol for split in splits])
    new = {
        (split.symbol, split.ex_date): split.ratio
        for split in splits
        if not any(_is_same(split, known) for known in stored[split.symbol])
    }
    return write_facts(connection, SPLITS.c.ratio, new, source)


def withdraw_splits(connection: sa.Connection, listed: Mapping[str, Sequence[Split]], source: str) -> list[Split]:
    """Take back splits that the provider who gave them lists no longer; ``withdrawn_splits`` keeps what they were.

    Parameters
    ----------
    listed : all splits of each symbol that ``source`` knows now. A symbol for which it lists none at all is left as it
        is: so does a provider that has lost its data, and a history whose split is gone looks like a crash

    Returns
    -------
    What was taken back.
    """
    sure = {symbol: splits for symbol, splits in listed.items() if splits}
    if not sure:
        return []
    table = SPLITS.c
    rows = connection.execute(
        sa.select(table.symbol, table.ex_date, table.ratio).where(
            table.source == source, table.symbol == sa.any_(sa.literal(sorted(sure), sa.ARRAY(sa.Text)))
        )
    )
    gone = [
        known
        for known in (Split(*row) for row in rows)
        if not any(split.ex_date == known.ex_date or _is_same(split, known) for split in sure[known.symbol])
    ]
    if not gone:
        return []
    keys = [(split.symbol, split.ex_date) for split in sorted(gone, key=lambda split: (split.symbol, split.ex_date))]
    connection.execute(
        sa.delete(SPLITS).where(table.source == source, sa.tuple_(table.symbol, table.ex_date).in_(keys))
    )
    connection.execute(
        sa.insert(WITHDRAWN_SPLITS),
        [{"symbol": split.symbol, "ex_date": split.ex_date, "ratio": split.ratio, "source": source} for split in gone],
    )
    return gone


def _is_same(split: Split, known: Split) -> bool:
    return (
        split.ex_date != known.ex_date
        and abs(split.ex_date - known.ex_date) <= _SAME_WITHIN
        and math.isclose(split.ratio, known.ratio, rel_tol=1e-6)
    )


def read_splits(connection: sa.Connection, symbols: Iterable[str]) -> dict[str, tuple[Split, ...]]:
    """Each symbol's splits, oldest first; a symbol without one has an empty tuple."""
    return {
        symbol: tuple(Split(symbol, ex_date, ratio) for ex_date, ratio in facts)
        for symbol, facts in read_facts(connection, SPLITS.c.ratio, symbols).items()
    }
