"""The table ``ohlcv_1min`` as a live source: another program inserts bars, a trigger tells us of them.

The trigger (``0002_notify.sql``) passes over what our own connections write, which it knows by their application name,
and statements of very many rows, which are imports. Rows older than the last session are history, not live.

Rows that came while nobody listened are looked for once a connection listens: those without analysis, the newest
:data:`MOST_MISSED` of them. They are marked, so that what they show is told of as late.
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
from tickstock_pipeline.messaging.bar_event import MISSED, LiveBar
from tickstock_pipeline.messaging.bar_stream import VIA_DATABASE
from tickstock_pipeline.storage.inserted_minutes import unanalysed_minutes
from tickstock_pipeline.storage.instants import aware_all
from tickstock_pipeline.streaming.feed.source import Line, Reading

CHANNEL = "tickstock_inserted_bars"
MOST_MISSED = 5_000
"""Rows that are taken up after nobody has listened; as many as a statement may have that is no import."""

_ROWS_A_NOTICE = 25

_MINUTE_US = 60_000_000
_LOOK_S = 15.0


class InsertedRows:
    """See :class:`tickstock_pipeline.streaming.feed.source.LiveSource`.

    Parameters
    ----------
    engine : whose connection listens
    is_live : whether a bar that began at this instant (UTC) is news
    live_since : the first instant (UTC) that may be news; None: rows that came while nobody listened are left out
    """

    name = "database"
    via: bytes | None = VIA_DATABASE

    def __init__(
        self,
        engine: sa.Engine,
        is_live: Callable[[np.datetime64], bool],
        live_since: Callable[[], np.datetime64] | None = None,
    ) -> None:
        self._engine = engine
        self._is_live = is_live
        self._live_since = live_since
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
            # what comes from now on is told of, so nothing falls in between; what is told of twice is a repeat
            for notice in await asyncio.to_thread(self._missed):
                await line.heard(notice)
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
                    quality=MISSED if is_missed else "confirmed",
                )
                for symbol, time, open_, high, low, close, volume, source, *is_missed in rows
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

    def _missed(self) -> list[str]:
        """Notices of the rows that came while nobody listened, as the trigger would have sent them."""
        if self._live_since is None:
            return []
        with self._engine.connect() as connection:
            (since,) = aware_all(np.array([self._live_since()], "datetime64[us]"))
            rows = unanalysed_minutes(connection, since, MOST_MISSED)
        return [
            json.dumps([[*row, True] for row in rows[start : start + _ROWS_A_NOTICE]])
            for start in range(0, len(rows), _ROWS_A_NOTICE)
        ]

    def _listening(self) -> sa.Connection:
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        connection.exec_driver_sql(f"LISTEN {CHANNEL}")
        return connection


def opening_of_last_session(calendar: TradingCalendar) -> Callable[[], np.datetime64]:
    """When the last session that has ended began, UTC."""

    def opening() -> np.datetime64:
        found: np.datetime64 = calendar.opening(np.asarray([calendar.last_closed(np.datetime64("now", "us"))]))[0]
        return found

    return opening


def since_last_session(calendar: TradingCalendar) -> Callable[[np.datetime64], bool]:
    """Whether a bar began in the session that runs, or in the last one that ended."""

    opening = opening_of_last_session(calendar)
    return lambda start: bool(start >= opening())
