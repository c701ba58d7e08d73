"""What a worker does between batches, in slices: closed periods, series to analyse from stored bars, replay ahead.

Order of importance: coarse bars whose period has closed; what was stored without analysis; series that a bar is
expected of soon. A bar that comes meanwhile waits for the end of the slice, so nothing new is begun after
:data:`SLICE_S`, and what is begun is small: when an hour ends, a thousand symbols close it and are replayed for it.
"""

import gc
import logging
import time
from collections.abc import Callable, Collection, Iterable

import numpy as np

from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.messaging.bar_stream import shard_of
from tickstock_pipeline.storage.ledger import recently_stored
from tickstock_pipeline.storage.live_work import backlog_symbols, read_open_periods
from tickstock_pipeline.streaming.breaker import Breaker
from tickstock_pipeline.streaming.catching_up import catch_up
from tickstock_pipeline.streaming.closing import store_coarse
from tickstock_pipeline.streaming.desk import Desk
from tickstock_pipeline.streaming.publisher import Publisher
from tickstock_pipeline.streaming.replaying import RECENT_US
from tickstock_pipeline.streaming.series_book import FOLLOWED
from tickstock_pipeline.streaming.upcoming import upcoming_bar
from tickstock_pipeline.streaming.vital_signs import Tally

_logger = logging.getLogger(__name__)

SLICE_S = 0.02
_REPLAYED_AT_ONCE = 10
_CLOSED_AT_ONCE = 50
_AGAIN_S = 0.2
_HELD_UP_S = 2.0
_FAILED_S = 60.0
_LOOK_S = 0.5
_WORTH_FREEZING = 100


