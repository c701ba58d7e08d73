"""What the parts of one worker share: the database, the calendar, its leases, and the books that it keeps."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial

import sqlalchemy as sa

from tickstock_pipeline.market.calendar import TradingCalendar
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.messaging.bar_stream import shard_of
from tickstock_pipeline.storage.leases import require_leases
from tickstock_pipeline.storage.live_rows import BarKey
from tickstock_pipeline.storage.outbox import Message
from tickstock_pipeline.streaming.announcing import Moment
from tickstock_pipeline.streaming.held_up import LOCK_WAIT_MS, HeldUp
from tickstock_pipeline.streaming.periods import PeriodBook, PeriodFinder
from tickstock_pipeline.streaming.series_book import SeriesBook
from tickstock_pipeline.streaming.windows import WindowFinder

# of several takings-up at once
_MOST_LATE = 20_000


@dataclass(frozen=True, slots=True)
class Told:
    """What a committed transaction has put into the outbox."""

    outbox_id: int | None
    messages: tuple[Message, ...]


@dataclass
class Desk:
    """Shared by the parts of one worker; used from one thread.

    Attributes
    ----------
    worker : its name
    engine : whose connections carry the worker's name
    analysis_s : seconds that an analysis may take; then it is ended
    leases : shards held, with their tokens
    """

    worker: str
    engine: sa.Engine
    calendar: TradingCalendar
    n_shards: int
    analysis_s: float
    leases: dict[int, int] = field(default_factory=dict)
    book: SeriesBook = field(default_factory=SeriesBook)
    held_up: HeldUp = field(default_factory=HeldUp)

    def __post_init__(self) -> None:
        self.windows = WindowFinder(self.calendar)
        self.periods = PeriodFinder(self.calendar)
        self.open_periods = PeriodBook(self.periods)
        self._late: dict[BarKey, None] = {}

    def note_late(self, keys: Iterable[BarKey]) -> None:
        """Minutes that are taken up long after they were stored: what they show is told of as late."""
        self._late.update(dict.fromkeys(keys))
        while len(self._late) > _MOST_LATE:
            del self._late[next(iter(self._late))]

    def is_late(self, timeframe: Timeframe, symbol: str, bar_time: int) -> bool:
        """Whether a bar is among them."""
        return timeframe is Timeframe.MINUTE and (symbol, bar_time) in self._late

    def holds(self, symbol: str) -> bool:
        """Whether the symbol is ours to work on."""
        return shard_of(symbol, self.n_shards) in self.leases

    def begin(self, connection: sa.Connection, symbols: Iterable[str]) -> None:
        """Begin a transaction on these symbols: check the leases, follow the definitions, wait for no lock for long.

        Raises
        ------
        LeaseLostError
            If one of their shards has been taken over.
        """
        shards = {shard_of(symbol, self.n_shards) for symbol in symbols}
        tokens = {shard: self.leases.get(shard, -1) for shard in sorted(shards)}
        revision = require_leases(connection, self.worker, tokens, lock_wait_ms=LOCK_WAIT_MS)
        if not self.book.follows(revision):
            # Of its own transaction: what the plans refer to must stay, whatever becomes of this one.
            with self.engine.begin() as other:
                self.book.follow_definitions(other, revision)

    def moment(self, timeframe: Timeframe, received_at: float | None = None) -> Moment:
        """Now, as messages about bars of a timeframe have it."""
        received = time.time() if received_at is None else received_at
        return Moment(self.worker, received, partial(self.periods.end, timeframe))
