"""What has been sent of late: a repeat is not sent again, and an older answer does not undo what came since."""

from array import array
from bisect import bisect_left
from collections.abc import Iterable

from tickstock_pipeline.messaging.bar_event import LiveBar
from tickstock_pipeline.streaming.feed.source import Delivery, Origin

_KEPT = 800
_MOST = 1_000


class SentBars:
    """The last minutes of each symbol that were sent, two sessions of them; 25 bytes a minute."""

    def __init__(self) -> None:
        self._sent: dict[str, _SentMinutes] = {}

    def new_of(self, delivery: Delivery, bars: Iterable[LiveBar]) -> list[LiveBar]:
        """Those of a delivery's bars that say something new; they count as sent from now on."""
        found = []
        for bar in bars:
            of_symbol = self._sent.get(bar.symbol)
            if of_symbol is None:
                of_symbol = self._sent[bar.symbol] = _SentMinutes()
            if of_symbol.takes(bar, delivery):
                found.append(bar)
        return found

    def forget(self) -> None:
        """Take nothing for sent any more."""
        self._sent.clear()


class _SentMinutes:
    """One symbol's: when each minute was sent, a digest of its values, and whether another provider stood in."""

    __slots__ = ("_at", "_is_standby", "_times", "_values")

    def __init__(self) -> None:
        self._times = array("q")
        self._values = array("q")
        self._at = array("d")
        self._is_standby = bytearray()

    def takes(self, bar: LiveBar, delivery: Delivery) -> bool:
        """Whether the bar says something new; takes note of it."""
        values = hash((bar.open, bar.high, bar.low, bar.close, round(bar.volume)))
        is_standby = delivery.origin is Origin.STANDBY
        at = bisect_left(self._times, bar.time)
        if at == len(self._times) or self._times[at] != bar.time:
            self._insert(at, bar.time, values, delivery.asked_at, is_standby)
            return True
        if is_standby and not self._is_standby[at]:
            return False
        if delivery.origin is Origin.FILL and self._at[at] > delivery.asked_at:
            return False
        is_new = self._values[at] != values
        self._values[at], self._at[at], self._is_standby[at] = values, delivery.asked_at, is_standby
        return is_new

    def _insert(self, at: int, time: int, values: int, sent_at: float, is_standby: bool) -> None:
        self._times.insert(at, time)
        self._values.insert(at, values)
        self._at.insert(at, sent_at)
        self._is_standby.insert(at, is_standby)
        if len(self._times) > _MOST:
            del self._times[:-_KEPT], self._values[:-_KEPT], self._at[:-_KEPT], self._is_standby[:-_KEPT]