class Background:
    """Work between batches, for one worker.

    Parameters
    ----------
    clock : seconds, never going back
    """

    def __init__(
        self,
        desk: Desk,
        publisher: Publisher,
        breaker: Breaker,
        tally: Tally,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._desk = desk
        self._publisher = publisher
        self._breaker = breaker
        self._tally = tally
        self._clock = clock
        self._looked_at = -_LOOK_S
        self._has_more_to_close = False
        self._retries: dict[tuple[Timeframe, str], float] = {}
        self._n_frozen = 0

    @property
    def is_busy(self) -> bool:
        """Whether there is something to do right now, so that bars are not waited for."""
        return self._has_more_to_close or (bool(self._desk.book.n_waiting) and self._breaker.state == "closed")

    @property
    def has_work(self) -> bool:
        """Whether series wait or are to be tried again soon, or a period has closed."""
        due = self._desk.open_periods.due(time.time_ns() // 1000, self._clock())
        return bool(self._desk.book.n_waiting or self._retries or due)

    def took_over(self) -> None:
        """Shards have come to us: find what is begun and not finished, and what will be needed."""
        desk = self._desk
        with desk.engine.begin() as connection:
            desk.begin(connection, [])  # reads the definitions, without which nothing can be analysed
            left_open = [period for period in read_open_periods(connection) if desk.holds(period.symbol)]
            desk.open_periods.find(left_open, self._clock())
            for symbol, timeframe in backlog_symbols(connection):
                if desk.holds(symbol):
                    desk.book.wait(timeframe, [symbol])
            recent = [
                symbol
                for symbol in recently_stored(connection, Timeframe.MINUTE, RECENT_US // 86_400_000_000)
                if desk.holds(symbol)
            ]
        for timeframe in FOLLOWED:
            desk.book.wait(timeframe, [symbol for symbol in recent if not desk.book.is_followed(timeframe, symbol)])

    def forget(self, shards: Collection[int]) -> None:
        """Shards have gone from us, though they may have come back since: forget their symbols."""
        desk = self._desk
        gone = {
            symbol
            for symbol in desk.book.symbols | desk.open_periods.symbols
            if shard_of(symbol, desk.n_shards) in shards
        }
        desk.book.forget(gone)
        desk.open_periods.forget(gone)
        self._retries = {key: at for key, at in self._retries.items() if key[1] not in gone}

    def saw(self, bars: Iterable[tuple[str, int]]) -> None:
        """Take note of minutes that have been stored: symbol, time in microseconds since 1970."""
        now = self._clock()
        for symbol, bar_time in bars:
            self._desk.open_periods.saw(Timeframe.MINUTE, symbol, bar_time, now)
        self._looked_at = -_LOOK_S

    def work(self) -> None:
        """One slice.

        Raises
        ------
        LeaseLostError
            If a shard has been taken over.
        StorageError, MessagingError
            If PostgreSQL or Redis do not answer.
        """
        deadline = self._clock() + SLICE_S
        self._close_periods(deadline)
        self._retry()
        while self._breaker.state == "closed" and self._clock() < deadline and self._analyse_waiting():
            pass

    def replay_ahead(self) -> None:
        """Ask for series that were followed in the window before that of the next bar; for quiet hours."""
        desk = self._desk
        now = np.datetime64(time.time_ns() // 1000, "us")
        for timeframe in FOLLOWED:
            upcoming = upcoming_bar(desk.calendar, timeframe, now)
            window = desk.windows.at(timeframe, upcoming)
            recent = desk.windows.at(timeframe, upcoming - RECENT_US)
            if window != recent:
                desk.book.wait(timeframe, desk.book.followed_before(timeframe, window, since=recent))

    def tidy(self) -> None:
        """Spare the collector the followed series, which stay; only worth its time when many have come."""
        if len(self._desk.book) - self._n_frozen >= _WORTH_FREEZING and not self._desk.book.n_waiting:
            gc.collect()
            gc.freeze()
            self._n_frozen = len(self._desk.book)
            _logger.info("following series=%d", self._n_frozen)

    def _close_periods(self, deadline: float) -> None:
        now = self._clock()
        if not self._has_more_to_close and now - self._looked_at < _LOOK_S:
            return
        self._looked_at = now
        self._has_more_to_close = False
        seen_at = time.time()
        held_up = self._desk.held_up
        for (timeframe, key), due in self._desk.open_periods.due(time.time_ns() // 1000, now).items():
            symbols = [symbol for symbol in due if not held_up.must_wait(timeframe, symbol)]
            for start in range(0, len(symbols), _CLOSED_AT_ONCE):
                if self._clock() >= deadline:
                    self._has_more_to_close = True
                    return
                stored = store_coarse(
                    self._desk,
                    timeframe,
                    key,
                    symbols[start : start + _CLOSED_AT_ONCE],
                    is_analysed=self._breaker.state == "closed",
                    received_at=seen_at,
                )
                self._publisher.publish(stored.told)
                self._count_patterns(stored.n_patterns)
                if stored.analysis_error:
                    self._breaker.saw_failure(stored.analysis_error, stored.analysis_s)
                if timeframe is Timeframe.DAILY and stored.written:
                    self._looked_at = -_LOOK_S

    def _retry(self) -> None:
        now = self._clock()
        for (timeframe, symbol), at in list(self._retries.items()):
            if now >= at:
                del self._retries[timeframe, symbol]
                self._desk.book.wait(timeframe, [symbol])

    def _analyse_waiting(self) -> bool:
        """Analyse a few of the series that wait; whether there were any."""
        waiting = self._desk.book.next_waiting(_REPLAYED_AT_ONCE)
        if waiting is None:
            return False
        timeframe, symbols = waiting
        upcoming = upcoming_bar(self._desk.calendar, timeframe, np.datetime64(time.time_ns() // 1000, "us"))
        done = False
        try:
            result = catch_up(self._desk, timeframe, symbols, upcoming)
            done = True
        finally:
            if not done:
                self._desk.book.wait(timeframe, symbols)
        self._publisher.publish(result.told)
        now = self._clock()
        for symbol in result.again:
            self._retries[timeframe, symbol] = now + _AGAIN_S
        for symbol in result.held_up:
            self._retries[timeframe, symbol] = now + _HELD_UP_S
        for symbol in result.failed:
            self._retries[timeframe, symbol] = now + _FAILED_S
        if result.failed and len(result.failed) >= result.n_tried:
            self._breaker.saw_failure(next(iter(result.failed.values())))
        elif result.failed:
            # the others show that analysis works: it is these symbols that have an error
            self._breaker.saw_error()
        self._tally.unanalysed_bars = max(self._tally.unanalysed_bars - result.n_bars, 0)
        self._count_patterns(result.n_patterns)
        return True

    def _count_patterns(self, n_patterns: int) -> None:
        if n_patterns:
            self._tally.patterns += n_patterns
            self._tally.last_pattern_at = time.time()
