"""The table ``ohlcv_1min`` as a live source: another program inserts bars, a trigger tells us of them.

The trigger (``0002_notify.sql``) passes over what our own connections write, which it knows by their application name,
and statements of very many rows, which are imports. Rows older than the last session are history, not live.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import psycopg2
import sqlalchemy as sa

from tickstock_pipeline.errors import ProviderUnavailableError, StorageError
from tickstock_pipeline.market.bar import RefusedBar
from tickstock_pipeline.market.calendar import TradingCalendar
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.messaging.bar_event import LiveBar
from tickstock_pipeline.messaging.bar_stream import VIA_DATABASE
from tickstock_pipeline.streaming.feed.source import Line, Reading

CHANNEL = "tickstock_inserted_bars"

_MINUTE_US = 60_000_000
_LOOK_S = 15.0


class InsertedRows:
    """See :class:`tickstock_pipeline.streaming.feed.source.LiveSource`.

    Parameters
    ----------
    engine : whose connection listens
    is_live : whether a bar that began at this instant (UTC) is news
    """

    name = "database"
    via: bytes | None = VIA_DATABASE

    def __init__(self, engine: sa.Engine, is_live: Callable[[np.datetime64], bool]) -> None:
        self._engine = engine
        self._is_live = is_live
        self._symbols: frozenset[str] = frozenset()

    async def listen(self, line: Line) -> None:
        """One connection."""
        try:
            connection = await asyncio.to_thread(self._listening)
        except StorageError as error:
            raise ProviderUnavailableError(error.message) from None
        readable = asyncio.Event()
        loop = asyncio.get_running_loop()
        driver: Any = connection.connection.dbapi_connection
        number = driver.fileno()
        loop.add_reader(number, readable.set)
        try:
            line.opened()
            while True:
                # a server that vanished shows only when it is asked
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_S):
                        await readable.wait()
                if not readable.is_set():
                    await asyncio.to_thread(connection.exec_driver_sql, "SELECT 1")
                readable.clear()
                driver.poll()
                told, driver.notifies[:] = list(driver.notifies), []
                for notice in told:
                    await line.heard(notice.payload)
        except (psycopg2.Error, StorageError, sa.exc.DBAPIError):
            raise ProviderUnavailableError("PostgreSQL does not answer") from None
        finally:
            loop.remove_reader(number)
            with contextlib.suppress(StorageError, sa.exc.DBAPIError):
                connection.invalidate()
                connection.close()

    def follow(self, symbols: Iterable[str]) -> None:
        """Take these symbols' bars; none: all."""
        self._symbols = frozenset(symbols)

    def due(self, now_ms: int) -> list[LiveBar]:
        """Nothing: bars come closed."""
        return []

    def read(self, payload: str, at: float) -> Reading:
        """The rows of a notice."""
        reading = Reading()
        try:
            rows = json.loads(payload)
            bars = [
                LiveBar(
                    *(str(symbol), Timeframe.MINUTE, int(time)),
                    *(float(open_), float(high), float(low), float(close), float(volume)),
                    source=str(source),
                )
                for symbol, time, open_, high, low, close, volume, source in rows
            ]
        except (ValueError, TypeError):
            refused = RefusedBar("", Timeframe.MINUTE, "", "the notice cannot be read", {"message": payload[:500]})
            reading.refused.append((self.name, refused))
            return reading
        reading.n_events = len(bars)
        for bar in bars:
            is_wanted = not self._symbols or bar.symbol in self._symbols
            if is_wanted and self._is_live(np.datetime64(bar.time, "us")):
                reading.newest_ms = max(reading.newest_ms, (bar.time + _MINUTE_US) // 1_000)
                reading.bars.append(bar)
        return reading

    def _listening(self) -> sa.Connection:
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        connection.exec_driver_sql(f"LISTEN {CHANNEL}")
        return connection


def since_last_session(calendar: TradingCalendar) -> Callable[[np.datetime64], bool]:
    """Whether a bar began in the session that runs, or in the last one that ended."""

    def is_live(start: np.datetime64) -> bool:
        return bool(start >= calendar.opening(calendar.last_closed(np.datetime64("now", "us"))))

    return is_live
