"""Formations that are followed from bar to bar: set up at one bar, completed, given up or out of date at a later one.

1. A watch begins a setup where its formation may have taken shape: mostly at the bar that confirms a pivot.
2. From that bar on it advances bar by bar until the formation is completed, which is the detection, or can no longer
   be. A setup is completed at most once. A newer setup takes an older one's place.
3. Live, that happens at every new bar. A batch does the same steps, and jumps over the bars at which nothing is open or
   that leave an open setup as it is.

So batch and live cannot differ: they are one program.

Formations are written for one side only, tops; ``side`` is -1 for the mirrored one, and prices times ``side`` make the
same formation of it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import nan
from typing import Any, ClassVar, Generic, TypeVar

from tickstock_pipeline.indicators.parameters import Parameter, Parameters
from tickstock_pipeline.patterns.confidence import graded, mean_of_four
from tickstock_pipeline.patterns.detections import Detection, Detections, in_columns
from tickstock_pipeline.patterns.function import PatternFunction
from tickstock_pipeline.patterns.grading import CONFIRMING_VOLUME
from tickstock_pipeline.patterns.measures import WINDOW_BARS, Measures
from tickstock_pipeline.patterns.pivots import Pivot, PivotTracker
from tickstock_pipeline.patterns.series import CompleteSeries, LiveSeries, Series

_Setup = TypeVar("_Setup")


class Watch(ABC, Generic[_Setup]):
    """One formation on one side, followed through one series.

    Attributes
    ----------
    setup : the one that is open
    tracker : whose new pivots its setups begin with; None: they may begin at any bar
    """

    __slots__ = ("setup", "tracker")

    def __init__(self) -> None:
        self.setup: _Setup | None = None
        self.tracker: PivotTracker | None = None

    @abstractmethod
    def attach(self, bars: Series) -> None:
        """Look at this series from now on."""

    @abstractmethod
    def starts(self, bars: CompleteSeries, first: int) -> Iterable[tuple[int, Sequence[Pivot]]]:
        """All arguments of :meth:`begin` from bar ``first`` on, oldest first."""

    @abstractmethod
    def start_now(self, bars: Series) -> Sequence[Pivot] | None:
        """The pivots to begin with if a setup may begin at the newest bar."""

    @abstractmethod
    def begin(self, bars: Series, at: int, pivots: Sequence[Pivot]) -> _Setup | None:
        """A new setup, if the formation has taken shape at bar ``at``; ``pivots`` are the newest known there."""

    @abstractmethod
    def advance(self, setup: _Setup, bars: Series, at: int) -> Detection | None:
        """See what bar ``at`` does to the open setup, and close it where that ends it."""

    def state(self) -> _Setup | None:
        """The open setup, as nothing that happens later changes it."""
        return self.setup

    def pause(self, setup: _Setup, bars: Series, at: int, end: int) -> int:
        """The first bar from ``at`` on that :meth:`advance` must see, ``end`` if it can pass over all before that.

        At the bars between, it would find nothing and leave the setup as it is; one bar too early does no harm.
        """
        return at


class PivotWatch(Watch[_Setup]):
    """A watch whose setups begin at the confirmation of a pivot.

    Parameters
    ----------
    parameters : of the pattern; ``reversal`` is what makes a pivot, in average true ranges
    side : -1 for the mirrored formation

    Attributes
    ----------
    kind : of the pivot that a setup begins with, where the formation is not mirrored; 0: either
    """

    __slots__ = ("_kind", "_parameters", "_side")

    kind: ClassVar[int]

    def __init__(self, parameters: Parameters, side: int = 1) -> None:
        super().__init__()
        self._parameters = parameters
        self._side = side
        self._kind = side * self.kind

    def attach(self, bars: Series) -> None:
        """See :meth:`Watch.attach`."""
        self.tracker = bars.pivots(self._parameters["reversal"])

    def starts(self, bars: CompleteSeries, first: int) -> Iterator[tuple[int, Sequence[Pivot]]]:
        """See :meth:`Watch.starts`."""
        return bars.pivots(self._parameters["reversal"]).each(self._kind, first)

    def start_now(self, bars: Series) -> Sequence[Pivot] | None:
        """See :meth:`Watch.start_now`."""
        tracker = self.tracker
        if tracker is None or tracker.known_at != bars.length - 1 or self._kind not in (0, tracker.pivots[-1].kind):
            return None
        return tracker.recent()


def replay(watch: Watch[Any], bars: CompleteSeries, first: int = 0) -> list[tuple[int, Detection]]:
    """Follow a formation through a series; the watch is then as if each bar had been its newest one.

    Parameters
    ----------
    watch : a new one
    first : setups begun before this bar are passed over
    """
    watch.attach(bars)
    found: list[tuple[int, Detection]] = []
    at = 0
    for start, pivots in watch.starts(bars, first):
        if watch.setup is not None:
            _advance(watch, bars, at, start, found)
        watch.setup = watch.begin(bars, start, pivots) or watch.setup
        at = start
    _advance(watch, bars, at, bars.length, found)
    return found


def _advance(watch: Watch[Any], bars: Series, at: int, end: int, found: list[tuple[int, Detection]]) -> None:
    while watch.setup is not None:
        at = watch.pause(watch.setup, bars, at, end)
        if at >= end:
            return
        detection = watch.advance(watch.setup, bars, at)
        if detection is not None:
            found.append((at, detection))
        at += 1


class LiveWatches:
    """The watches of one pattern in one live series, past its history."""

    __slots__ = ("_first", "_series", "_watches")

    def __init__(self, series: LiveSeries, watches: Sequence[Watch[Any]], first: int) -> None:
        self._series = series
        self._watches = watches
        self._first = first
        history = series.complete_history()
        for watch in watches:
            replay(watch, history)
            watch.attach(series)

    def update(self) -> Detection | None:
        """See :meth:`LivePattern.update`."""
        best: Detection | None = None
        series = self._series
        at = series.length - 1
        for watch in self._watches:
            tracker = watch.tracker
            # Most bars confirm no pivot
            if tracker is None or tracker.known_at == at:
                pivots = watch.start_now(series)
                if pivots is not None:
                    watch.setup = watch.begin(series, at, pivots) or watch.setup
            if watch.setup is not None:
                detection = watch.advance(watch.setup, series, at)
                if detection is not None:
                    best = detection if best is None else _clearer(best, detection)
        return best if at >= self._first else None

    def state(self) -> tuple[object, ...]:
        """See :meth:`LivePattern.state`."""
        return tuple([watch.state() for watch in self._watches])

    def restore(self, state: tuple[Any, ...]) -> None:
        """See :meth:`LivePattern.restore`."""
        for watch, setup in zip(self._watches, state, strict=True):
            watch.setup = setup
            # A second return to the same state must not find this setup changed
            watch.setup = watch.state()


def _clearer(one: Detection, other: Detection) -> Detection:
    return other if other.confidence > one.confidence else one


@dataclass(frozen=True, slots=True)
class WatchedPattern:
    """A pattern made of watches.

    Attributes
    ----------
    name : the pattern's
    watches : parameters → one watch a side, for one series
    bars_needed : parameters → bars up to and with that of the earliest detection
    levels, context : names that its detections have
    longest : parameters → bars from the beginning of a setup to the last at which it can be open
    history : parameters → bars of a live series that the watches read
    """

    name: str
    watches: Callable[[Parameters], Sequence[Watch[Any]]]
    bars_needed: Callable[[Parameters], int]
    levels: tuple[str, ...]
    context: tuple[str, ...]
    longest: Callable[[Parameters], int] = lambda parameters: int(parameters["max_bars"]) + 1
    history: Callable[[Parameters], int] = lambda parameters: WINDOW_BARS

    def detect(self, measures: Measures, parameters: Parameters) -> Detections:
        """All detections in a series; at a bar where two sides are completed, the clearer one."""
        best: dict[int, Detection] = {}
        for watch in self.watches(parameters):
            # A setup from before that is no longer open at the first bar asked for
            for at, detection in replay(watch, measures.series, measures.first - self.longest(parameters)):
                best[at] = _clearer(best[at], detection) if at in best else detection
        first = max(self.bars_needed(parameters) - 1, measures.first)
        found = sorted((at, detection) for at, detection in best.items() if at >= first)
        return in_columns(self.name, found, self.levels, self.context)

    def live(self, series: LiveSeries, parameters: Parameters) -> LiveWatches:
        """The pattern in a live series."""
        series.hold(self.history(parameters))
        return LiveWatches(series, self.watches(parameters), self.bars_needed(parameters) - 1)

    def function(
        self,
        parameters: tuple[Parameter, ...],
        window: Callable[[Parameters], int] | None = None,
        rule: Callable[[Parameters], str | None] = lambda parameters: None,
    ) -> PatternFunction:
        """The registry's entry."""
        return PatternFunction(
            self.name, parameters, self.bars_needed, self.detect, live=self.live, window=window, rule=rule
        )


