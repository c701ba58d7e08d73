"""When a provider was last asked for a symbol's splits and dividends.

The facts themselves are in ``splits`` and ``dividends``; a symbol without any has no row there, so they cannot tell.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from tickstock_pipeline.storage.tables import CORPORATE_ACTION_FETCHES

ActionKind = Literal["splits", "dividends"]
KINDS: tuple[ActionKind, ...] = ("splits", "dividends")


class ActionFetch(NamedTuple):
    """A provider has answered for one kind of fact of a symbol."""

    symbol: str
    kind: ActionKind
    source: str


def record_action_fetches(connection: sa.Connection, fetches: Sequence[ActionFetch]) -> None:
    """State that these have just been asked and answered."""
    if not fetches:
        return
    statement = insert(CORPORATE_ACTION_FETCHES)
    statement = statement.on_conflict_do_update(
        index_elements=["symbol", "kind"],
        set_={"source": statement.excluded.source, "fetched_at": sa.func.clock_timestamp()},
    )
    connection.execute(statement, [fetch._asdict() for fetch in sorted(set(fetches))])


def actions_fetched_since(
    connection: sa.Connection, symbols: Iterable[str], since: datetime
) -> dict[str, set[ActionKind]]:
    """What need not be asked again: symbol -> the kinds that were answered at or after ``since``."""
    wanted = sorted(set(symbols))
    table = CORPORATE_ACTION_FETCHES.c
    rows = connection.execute(
        sa.select(table.symbol, table.kind).where(
            table.symbol == sa.any_(sa.literal(wanted, sa.ARRAY(sa.Text))), table.fetched_at >= since
        )
    )
    found: dict[str, set[ActionKind]] = {symbol: set() for symbol in wanted}
    for symbol, kind in rows:
        found[symbol].add(kind)
    return found
