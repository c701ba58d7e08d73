"""Symbols whose rows another program's transaction holds.

A transaction of ours waits :data:`LOCK_WAIT_MS` for a lock and no longer: it has the bars of a thousand symbols, and
whoever holds the lock may take minutes. The symbol that it failed on waits outside of the batches and is tried again
by itself, so that it holds up nobody; its entries stay unacknowledged, and its later bars wait behind them.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlalchemy.exc import DBAPIError

from tickstock_pipeline.market.timeframe import Timeframe

LOCK_WAIT_MS = 200

MOST_WAITS = 24
"""So often does a batch wait for locks while the symbol to blame is looked for; what is not stored then waits as well.

One symbol of a thousand takes ten.
"""

_FIRST_AGAIN_S = 0.25
_LONGEST_AGAIN_S = 5.0
_LOCK_NOT_AVAILABLE = "55P03"


@dataclass(slots=True)
class LockWaits:
    """The waits of one batch while it is halved.

    Attributes
    ----------
    symbols : those that a lock holds up, or that nobody came to any more
    """

    symbols: set[str] = field(default_factory=set)
    n_waits: int = 0

    def are_spent(self, symbols: Sequence[str]) -> bool:
        """Whether there were too many waits already, so that these symbols are left alone."""
        if self.n_waits < MOST_WAITS:
            return False
        self.symbols.update(symbols)
        return True

    @contextmanager
    def counted(self, symbols: Sequence[str]) -> Iterator[None]:
        """Take note if the transaction on these symbols waits for a lock in vain; the error goes on."""
        try:
            yield
        except DBAPIError as error:
            if getattr(error.orig, "pgcode", None) == _LOCK_NOT_AVAILABLE:
                self.n_waits += 1
                if len(symbols) == 1:
                    self.symbols.update(symbols)
            raise


class HeldUp:
    """The series of one worker that wait for other programs, and when each is tried again.

    Parameters
    ----------
    clock : seconds, never going back
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._again: dict[tuple[Timeframe, str], tuple[float, float]] = {}

    @property
    def symbols(self) -> list[str]:
        """Symbols that were tried more than once in vain; sorted."""
        return sorted({symbol for (_, symbol), (_, pause) in self._again.items() if pause > _FIRST_AGAIN_S})

    def note(self, timeframe: Timeframe, symbols: Iterable[str]) -> list[str]:
        """These series were tried in vain; the symbols of those that are new here, sorted."""
        new = []
        for symbol in symbols:
            _, pause = self._again.get((timeframe, symbol), (0.0, 0.0))
            if not pause:
                new.append(symbol)
            pause = min(2 * pause, _LONGEST_AGAIN_S) or _FIRST_AGAIN_S
            self._again[timeframe, symbol] = self._clock() + pause, pause
        return sorted(new)

    def clear(self, timeframe: Timeframe, symbols: Iterable[str]) -> None:
        """These series have been stored, or will be read again."""
        if self._again:
            for symbol in symbols:
                self._again.pop((timeframe, symbol), None)

    def keep(self, is_ours: Callable[[str], bool]) -> None:
        """Forget the symbols that are no longer ours."""
        self._again = {key: again for key, again in self._again.items() if is_ours(key[1])}

    def must_wait(self, timeframe: Timeframe, symbol: str) -> bool:
        """Whether it is too early to try the series again."""
        at, _ = self._again.get((timeframe, symbol), (0.0, 0.0))
        return self._clock() < at
