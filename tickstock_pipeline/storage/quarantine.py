"""Bars that were refused: put into quarantine once, and counted until a good bar has their key."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import date, datetime
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from tickstock_pipeline.market.bar import RefusedBar
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.tables import BARS, QUARANTINED_BARS, key_column
from tickstock_pipeline.storage.texts import storable_text

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_INSTANT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")
_BEGINS_WITH_A_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T|$)")


def record_refused(connection: sa.Connection, refused: Sequence[RefusedBar], source: str) -> int:
    """Quarantine bars that broke a rule.

    Returns
    -------
    How many of them were not in quarantine already.
    """
    if not refused:
        return 0
    rows = [
        {
            "source": source,
            "symbol": _storable(bar.symbol),
            "timeframe": str(bar.timeframe),
            "bar_time": _storable(bar.time),
            "reason": _storable(bar.reason),
            "raw": {_storable(name): _storable(value) for name, value in bar.raw.items()},
        }
        for bar in refused
    ]
    new = connection.execute(
        insert(QUARANTINED_BARS).on_conflict_do_nothing(index_elements=["digest"]).returning(QUARANTINED_BARS.c.id),
        rows,
    )
    return len(new.all())


def count_refused_bars(connection: sa.Connection, timeframe: Timeframe) -> dict[str, int]:
    """Quarantined bars by symbol, without those whose key has a good bar by now."""
    counts = Counter(refused.symbol for refused in _still_refused(connection, timeframe))
    return dict(sorted(counts.items()))


def quarantined_dates(
    connection: sa.Connection, timeframe: Timeframe, symbols: Sequence[str]
) -> dict[str, dict[date, str]]:
    """Symbol -> the date of each quarantined bar whose key has no good bar by now, and why it was refused."""
    found: dict[str, dict[date, str]] = {symbol: {} for symbol in symbols}
    for refused in _still_refused(connection, timeframe, symbols):
        # a time that is not one cannot be assigned to a session
        if _BEGINS_WITH_A_DATE.match(refused.bar_time):
            # regular hours of the exchange are on the same date in UTC
            with suppress(ValueError):
                found[refused.symbol][date.fromisoformat(refused.bar_time[:10])] = refused.reason
    return found


class _Refused(NamedTuple):
    symbol: str
    bar_time: str
    reason: str


def _still_refused(
    connection: sa.Connection, timeframe: Timeframe, symbols: Sequence[str] | None = None
) -> list[_Refused]:
    """Quarantined bars whose key has no good bar, in the order in which they came; None: those of all symbols."""
    table = QUARANTINED_BARS.c
    query = sa.select(table.symbol, table.bar_time, table.reason).where(table.timeframe == timeframe.value)
    if symbols is not None:
        query = query.where(table.symbol == sa.any_(sa.literal(list(symbols), sa.ARRAY(sa.Text))))
    refused = [_Refused(*row) for row in connection.execute(query.order_by(table.id))]
    # the key as a provider gave it may be anything, and a cast of what is none would end the query
    keys = {(one.symbol, one.bar_time) for one in refused if _is_key(timeframe, one.bar_time)}
    mended = _stored_keys(connection, timeframe, sorted(keys))
    return [one for one in refused if (one.symbol, one.bar_time) not in mended]


def _stored_keys(
    connection: sa.Connection, timeframe: Timeframe, keys: Sequence[tuple[str, str]]
) -> set[tuple[str, str]]:
    """Those of ``keys``, symbol and time as text, that have a bar."""
    if not keys:
        return set()
    key_type = "timestamptz" if timeframe.is_intraday else "date"
    # a subquery with a limit is looked up in the index key by key, whatever the statistics say
    query = sa.text(f"""
        SELECT symbol, key FROM unnest(cast(:symbols AS text[]), cast(:keys AS text[])) wanted (symbol, key)
        WHERE (
            SELECT true FROM {BARS[timeframe].name} bar
            WHERE bar.symbol = wanted.symbol AND bar."{key_column(timeframe).name}" = wanted.key::{key_type} LIMIT 1
        )
    """)
    symbols, texts = zip(*keys, strict=True)
    return {tuple(row) for row in connection.execute(query, {"symbols": list(symbols), "keys": list(texts)})}


def _is_key(timeframe: Timeframe, text: str) -> bool:
    """Whether the time of a quarantined bar is written as keys of the timeframe are, and is one."""
    if not (_INSTANT if timeframe.is_intraday else _DATE).fullmatch(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _storable(value: Any) -> Any:
    """A value as JSONB and TEXT can hold it: JSON has neither NaN nor infinity."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return storable_text(str(value))
