"""Minute bars out of what is finer: trades add up to seconds, seconds to minutes.

1. A trade changes the second that it happened in, as far as its conditions allow. A second that the provider has added
   up itself replaces what our trades made of it.
2. A minute is closed by the first of three: something later of the same symbol; the clock, a grace after its end; the
   provider's own aggregate of the minute.
3. A trade that comes after its minute was closed opens it again: the bar is given out once more, as a revision.
4. The provider's own aggregate of a minute is final for what is finer: the provider sends it again when a late trade
   changes it, so trades of that minute are not added a second time.
5. A minute of which something may have been missed, because nobody was listening, is left to the provider.

Which trades set which prices: https://massive.com/docs/rest/stocks/market-operations/condition-codes, the consolidated
update rules. Rebroadcast minutes:
https://massive.com/knowledge-base/article/why-am-i-receiving-a-late-aggregate-bar-through-polygons-websockets.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

MINUTE_MS = 60_000
SECOND_MS = 1_000
DEFAULT_GRACE_MS = 2_000
"""How long after its end a minute waits for what is under way, by the market's clock."""

# Condition codes of trades by what the consolidated tape lets them set; all others set every price and the volume.
_VOLUME_ONLY = frozenset({2, 7, 12, 13, 20, 21, 29, 37, 52, 53})
_RANGE_AND_VOLUME = frozenset({5, 10, 22, 32, 33})
_PRICES_ONLY = frozenset({38})
_NOTHING = frozenset({15, 16})
_SPECIAL = _VOLUME_ONLY | _RANGE_AND_VOLUME | _PRICES_ONLY | _NOTHING

_KEPT_MINUTES = 20


class MinuteBar(NamedTuple):
    """A closed minute; ``start`` in Unix milliseconds."""

    symbol: str
    start: int
    open: float
    high: float
    low: float
    close: float
    volume: float


class Trade(NamedTuple):
    """One trade.

    Attributes
    ----------
    time : Unix milliseconds
    size : shares, a fraction of one included
    conditions : codes of the provider
    sequence : rises with each trade of the symbol
    """

    symbol: str
    time: int
    price: float
    size: float
    conditions: Sequence[int] = ()
    sequence: int = 0


Order = tuple[int, int]
"""Time and sequence of a trade: which one came first."""


@dataclass(slots=True)
class _Second:
    open: float | None = None
    high: float | None = None
    low: float | None = None
    close: float | None = None
    volume: float = 0.0
    first: Order | None = None
    last: Order | None = None
    is_given: bool = False

    def add(self, trade: Trade) -> None:
        sets_range = sets_ends = counts = True
        if not _SPECIAL.isdisjoint(trade.conditions):
            codes = set(trade.conditions)
            sets_ends = codes.isdisjoint(_VOLUME_ONLY | _RANGE_AND_VOLUME | _NOTHING)
            sets_range = codes.isdisjoint(_VOLUME_ONLY | _NOTHING)
            counts = codes.isdisjoint(_PRICES_ONLY | _NOTHING)
        if counts:
            self.volume += trade.size
        if sets_range:
            self.high = trade.price if self.high is None else max(self.high, trade.price)
            self.low = trade.price if self.low is None else min(self.low, trade.price)
        if sets_ends:
            order = (trade.time, trade.sequence)
            if self.first is None or order < self.first:
                self.first, self.open = order, trade.price
            if self.last is None or order >= self.last:
                self.last, self.close = order, trade.price


@dataclass(slots=True)
class _Minute:
    seconds: dict[int, _Second] = field(default_factory=dict)
    told: MinuteBar | None = None
    is_final: bool = False


# A thousand symbols have twenty thousand of them, and nothing of them is asked for but that they are final.
_FINAL = _Minute(is_final=True)


@dataclass(slots=True)
class _Book:
    newest: int = 0
    minutes: dict[int, _Minute] = field(default_factory=dict)


