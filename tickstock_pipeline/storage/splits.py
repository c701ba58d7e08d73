"""Stock splits. A trigger makes all of a symbol's analysis stale when one of them changes."""

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from tickstock_pipeline.market.adjustment import Split
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
    if not splits:
        return 0
    statement = insert(SPLITS)
    statement = statement.on_conflict_do_update(
        index_elements=["symbol", "ex_date"],
        set_={"ratio": statement.excluded.ratio, "source": statement.excluded.source},
        where=SPLITS.c.ratio.is_distinct_from(statement.excluded.ratio),
    )
    stored = read_splits(connection, [split.symbol for split in splits])
    new = [split for split in splits if not any(_is_same(split, known) for known in stored[split.symbol])]
    if not new:
        return 0
    ordered = sorted(new, key=lambda split: (split.symbol, split.ex_date))
    written = connection.execute(
        statement.returning(SPLITS.c.symbol),
        [
            {"symbol": split.symbol, "ex_date": split.ex_date, "ratio": split.ratio, "source": source}
            for split in ordered
        ],
    )
    return len(written.all())


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
    wanted = sorted(set(symbols))
    found: dict[str, list[Split]] = {symbol: [] for symbol in wanted}
    query = (
        sa.select(SPLITS.c.symbol, SPLITS.c.ex_date, SPLITS.c.ratio)
        .where(SPLITS.c.symbol == sa.any_(sa.literal(wanted, sa.ARRAY(sa.Text))))
        .order_by(SPLITS.c.symbol, SPLITS.c.ex_date)
    )
    for symbol, ex_date, ratio in connection.execute(query):
        found[symbol].append(Split(symbol, ex_date, ratio))
    return {symbol: tuple(splits) for symbol, splits in found.items()}
