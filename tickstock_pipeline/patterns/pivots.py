"""Pivots: the highs and lows at which prices turned by a number of average true ranges.

1. A leg runs up or down. Its extreme so far, the highest high or the lowest low, is the candidate of the next pivot.
2. The candidate becomes a pivot at the first later bar that comes back from it further than the bars between, and by
   at least ``reversal`` average true ranges of that bar. The pivot is known at that bar, never before: whoever reads
   it at the extreme looks ahead.
3. That bar is the first candidate of the next leg.
4. A bar that sets a new extreme and comes back far enough as well confirms nothing: what came first is not known.
5. The first leg runs from the earlier to the later extreme, as soon as a new one is ``reversal`` from the other.

Highs and lows alternate. Which pivots there are depends on the path of prices from the first bar given: that is the
anchor, as it is for recursive indicators. Mirrored prices have mirrored pivots.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from math import inf
from operator import attrgetter
from typing import Any, NamedTuple

RECENT_PIVOTS = 12
"""Pivots that a formation may look back on."""
HIGH, LOW = 1, -1
_known_at = attrgetter("known_at")


class Pivot(NamedTuple):
    """A turn of prices.

    Attributes
    ----------
    at : position of the bar with the extreme
    price : the high or the low of that bar
    kind : :data:`HIGH` or :data:`LOW`
    known_at : position of the bar that confirmed it
    """

    at: int
    price: float
    kind: int
    known_at: int


class PivotTracker:
    """Pivots of one series, bar by bar or many bars at once: the same loop, so the same pivots.

    Parameters
    ----------
    reversal : average true ranges, > 0
    keeps_all : whether to keep every pivot; otherwise the last :data:`RECENT_PIVOTS`

    Attributes
    ----------
    pivots : those kept, oldest first
    known_at : position of the bar that confirmed the newest one; -1: there is none
    """

    __slots__ = ("_keeps_all", "_kind", "_last", "_last_at", "_turn", "_turn_at", "known_at", "pivots", "reversal")

    def __init__(self, reversal: float, *, keeps_all: bool = False) -> None:
        self.reversal = reversal
        self.pivots: list[Pivot] = []
        self.known_at = -1
        self._keeps_all = keeps_all
        # What the running leg ends in if it ends now: HIGH or LOW; 0 before the first leg.
        self._kind = 0
        # The leg's candidate, and the furthest that prices came back from it: both times their kind. Before the first
        # leg: the highest high and the lowest low.
        self._last, self._last_at = -inf, -1
        self._turn, self._turn_at = inf, -1

    def recent(self) -> Sequence[Pivot]:
        """The newest :data:`RECENT_PIVOTS`, oldest first."""
        return self.pivots[-RECENT_PIVOTS:]

    def state(self) -> tuple[object, ...]:
        """What it takes to come back to this bar."""
        return (self._kind, self._last, self._last_at, self._turn, self._turn_at, self.known_at, *self.recent())

    def restore(self, state: tuple[Any, ...]) -> None:
        """Come back to the bar at which :meth:`state` was asked for."""
        self._kind, self._last, self._last_at, self._turn, self._turn_at, self.known_at, *self.pivots = state

    def each(self, kind: int, first: int) -> Iterator[tuple[int, Sequence[Pivot]]]:
        """Bars at which pivots kept became known, oldest first, with the newest :data:`RECENT_PIVOTS` known then.

        Parameters
        ----------
        kind : of these pivots; 0: either
        first : bars before this one are passed over
        """
        pivots = self.pivots
        begin, step = bisect_left(pivots, first, key=_known_at), 1
        if kind and begin < len(pivots):
            # They alternate
            begin, step = begin + (pivots[begin].kind != kind), 2
        for position in range(begin, len(pivots), step):
            yield pivots[position].known_at, pivots[max(0, position + 1 - RECENT_PIVOTS) : position + 1]

    def advance(self, first: int, high: Sequence[float], low: Sequence[float], atr: Sequence[float]) -> None:
        """Take the next bars in.

        Parameters
        ----------
        first : position of the first of them
        high, low, atr : of each; no leg begins or ends at a bar whose average true range is NaN or zero
        """
        reversal, kind = self.reversal, self._kind
        last, last_at, turn = self._last, self._last_at, self._turn
        for at, top, bottom, unit in zip(range(first, first + len(high)), high, low, atr, strict=True):
            if kind == HIGH:
                ahead, behind = top, bottom
            elif kind == LOW:
                ahead, behind = -bottom, -top
            else:
                if unit > 0.0 and self._start(at, top, bottom, unit):
                    kind, last, last_at, turn = self._kind, self._last, self._last_at, inf
                continue
            if ahead > last:
                last, last_at, turn = ahead, at, inf
            elif behind < turn:
                turn = behind
                if unit > 0.0 and last - behind >= reversal * unit:
                    self._add(Pivot(last_at, kind * last, kind, at))
                    kind, last, last_at, turn = -kind, -behind, at, inf
        if kind:
            self._kind, self._last, self._last_at, self._turn = kind, last, last_at, turn

    def _start(self, at: int, top: float, bottom: float, unit: float) -> bool:
        is_highest, is_lowest = top > self._last, bottom < self._turn
        if is_highest:
            self._last, self._last_at = top, at
        if is_lowest:
            self._turn, self._turn_at = bottom, at
        if is_highest == is_lowest or self._last - self._turn < self.reversal * unit:
            return False
        if is_highest:
            self._add(Pivot(self._turn_at, self._turn, LOW, at))
            self._kind, self._last = HIGH, top
        else:
            self._add(Pivot(self._last_at, self._last, HIGH, at))
            self._kind, self._last = LOW, -bottom
        self._last_at = at
        return True

    def _add(self, pivot: Pivot) -> None:
        self.pivots.append(pivot)
        self.known_at = pivot.known_at
        if not self._keeps_all and len(self.pivots) > RECENT_PIVOTS:
            del self.pivots[0]
