"""Polygon's stream as a live source: frames of aggregates, trades and quotes, and the minutes that they close.

Field names: https://massive.com/docs/websocket/stocks. Times are Unix milliseconds.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import SecretStr

from tickstock_pipeline.market.bar import RefusedBar
from tickstock_pipeline.market.symbol import normalise_symbol
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.market.trade_bars import MINUTE_MS, SECOND_MS, MinuteBar, MinuteBook, Trade
from tickstock_pipeline.messaging.bar_event import LiveBar
from tickstock_pipeline.providers.polygon import spelled
from tickstock_pipeline.streaming.feed.polygon_socket import PolygonSocket
from tickstock_pipeline.streaming.feed.source import Line, Reading

SOURCE = "polygon.io"

_NAN = float("nan")
_RAW_SHOWN = 500
_LATEST_MS = 4_102_444_800_000  # 2100-01-01
_LONGEST_LATENCY_MS = 86_400_000


class PolygonSource:
    """See :class:`tickstock_pipeline.streaming.feed.source.LiveSource`.

    Every symbol's minutes (``AM``) are asked for, since the provider corrects them; seconds or trades in addition close
    a minute sooner.

    Parameters
    ----------
    base_url, api_key : see :class:`PolygonSocket`
    with_seconds : also ask for the aggregates of seconds
    traded : symbols whose trades are asked for; ``*``: all
    with_quotes : also ask for quotes
    """

    name = "polygon"
    via = None

    def __init__(
        self,
        base_url: str,
        api_key: SecretStr,
        *,
        with_seconds: bool = False,
        traded: Iterable[str] = (),
        with_quotes: bool = False,
        book: MinuteBook | None = None,
    ) -> None:
        self._socket = PolygonSocket(base_url, api_key)
        self._with_seconds = with_seconds
        self._traded = frozenset(traded)
        self._with_quotes = with_quotes
        self._book = book or MinuteBook()
        self._symbols: dict[str, str] = {}
        self._connections = 0
        self._is_over = True
        self._reads = 0
        self._is_begun = False

    async def listen(self, line: Line) -> None:
        """One connection."""
        self._connections += 1
        self._is_over = False
        try:
            await self._socket.listen(_NumberedLine(line, self._connections))
        finally:
            self._is_over = True

    def follow(self, symbols: Iterable[str]) -> None:
        """Subscribe to these symbols."""
        self._symbols = {spelled(symbol): symbol for symbol in symbols}
        topics = set()
        for theirs, ours in self._symbols.items():
            topics.add(f"AM.{theirs}")
            if ours in self._traded or "*" in self._traded:
                topics.add(f"T.{theirs}")
            elif self._with_seconds:
                topics.add(f"A.{theirs}")
            if self._with_quotes:
                topics.add(f"Q.{theirs}")
        self._socket.subscribe(frozenset(topics))

    def due(self, now_ms: int) -> list[LiveBar]:
        """See :class:`MinuteBook`; none while what a minute lacks may have gone to nobody."""
        if self._is_over or self._reads != self._connections or not self._is_begun:
            return []
        return [_live(bar, now_ms) for bar in self._book.due(now_ms)]

    def read(self, payload: tuple[int, str | bytes], at: float) -> Reading:
        """The events of a frame."""
        connection, frame = payload
        if connection != self._reads:
            self._reads, self._is_begun = connection, False
        reading = Reading()
        try:
            events = json.loads(frame)
        except (ValueError, RecursionError):
            events = None
        if not isinstance(events, list):
            reading.refused.append((SOURCE, _unreadable(frame)))
            return reading
        at_ms = round(at * 1_000)
        for event in events:
            try:
                self._take(reading, event, at_ms)
            except (KeyError, TypeError, ValueError, OverflowError):
                reading.refused.append((SOURCE, _unreadable(json.dumps(event))))
        return reading

    def _take(self, reading: Reading, event: Mapping[str, Any], at_ms: int) -> None:
        kind = event["ev"]
        if kind == "AM":
            bar = self._bar(event)
            self._saw(reading, _moment(event["e"]))
            reading.bars += [_live(found, at_ms) for found in self._book.minute(bar)]
        elif kind == "A":
            bar = self._bar(event)
            self._saw(reading, bar.start + SECOND_MS)
            reading.bars += [_live(found, at_ms) for found in self._book.second(bar)]
        elif kind == "T":
            trade = Trade(
                self._symbol(event["sym"]),
                _moment(event["t"]),
                float(event["p"]),
                float(event.get("ds") or event["s"]),
                event.get("c") or (),
                int(event.get("q", 0)),
            )
            self._saw(reading, trade.time)
            reading.bars += [_live(found, at_ms) for found in self._book.trade(trade)]
        elif kind == "Q":
            quote = {"bid": event["bp"], "bid_size": event["bs"], "ask": event["ap"], "ask_size": event["as"]}
            reading.quotes[self._symbol(event["sym"])] = json.dumps({**quote, "timestamp": event["t"] / 1_000})
            self._saw(reading, _moment(event["t"]))

    def _saw(self, reading: Reading, time_ms: int) -> None:
        if not self._is_begun:
            # what came before in this minute went to nobody
            self._is_begun = True
            self._book.begin(time_ms - time_ms % -MINUTE_MS)
        reading.n_events += 1
        reading.newest_ms = max(reading.newest_ms, time_ms)

    def _bar(self, event: Mapping[str, Any]) -> MinuteBar:
        return MinuteBar(
            self._symbol(event["sym"]),
            _moment(event["s"]),
            *(_number(event.get(name)) for name in ("o", "h", "l", "c", "v")),
        )

    def _symbol(self, theirs: str) -> str:
        found = self._symbols.get(theirs)
        return normalise_symbol(theirs) if found is None else found


class _NumberedLine:
    """A line whose messages carry the number of their connection: those of the one before may still be unread."""

    def __init__(self, line: Line, number: int) -> None:
        self._line = line
        self._number = number
        self.opened = line.opened
        self.warned = line.warned

    async def heard(self, payload: Any) -> None:
        await self._line.heard((self._number, payload))


def _live(bar: MinuteBar, at_ms: int) -> LiveBar:
    latency = at_ms - bar.start - MINUTE_MS
    return LiveBar(
        bar.symbol,
        Timeframe.MINUTE,
        bar.start * 1_000,
        bar.open,
        bar.high,
        bar.low,
        bar.close,
        bar.volume,
        SOURCE,
        # what is played again from long ago has no latency
        ingestion_latency_ms=float(latency) if 0 <= latency <= _LONGEST_LATENCY_MS else None,
    )


def _moment(value: Any) -> int:
    """Unix milliseconds.

    Raises
    ------
    ValueError
        If it lies beyond what a market can tell of.
    """
    if not 0 <= value < _LATEST_MS:
        raise ValueError("no moment of this age")
    return int(value)


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else _NAN


def _unreadable(raw: str | bytes) -> RefusedBar:
    text = raw.decode("utf-8", errors="replace") if isinstance(raw, bytes) else raw
    return RefusedBar("", Timeframe.MINUTE, "", "the message cannot be read", {"message": text[:_RAW_SHOWN]})