def levels(side: int, entry: float, stop: float, target: float) -> dict[str, float]:
    """Levels of a trade in the direction ``side``; NaN where a stop or a target would be on the wrong side of it."""
    return {
        "entry": entry,
        "stop": stop if stop > 0.0 and side * (entry - stop) > 0.0 else nan,
        "target": target if target > 0.0 and side * (target - entry) > 0.0 else nan,
    }


def furthest(side: int, bars: Series, at: int) -> float:
    """How far bar ``at`` went in the direction ``side``: its high or its low, times side."""
    return bars.high[at - bars.base] if side > 0 else -bars.low[at - bars.base]


def positive(price: float) -> float:
    """A price that is a level; NaN where a line has run below zero."""
    return price if price > 0.0 else nan


def completed(
    bars: Series,
    at: int,
    direction: int,
    first: int,
    form: tuple[float, float, float],
    prices: dict[str, float],
    context: dict[str, float],
) -> Detection:
    """The detection of a formation completed at bar ``at``.

    Parameters
    ----------
    direction : of the detection
    first : position of the formation's first bar
    form : three graded components; the fourth is relative volume
    prices : levels
    context : besides the relative volume
    """
    relative_volume = bars.relative_volume(at)
    return Detection(
        direction=direction,
        confidence=mean_of_four(*form, graded(relative_volume, 0.5, 2.0)),
        formation_bars=at - first + 1,
        volume_confirmed=relative_volume >= CONFIRMING_VOLUME,
        levels=prices,
        context={**context, "relative_volume": relative_volume},
    )
