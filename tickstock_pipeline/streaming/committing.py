"""A batch of symbols in one transaction, halved until a bad one stands alone; it is believed once it has committed."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from tickstock_pipeline.batch.commit import commit_together
from tickstock_pipeline.batch.outcome import Outcome, Status, failures
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.storage.live_rows import BarKey
from tickstock_pipeline.storage.live_work import OpenPeriod
from tickstock_pipeline.storage.outbox import Message
from tickstock_pipeline.streaming.desk import Desk, Told
from tickstock_pipeline.streaming.held_up import LockWaits
from tickstock_pipeline.streaming.windows import LiveWindow

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Stored:
    """What became of a batch.

    Attributes
    ----------
    written : the bars that were new or different, and whether each is new; those that another program stored with them
    deferred : symbols that somebody else is writing at the moment; nothing of them was stored
    held_up : symbols whose rows another program's transaction holds; nothing of them was stored
    refused : symbols whose bars the database does not take, and why
    told : what is to be published
    n_analysed, n_unanalysed : bars written with analysis, and without
    analysis_s : seconds that series took to take in their bars
    analysis_error : what an analysis raised; empty: nothing
    """

    written: dict[BarKey, bool] = field(default_factory=dict)
    deferred: set[str] = field(default_factory=set)
    held_up: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)
    told: list[Told] = field(default_factory=list)
    n_patterns: int = 0
    n_analysed: int = 0
    n_unanalysed: int = 0
    analysis_s: float = 0.0
    analysis_error: str = ""


@dataclass(slots=True)
class Attempt:
    """What one transaction has done, to be believed once it has committed."""

    window: LiveWindow
    symbols: Sequence[str]
    written: dict[BarKey, bool] = field(default_factory=dict)
    deferred: set[str] = field(default_factory=set)
    opened: list[OpenPeriod] = field(default_factory=list)
    closed: list[OpenPeriod] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    outbox_id: int | None = None
    n_patterns: int = 0
    n_analysed: int = 0
    n_unanalysed: int = 0
    analysis_s: float = 0.0
    analysis_error: str = ""


Write = Callable[[sa.Connection, Sequence[str], bool], Attempt]
"""Writes some symbols within a transaction, with analysis or without; may be called again."""


def committed(desk: Desk, window: LiveWindow, symbols: Sequence[str], write: Write, *, is_analysed: bool) -> Stored:
    """Commit symbols together, bisecting, and take note of what has been committed.

    A symbol that the database refuses by itself is written once more without analysis; one that a lock holds up is
    left alone.

    Parameters
    ----------
    symbols : sorted
    """
    stored = Stored()
    waits = LockWaits()

    def run(chosen: Sequence[str], with_analysis: bool) -> list[Outcome]:
        attempts: dict[tuple[str, ...], Attempt] = {}

        def write_outcomes(connection: sa.Connection, items: Sequence[str]) -> list[Outcome]:
            if waits.are_spent(items):
                return []
            with waits.counted(items):
                attempts[tuple(items)] = write(connection, items, with_analysis)
            return [Outcome(Partition(symbol, window.year), Status.WRITTEN) for symbol in items]

        outcomes = commit_together(desk.engine, chosen, write_outcomes, lambda symbol: [Partition(symbol, window.year)])
        failed = {outcome.partition.symbol for outcome in failures(outcomes)}
        for items, attempt in attempts.items():
            if not failed & set(items):
                _take_note(desk, attempt, stored)
        return failures(outcomes)

    for failure in run(symbols, is_analysed):
        symbol = failure.partition.symbol
        if symbol not in waits.symbols:
            _logger.warning("storing failed symbol=%s reason=%s", symbol, failure.error)
            for again in run([symbol], False):
                if symbol not in waits.symbols:
                    stored.refused[symbol] = again.error
    stored.held_up = waits.symbols
    desk.held_up.clear(window.timeframe, set(symbols) - stored.held_up)
    new = desk.held_up.note(window.timeframe, stored.held_up)
    if new:
        _logger.warning("held up by another transaction symbols=%s", ",".join(new[:20]))
    return stored


def _take_note(desk: Desk, attempt: Attempt, stored: Stored) -> None:
    timeframe = attempt.window.timeframe
    desk.book.confirm(timeframe, attempt.symbols)
    desk.book.wait(timeframe, attempt.waiting)
    desk.open_periods.close(attempt.closed)
    desk.open_periods.open(attempt.opened)
    stored.written.update(attempt.written)
    stored.deferred |= attempt.deferred
    if attempt.outbox_id is not None:
        stored.told.append(Told(attempt.outbox_id, tuple(attempt.messages)))
    stored.n_patterns += attempt.n_patterns
    stored.n_analysed += attempt.n_analysed
    stored.n_unanalysed += attempt.n_unanalysed
    stored.analysis_s += attempt.analysis_s
    stored.analysis_error = attempt.analysis_error or stored.analysis_error
