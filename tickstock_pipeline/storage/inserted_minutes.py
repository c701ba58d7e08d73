"""Minutes that another program has stored and that nobody has analysed yet."""

from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa


class InsertedMinute(NamedTuple):
    """One bar as stored; ``time`` in microseconds since 1970, prices and volume as traded."""

    symbol: str
    time: int
    open: float
    high: float
    low: float
    close: float
    volume: int
    source: str


def unanalysed_minutes(connection: sa.Connection, since: datetime, at_most: int) -> list[InsertedMinute]:
    """Stored minutes without analysis, of sessions that no import has asked a provider for; each symbol's in order.

    Parameters
    ----------
    since : with a timezone; older minutes are left out
    at_most : of more, the newest
    """
    rows = connection.execute(
        sa.text("""
            SELECT found.symbol, (extract(epoch FROM found."timestamp") * 1000000)::bigint, found.open, found.high,
                found.low, found.close, found.volume, left(found.source, 20)
            FROM bar_ledger known
            LEFT JOIN bar_provenance made USING (symbol, timeframe, year)
            CROSS JOIN LATERAL (
                SELECT bar.* FROM ohlcv_1min bar
                WHERE bar.symbol = known.symbol AND bar."timestamp" >= :since AND isfinite(bar."timestamp")
                    AND (bar."timestamp" AT TIME ZONE 'America/New_York')::date
                        > coalesce(made.requested_through, '-infinity')
                    AND extract(year FROM bar."timestamp" AT TIME ZONE 'America/New_York') = known.year
                    AND NOT EXISTS (
                        SELECT FROM bar_indicators held
                        WHERE held.symbol = bar.symbol AND held.timeframe = '1min' AND held.time = bar."timestamp"
                    )
                ORDER BY bar."timestamp" DESC LIMIT :at_most
            ) found
            WHERE known.timeframe = '1min' AND known.n_bars > 0
                AND known.year >= extract(year FROM cast(:since AS timestamptz) AT TIME ZONE 'America/New_York')
            ORDER BY found."timestamp" DESC, found.symbol LIMIT :at_most
        """),
        {"since": since, "at_most": at_most},
    )
    return [InsertedMinute(*row) for row in rows][::-1]