class MinuteBook:
    """Open and recently closed minutes of all symbols.

    Parameters
    ----------
    grace_ms : see :data:`DEFAULT_GRACE_MS`
    """

    def __init__(self, *, grace_ms: int = DEFAULT_GRACE_MS) -> None:
        self._grace_ms = grace_ms
        self._books: dict[str, _Book] = {}
        self._open: dict[str, int] = {}
        self._whole_from = 0
        self.too_late = 0
        """Trades and seconds of minutes that are no longer held, so that only the provider can correct them."""

    def begin(self, whole_from: int) -> None:
        """Something may have been missed: forget what is open.

        Parameters
        ----------
        whole_from : start of the first minute that nothing can be missing of, Unix milliseconds
        """
        self._whole_from = whole_from
        self._open.clear()
        for book in self._books.values():
            book.minutes = {
                start: minute for start, minute in book.minutes.items() if minute.is_final or minute.told is not None
            }

    def trade(self, trade: Trade) -> list[MinuteBar]:
        """Take a trade in; gives the bars that it closes or changes, oldest first."""
        minute = self._minute_of(trade.symbol, trade.time)
        if minute is None:
            return self._reached(trade.symbol, trade.time)
        second = minute.seconds.setdefault(trade.time // SECOND_MS, _Second())
        if not second.is_given:
            second.add(trade)
        return self._reached(trade.symbol, trade.time)

    def second(self, bar: MinuteBar) -> list[MinuteBar]:
        """Take in the provider's aggregate of a second; gives the bars that it closes or changes, oldest first."""
        minute = self._minute_of(bar.symbol, bar.start)
        if minute is not None:
            minute.seconds[bar.start // SECOND_MS] = _Second(
                bar.open, bar.high, bar.low, bar.close, bar.volume, is_given=True
            )
        return self._reached(bar.symbol, bar.start)

    def minute(self, bar: MinuteBar) -> list[MinuteBar]:
        """Take in the provider's aggregate of a minute; gives it, after the older minutes that it closes."""
        book = self._books.get(bar.symbol)
        if book is None:
            return [bar]
        closed = self._close(bar.symbol, book, before=bar.start)
        book.minutes[bar.start] = _FINAL
        if book.newest <= bar.start:
            book.newest = bar.start
            self._open.pop(bar.symbol, None)
        self._prune(book)
        return [*closed, bar]

    def due(self, now: int) -> list[MinuteBar]:
        """The bars of the minutes that the clock closes.

        Parameters
        ----------
        now : the market's time, Unix milliseconds
        """
        ended = [symbol for symbol, start in self._open.items() if start + MINUTE_MS + self._grace_ms <= now]
        found: list[MinuteBar] = []
        for symbol in ended:
            start = self._open.pop(symbol)
            found += self._close(symbol, self._books[symbol], before=start + MINUTE_MS)
        return found

    def _minute_of(self, symbol: str, time: int) -> _Minute | None:
        """The minute that takes something in; None where it is the provider's, or too old, or not whole."""
        start = time - time % MINUTE_MS
        book = self._books.setdefault(symbol, _Book())
        if start < self._whole_from:
            return None
        if start <= book.newest - _KEPT_MINUTES * MINUTE_MS:
            self.too_late += 1
            return None
        minute = book.minutes.setdefault(start, _Minute())
        return None if minute.is_final else minute

    def _reached(self, symbol: str, time: int) -> list[MinuteBar]:
        """What is closed or changed by something that happened at ``time``."""
        start = time - time % MINUTE_MS
        book = self._books[symbol]
        is_late = start < book.newest or (start == book.newest and symbol not in self._open)
        if start > book.newest:
            book.newest = start
            self._open[symbol] = start
            closed = self._close(symbol, book, before=start)
            self._prune(book)
            return closed
        return self._close(symbol, book, before=start + MINUTE_MS, since=start) if is_late else []

    def _close(self, symbol: str, book: _Book, *, before: int, since: int = 0) -> list[MinuteBar]:
        found = []
        for start in sorted(start for start in book.minutes if since <= start < before):
            minute = book.minutes[start]
            if minute.is_final or not minute.seconds:
                continue
            bar = _added_up(symbol, start, minute.seconds)
            if bar is not None and bar != minute.told:
                minute.told = bar
                found.append(bar)
        return found

    def _prune(self, book: _Book) -> None:
        oldest = book.newest - _KEPT_MINUTES * MINUTE_MS
        for start in [start for start in book.minutes if start <= oldest]:
            del book.minutes[start]


def _added_up(symbol: str, start: int, seconds: dict[int, _Second]) -> MinuteBar | None:
    """The bar of a minute; None if no trade of it sets a price."""
    ordered = [seconds[second] for second in sorted(seconds)]
    opens = _known(second.open for second in ordered)
    closes = _known(second.close for second in ordered)
    highs = _known(second.high for second in ordered)
    lows = _known(second.low for second in ordered)
    if not opens or not closes:
        return None
    # the range covers the ends also where a provider's rules let a price set the one and not the other
    return MinuteBar(
        symbol,
        start,
        opens[0],
        max(*highs, opens[0], closes[-1]),
        min(*lows, opens[0], closes[-1]),
        closes[-1],
        sum(second.volume for second in ordered),
    )


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]
