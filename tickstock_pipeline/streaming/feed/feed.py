"""The live feed: from a source's connection to the streams of closed minutes.

Tasks of one event loop:

1. Reading: the supervisor keeps the connection and puts messages into the inbox. It does nothing else, so that a socket
   is read however busy the rest is.
2. Work: all that is in the inbox is decoded, judged and appended together; then the minutes that the clock has closed.
3. Around it: gaps are filled from history, another provider stands in, symbols are followed, quarantine and state kept.

Each part is told by the others what it must know; none waits for another but through the inbox.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import redis
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from tickstock_pipeline.errors import MessagingError, StorageError, UniverseError
from tickstock_pipeline.market.calendar import TradingCalendar
from tickstock_pipeline.market.status import MarketPhase, market_status
from tickstock_pipeline.messaging.channels import QUOTES
from tickstock_pipeline.messaging.connection import named_errors
from tickstock_pipeline.providers.base import HistoricalProvider
from tickstock_pipeline.streaming.feed.gaps import GapFiller
from tickstock_pipeline.streaming.feed.inbox import Inbox, Message
from tickstock_pipeline.streaming.feed.market_clock import MarketClock
from tickstock_pipeline.streaming.feed.options import FeedOptions
from tickstock_pipeline.streaming.feed.signs import FeedParts, FeedSigns
from tickstock_pipeline.streaming.feed.source import Delivery, LiveSource, Origin, Reading
from tickstock_pipeline.streaming.feed.standby import Standby, Standing
from tickstock_pipeline.streaming.feed.state import FeedState
from tickstock_pipeline.streaming.feed.supervisor import Supervisor
from tickstock_pipeline.streaming.feed.turn import FeedTurn
from tickstock_pipeline.streaming.feed.writer import StreamWriter

_logger = logging.getLogger(__name__)

# As far back as a provider sends a minute again because of late trades.
_LOOK_BACK = np.timedelta64(15, "m")
_TICK_S = 0.1
_LAST_S = 3.0
_UNKNOWN_S = 1.0
_QUOTES_S = 0.25
_MINUTE_MS = 60_000

Symbols = Callable[[], Sequence[str]]
"""Says whose bars are wanted; asked again and again, in a thread."""


class Feed:
    """One live feed; :meth:`run` it in an event loop of its own.

    Parameters
    ----------
    symbols : whose bars are wanted
    clients : two clients of Redis, of :func:`tickstock_pipeline.messaging.connection.connect`: for bars, for the rest
    history : fills gaps; None: they stay
    stand_in : serves while the source is down; None: nobody does
    ask_market : asks a provider for the market's phase
    """

    def __init__(
        self,
        source: LiveSource,
        symbols: Symbols,
        clients: tuple["redis.Redis", "redis.Redis"],
        engine: sa.Engine,
        calendar: TradingCalendar,
        *,
        history: HistoricalProvider | None = None,
        stand_in: HistoricalProvider | None = None,
        ask_market: Callable[[], str] | None = None,
        options: FeedOptions | None = None,
    ) -> None:
        self.options = options = options or FeedOptions()
        self._source = source
        self._symbols = symbols
        self._calendar = calendar
        self._client = clients[1]
        self._followed: tuple[str, ...] = ()
        self._quotes: dict[Any, Any] = {}
        self._look_again = asyncio.Event()
        self.inbox = Inbox(options.inbox_capacity)
        self.clock = MarketClock()
        self.state = FeedState(source.name)
        self.writer = StreamWriter(clients[0], engine, calendar, self._after_restart)
        self.gaps = GapFiller(
            *(history, engine, calendar, self.inbox, self.clock.now),
            settling_s=options.settling,
            retry_s=options.retry,
            via=source.via,
        )
        is_open = options.is_watched or self._is_open
        self.standby = None
        if stand_in is not None:
            self.standby = Standby(
                *(stand_in, calendar, self.inbox),
                missing_since=lambda: self.state.missing_since,
                is_open=is_open,
                symbols=lambda: self._followed,
                now=self.clock.now,
                after_s=options.standby_after,
                every_s=options.standby_every,
            )
        self._supervisor = Supervisor(
            source,
            self.inbox,
            patience=options.patience,
            is_watched=lambda: bool(self._followed) and is_open(),
            on_up=self._up,
            on_down=self._down,
            on_warning=self._warned,
        )
        parts = FeedParts(
            *(self.state, self.inbox, self.clock, self.writer.written, self.gaps.filling),
            Standing() if self.standby is None else self.standby.standing,
        )
        self.signs = FeedSigns(parts, self._client, calendar, ask_market)
        self._turn = FeedTurn(self._client)
        self._up_before = False
        self._is_ending = False

    async def run(self) -> None:
        """Wait until no other feed runs, then feed until cancelled.

        Raises
        ------
        ProviderRefusedError
            If the source refuses us.
        AlreadyRunningError
            If another feed has taken over.
        MessagingError
            If Redis does not answer at the start.
        """
        await self._turn.taken()
        is_known = await self._follow()
        await self.writer.begin()
        tasks = [
            self._work(),
            self._supervisor.run(),
            self.gaps.run(),
            self._keep_following(is_known),
            self._turn.kept(),
        ]
        tasks += [self.writer.keep_quarantine(), self.signs.keep_showing(self.options.state_every)]
        tasks += [self.signs.keep_asking(), self._keep_quotes()]
        if self.standby is not None:
            tasks.append(self.standby.run())
        running = [asyncio.create_task(task) for task in tasks]
        try:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        except asyncio.CancelledError:
            await self._finish(*running)
            raise
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            await self._end()

    def look_again(self) -> None:
        """Ask at once whose bars are wanted; may be called from a signal handler of the loop."""
        self._look_again.set()

    async def _finish(self, working: "asyncio.Task[None]", *others: "asyncio.Task[None]") -> None:
        """Take nothing more in, and let what has been read go on to the streams: not every source gives it again."""
        self._is_ending = True
        for task in others:
            task.cancel()
        await asyncio.wait({working}, timeout=_LAST_S)

    async def _end(self) -> None:
        try:
            async with asyncio.timeout(5):
                await self.writer.store_refused()
                await asyncio.to_thread(self.signs.stopped)
                await asyncio.to_thread(self._turn.give_up)
        except (TimeoutError, MessagingError) as error:
            _logger.warning("stopping failed reason=%s", type(error).__name__)
        self.gaps.close()
        if self.standby is not None:
            self.standby.close()
        self.writer.close()

    async def _work(self) -> None:
        while True:
            messages = await self.inbox.take(_TICK_S)
            if self._is_ending and not messages:
                return
            deliveries: list[Delivery] = []
            received_at: list[float] = []
            for message in messages:
                if isinstance(message.payload, Delivery):
                    deliveries.append(message.payload)
                else:
                    received_at.append(message.at)
                    reading = self._read(message)
                    self._quotes |= reading.quotes
                    if reading.bars:
                        deliveries.append(Delivery(reading.bars, Origin.LIVE, message.at, self._source.via))
            closed = self._source.due(self.clock.now_ms())
            if closed:
                deliveries.append(Delivery(closed, Origin.LIVE, time.time(), self._source.via))
            if deliveries:
                await self.writer.write(deliveries, received_at)
            await self.writer.check_redis()

    def _read(self, message: Message) -> Reading:
        reading = self._source.read(message.payload, message.at)
        if self.state.heard(message.at, reading.n_events):
            # the gap was asked for when the connection opened, but it went on
            self.gaps.want(self._followed, self._lost_since())
        if reading.refused:
            self.writer.refuse(reading.refused)
        if reading.newest_ms:
            self.clock.saw(reading.newest_ms)
        return reading

    async def _keep_quotes(self) -> None:
        while True:
            await asyncio.sleep(_QUOTES_S)
            if self._quotes:
                quotes, self._quotes = self._quotes, {}
                await asyncio.to_thread(self._show_quotes, quotes)

    def _show_quotes(self, quotes: dict[Any, Any]) -> None:
        try:
            with named_errors():
                self._client.hset(QUOTES, mapping=quotes)
        except MessagingError as error:
            _logger.warning("quotes not shown reason=%s", error.message)

    def _up(self) -> None:
        since = self._lost_since() if self._up_before else None
        self._up_before = True
        self.state.up()
        _logger.info("connected source=%s symbols=%d", self._source.name, len(self._followed))
        self.gaps.want(self._followed, since)
        self.signs.changed()

    def _lost_since(self) -> np.datetime64 | None:
        if not self.clock.newest_ms:
            return None
        # of what was under way when the connection broke, and of late bars, some may have been lost
        lost_ms = self.clock.newest_ms - self.clock.newest_ms % _MINUTE_MS
        return np.datetime64(lost_ms * 1_000, "us") - _LOOK_BACK

    def _down(self, reason: str, is_silent: bool) -> None:
        self.state.down(reason, is_silent=is_silent)
        self.signs.changed()

    def _warned(self, problem: str) -> None:
        _logger.warning("source warns source=%s problem=%s", self._source.name, problem)
        self.state.warned(problem)

    def _after_restart(self) -> None:
        self.state.note("Redis has been restarted")
        self.gaps.want(self._followed, None)

    def _is_open(self) -> bool:
        return market_status(self._calendar, np.datetime64("now", "us")).phase is MarketPhase.REGULAR

    async def _keep_following(self, is_known: bool) -> None:
        while True:
            # without its symbols a feed is deaf
            wait_s = self.options.symbols_every if is_known else min(_UNKNOWN_S, self.options.symbols_every)
            try:
                async with asyncio.timeout(wait_s):
                    await self._look_again.wait()
            except TimeoutError:
                pass
            self._look_again.clear()
            is_known = await self._follow()

    async def _follow(self) -> bool:
        try:
            symbols = tuple(dict.fromkeys(await asyncio.to_thread(self._symbols)))
        except (StorageError, UniverseError) as error:
            self.state.note(error.message)
            return False
        except DBAPIError as error:
            self.state.note(f"PostgreSQL refuses to say whose bars are wanted ({type(error.orig).__name__})")
            return False
        added = [symbol for symbol in symbols if symbol not in set(self._followed)]
        if symbols != self._followed:
            _logger.info("symbols followed=%d added=%d", len(symbols), len(added))
            self._followed = symbols
            self._source.follow(symbols)
            self.state.symbols = len(symbols)
            if self.state.is_connected:
                self.gaps.want(added, None)
        return True
