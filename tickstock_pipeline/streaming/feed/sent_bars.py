"""What has been sent of late: a repeat is not sent again, and an older answer does not undo what came since."""

from collections.abc import Iterable
from typing import NamedTuple

from tickstock_pipeline.messaging.bar_event import LiveBar
from tickstock_pipeline.streaming.feed.source import Delivery, Origin

_KEPT = 90


class _Sent(NamedTuple):
    values: int
    at: float
    is_standby: bool


class SentBars:
    """The last minutes of each symbol that were sent: their values, when, and whether another provider stood in."""

    def __init__(self) -> None:
        self._sent: dict[str, dict[int, _Sent]] = {}

    def new_of(self, delivery: Delivery, bars: Iterable[LiveBar]) -> list[LiveBar]:
        """Those of a delivery's bars that say something new; they count as sent from now on."""
        is_standby = delivery.origin is Origin.STANDBY
        found = []
        for bar in bars:
            of_symbol = self._sent.setdefault(bar.symbol, {})
            before = of_symbol.get(bar.time)
            values = hash((bar.open, bar.high, bar.low, bar.close, round(bar.volume)))
            if before is not None:
                if before.values == values:
                    if not is_standby and before.is_standby:
                        of_symbol[bar.time] = _Sent(values, delivery.asked_at, False)
                    continue
                if delivery.origin is Origin.FILL and before.at > delivery.asked_at:
                    continue
                if is_standby and not before.is_standby:
                    continue
            of_symbol[bar.time] = _Sent(values, delivery.asked_at, is_standby)
            found.append(bar)
            if len(of_symbol) > 2 * _KEPT:
                self._sent[bar.symbol] = dict(sorted(of_symbol.items())[-_KEPT:])
        return found

    def has(self, symbol: str, time: int) -> bool:
        """Whether a minute was sent of late."""
        return time in self._sent.get(symbol, ())

    def newest(self, symbol: str) -> int | None:
        """The newest minute of a symbol that was sent, microseconds since 1970."""
        return max(self._sent.get(symbol, ()), default=None)

    def forget(self) -> None:
        """Take nothing for sent any more."""
        self._sent.clear()
