"""A batch of entries from the streams to what is stored, published and acknowledged, in this order."""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Sequence

import numpy as np

from tickstock_pipeline.market.bar import RefusedBar
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.messaging.bar_reader import BarReader, Entry
from tickstock_pipeline.messaging.bar_stream import VIA_CONSUMER
from tickstock_pipeline.storage.live_rows import BarKey, BarRow
from tickstock_pipeline.storage.quarantine import record_refused
from tickstock_pipeline.streaming.breaker import Breaker
from tickstock_pipeline.streaming.committing import Stored
from tickstock_pipeline.streaming.desk import Desk
from tickstock_pipeline.streaming.intake import Intake, taken_in
from tickstock_pipeline.streaming.publisher import Publisher
from tickstock_pipeline.streaming.storing import store_minutes
from tickstock_pipeline.streaming.vital_signs import Tally
from tickstock_pipeline.streaming.windows import LiveWindow

_logger = logging.getLogger(__name__)


class BarTaker:
    """Takes batches in, for one worker.

    Parameters
    ----------
    saw : is told of the bars that have been stored

    Attributes
    ----------
    deferred : entries of symbols that somebody else was writing; they come first in the next batch
    parked : entries of symbols that another program's transaction holds up, by symbol; see :meth:`retry`
    """

    def __init__(
        self,
        desk: Desk,
        reader: BarReader,
        publisher: Publisher,
        breaker: Breaker,
        tally: Tally,
        saw: Callable[[Iterable[BarKey]], None],
    ) -> None:
        self._desk = desk
        self._reader = reader
        self._publisher = publisher
        self._breaker = breaker
        self._tally = tally
        self._saw = saw
        self.deferred: list[Entry] = []
        self.parked: dict[str, list[Entry]] = {}

    @property
    def kept(self) -> list[Entry]:
        """The entries that were read and are not acknowledged."""
        return [*self.deferred, *(entry for entries in self.parked.values() for entry in entries)]

    def forget(self, shards: Collection[int]) -> None:
        """Forget entries: those of shards that have gone, or all that will be claimed again."""
        self.deferred = [entry for entry in self.deferred if entry.shard not in shards]
        for symbol, entries in list(self.parked.items()):
            if entries[0].shard in shards:
                del self.parked[symbol]
                self._desk.held_up.clear(Timeframe.MINUTE, [symbol])

    def take(self, entries: Sequence[Entry]) -> None:
        """Store, publish and acknowledge entries; some may be deferred or parked.

        Raises
        ------
        LeaseLostError
            If a shard has been taken over; nothing of that batch is acknowledged.
        StorageError, MessagingError
            If PostgreSQL or Redis do not answer.
        """
        self.deferred = []
        self._take(entries, is_new=True)

    def retry(self) -> None:
        """Try symbols again whose time has come, apart from all others, and with them all that came meanwhile.

        Raises
        ------
        LeaseLostError, StorageError, MessagingError
            As :meth:`take`.
        """
        due = [symbol for symbol in self.parked if not self._desk.held_up.must_wait(Timeframe.MINUTE, symbol)]
        if due:
            self._take([entry for symbol in due for entry in self.parked.pop(symbol)], is_new=False)

    def _take(self, entries: Sequence[Entry], *, is_new: bool) -> None:
        received_at = time.time()
        started = time.perf_counter()
        now = np.datetime64(round(received_at * 1e6), "us")
        intake = taken_in(entries, self._desk.n_shards, self._desk.calendar, now)
        lag_ms = max(received_at * 1e3 - min(entry.arrived_ms for entry in entries), 0.0)
        # what another program has held up says nothing of how far behind we are
        is_analysed = self._breaker.allows_analysis(lag_ms / 1e3 if is_new else 0.0)
        self._park(intake, intake.by_symbol.keys() & self.parked.keys())
        self._desk.note_late(intake.late)
        self._quarantine(intake)
        deferred: set[str] = set()
        held_up: set[str] = set()
        n_written = 0
        for window, (rows, inserted) in self._by_window(intake).items():
            left = deferred | held_up
            free = {symbol: of_symbol for symbol, of_symbol in rows.items() if symbol not in left}
            noted = {symbol: times for symbol, times in inserted.items() if symbol not in left}
            stored = store_minutes(self._desk, window, free, noted, is_analysed=is_analysed, received_at=received_at)
            deferred |= stored.deferred
            held_up |= stored.held_up
            n_written += len(stored.written)
            self._judge(stored, free, noted)
            self._publish(intake, stored, free)
            self._saw(stored.written)
        self._park(intake, held_up)
        done = [*intake.others]
        for symbol, of_symbol in intake.by_symbol.items():
            (self.deferred if symbol in deferred else done).extend(of_symbol)
        self._reader.acknowledge(done)
        tally = self._tally
        tally.entries += len(done)
        tally.bars += n_written
        tally.batches += 1
        tally.outside_session += intake.outside_session
        if is_new:
            tally.lag_ms, tally.last_batch_bars = lag_ms, n_written
            tally.last_batch_ms = (time.perf_counter() - started) * 1e3

    def _park(self, intake: Intake, symbols: Collection[str]) -> None:
        for symbol in symbols:
            self.parked.setdefault(symbol, []).extend(intake.by_symbol.pop(symbol))
            intake.rows.pop(symbol, None)
            intake.inserted.pop(symbol, None)

    def _by_window(self, intake: Intake) -> dict[LiveWindow, tuple[dict[str, list[BarRow]], dict[str, list[int]]]]:
        found: dict[LiveWindow, tuple[dict[str, list[BarRow]], dict[str, list[int]]]] = {}
        for symbol, rows in intake.rows.items():
            for row in rows:
                window = self._desk.windows.at(Timeframe.MINUTE, row.time)
                found.setdefault(window, ({}, {}))[0].setdefault(symbol, []).append(row)
        for symbol, times in intake.inserted.items():
            for time_ in sorted(times):
                window = self._desk.windows.at(Timeframe.MINUTE, time_)
                found.setdefault(window, ({}, {}))[1].setdefault(symbol, []).append(time_)
        return dict(sorted(found.items(), key=lambda item: item[0].first))

    def _quarantine(self, intake: Intake) -> None:
        if not intake.refused:
            return
        by_source: dict[str, list[RefusedBar]] = {}
        for source, bar in intake.refused:
            by_source.setdefault(source, []).append(bar)
        with self._desk.engine.begin() as connection:
            for source, bars in sorted(by_source.items()):
                record_refused(connection, bars, source)
        self._tally.quarantined += len(intake.refused)
        reason = intake.refused[0][1].reason
        _logger.warning("quarantined bars=%d reason=%s", len(intake.refused), reason)

    def _judge(self, stored: Stored, rows: dict[str, list[BarRow]], inserted: dict[str, list[int]]) -> None:
        tally = self._tally
        left = stored.deferred | stored.held_up
        n_taken = sum(len(some) for given in (rows, inserted) for symbol, some in given.items() if symbol not in left)
        tally.unanalysed_bars += stored.n_unanalysed
        # Of what another program stored, more may be analysed than entries have told of so far.
        tally.repeats += max(n_taken - len(stored.written), 0)
        if stored.n_patterns:
            tally.patterns += stored.n_patterns
            tally.last_pattern_at = time.time()
        if stored.analysis_error:
            _logger.error("analysis failed bars=%d reason=%s", stored.n_unanalysed, stored.analysis_error)
            self._breaker.saw_failure(stored.analysis_error, stored.analysis_s)
        elif stored.n_analysed:
            self._breaker.saw_success()
        if stored.refused:
            refused = [
                RefusedBar(
                    symbol,
                    Timeframe.MINUTE,
                    f"{np.datetime64(row.time, 'us')}Z",
                    f"the database refuses it: {reason}",
                    {name: getattr(row, name) for name in ("open", "high", "low", "close", "volume")},
                )
                for symbol, reason in stored.refused.items()
                for row in rows.get(symbol, ())
            ]
            with self._desk.engine.begin() as connection:
                record_refused(connection, refused, "stream")
            tally.quarantined += len(refused)
            self._breaker.saw_error()

    def _publish(self, intake: Intake, stored: Stored, rows: dict[str, list[BarRow]]) -> None:
        raws = []
        for symbol, of_symbol in rows.items():
            if symbol in stored.deferred or symbol in stored.held_up or symbol in stored.refused:
                continue
            for row in of_symbol:
                entry = intake.entries[symbol, row.time]
                # A repeat may have been stored by somebody who did not come to publishing it.
                is_told = (symbol, row.time) in stored.written or entry.is_repeat
                if is_told and entry.via != VIA_CONSUMER:
                    raws.append(entry.raw)
        self._publisher.publish(stored.told, raws)
