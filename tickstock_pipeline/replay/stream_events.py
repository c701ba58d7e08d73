"""The events of Polygon's stream for stocks: aggregates of a minute (AM) or second (A), trades (T) and quotes (Q).

Field names: https://massive.com/docs/websocket/stocks. ``av`` is the volume of the session so far, ``op`` its opening
price, ``a`` its average price so far, ``z`` the average size of a trade; times are Unix milliseconds.
"""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.replay import eastern
from tickstock_pipeline.replay.bridge import Whole, generator, parts_of

MINUTE, SECOND, TRADE, QUOTE = "AM", "A", "T", "Q"
TYPES = (MINUTE, SECOND, TRADE, QUOTE)

_SECONDS = 60
# As many as it takes to show open, high, low and close.
_TRADES = 4
_SPREAD = 0.01
_SHARES_PER_TRADE = 100
_TAPE, _EXCHANGE, _BID_EXCHANGE, _ASK_EXCHANGE = 3, 4, 12, 11


class Event(NamedTuple):
    """One event: its type, its symbol, its start in Unix milliseconds, and the JSON object."""

    type: str
    symbol: str
    start: int
    text: str


@dataclass(slots=True)
class DaySoFar:
    """What a symbol has traded since the session opened."""

    open: float = 0.0
    volume: int = 0
    turnover: float = 0.0

    def add(self, whole: Whole) -> None:
        """Count a bar."""
        self.open = self.open or whole.open
        self.volume += whole.volume
        self.turnover += whole.volume * typical_price(whole)

    @property
    def average(self) -> float:
        """The average price of all shares so far."""
        return round(self.turnover / self.volume, 4) if self.volume else self.open


def aggregate(type_: str, symbol: str, start: int, length: int, whole: Whole, so_far: DaySoFar) -> Event:
    """An aggregate; ``so_far`` includes it.

    Parameters
    ----------
    start, length : milliseconds
    """
    text = (
        f'{{"ev":"{type_}","sym":"{symbol}","v":{whole.volume},"av":{so_far.volume},"op":{so_far.open!r},'
        f'"vw":{typical_price(whole)!r},"o":{whole.open!r},"c":{whole.close!r},"h":{whole.high!r},"l":{whole.low!r},'
        f'"a":{so_far.average!r},"z":{max(min(whole.volume, _SHARES_PER_TRADE), 1)},"s":{start},"e":{start + length}}}'
    )
    return Event(type_, symbol, start, text)


def event_of(fields: dict[str, Any]) -> Event:
    """An event made by hand.

    Raises
    ------
    KeyError
        If it has no type ``ev`` or no symbol ``sym``.
    """
    start = fields.get("s" if fields["ev"] in (MINUTE, SECOND) else "t", 0)
    return Event(fields["ev"], fields["sym"], int(start), json.dumps(fields, separators=(",", ":")))


def minute_events(bars: Bars, so_far: DaySoFar | None = None) -> list[Event]:
    """The AM events of one symbol's minutes, in their order."""
    found = []
    so_far = DaySoFar() if so_far is None else so_far
    for start, *values in zip(eastern.milliseconds(bars.time).tolist(), *_columns(bars), strict=True):
        whole = Whole(*values)
        so_far.add(whole)
        found.append(aggregate(MINUTE, bars.symbol, start, 60_000, whole, so_far))
    return found


def wholes(bars: Bars) -> list[Whole]:
    """The values of each bar."""
    return [Whole(*values) for values in zip(*_columns(bars), strict=True)]


@dataclass
class SecondEvents:
    """What happens to one symbol within minutes, invented so that it adds up to them (see ``replay.bridge``)."""

    symbol: str
    seed: int
    _so_far: DaySoFar = field(default_factory=DaySoFar)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def within(self, start: int, minute: Whole, types: frozenset[str]) -> dict[int, list[Event]]:
        """The events of one minute by the second (0 to 59) in which they happen.

        Parameters
        ----------
        start : of the minute, milliseconds
        types : of A, T and Q, those that are wanted
        """
        draw = generator(self.seed, self.symbol, np.datetime64(start * 1_000, "us"))
        # enough shares in each second for its trades
        parts = parts_of(minute, _SECONDS, draw, shares_per_part=_TRADES, is_session=False)
        found: dict[int, list[Event]] = {}
        for second, *values in zip(*(column.tolist() for column in parts), strict=True):
            whole = Whole(*values)
            self._so_far.add(whole)
            time = start + second * 1_000
            events = found.setdefault(second, [])
            if TRADE in types:
                events += self._trades(time, whole)
            if QUOTE in types:
                events.append(self._quote(time + 999, whole.close))
            if SECOND in types:
                events.append(aggregate(SECOND, self.symbol, time, 1_000, whole, self._so_far))
        return found

    def _trades(self, time: int, whole: Whole) -> list[Event]:
        extremes = (whole.low, whole.high) if whole.close >= whole.open else (whole.high, whole.low)
        prices = [price for price, _ in itertools.groupby((whole.open, *extremes, whole.close))]
        # where there are fewer shares than trades, the last ones are of less than a share: size 0
        size, rest = divmod(whole.volume, len(prices))
        events = []
        for position, price in enumerate(prices):
            number = next(self._numbers)
            stamp = time + 999 * position // len(prices)
            shares = size + (position < rest)
            text = (
                f'{{"ev":"T","sym":"{self.symbol}","x":{_EXCHANGE},"i":"{number}","z":{_TAPE},"p":{price!r},'
                f'"s":{shares},"c":[0],"t":{stamp},"q":{number}}}'
            )
            events.append(Event(TRADE, self.symbol, stamp, text))
        return events

    def _quote(self, time: int, price: float) -> Event:
        bid, ask = round(max(price - _SPREAD, _SPREAD), 4), round(price + _SPREAD, 4)
        number = next(self._numbers)
        text = (
            f'{{"ev":"Q","sym":"{self.symbol}","bx":{_BID_EXCHANGE},"bp":{bid!r},"bs":100,"ax":{_ASK_EXCHANGE},'
            f'"ap":{ask!r},"as":100,"c":0,"t":{time},"q":{number},"z":{_TAPE}}}'
        )
        return Event(QUOTE, self.symbol, time, text)


def typical_price(whole: Whole) -> float:
    """Stands for the average price of a bar, which a bar does not tell."""
    return round((whole.open + whole.high + whole.low + whole.close) / 4, 4)


def _columns(bars: Bars) -> list[list[Any]]:
    return [column.tolist() for column in (bars.open, bars.high, bars.low, bars.close, bars.volume)]
