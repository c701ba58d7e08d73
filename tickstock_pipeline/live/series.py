"""A series followed live: each new bar gives what a batch run over all bars from the anchor on would give for it.

1. A series is replayed from its anchor, the first bar of its batch, and goes on from there. Nothing of it is stored: a
   process that starts again replays. The same first bar, so the same bits.
2. While there are too few bars to open all streaming handles, they are analysed as a batch, which costs little then.
3. From then on handles and followed patterns take in one bar at a time. A checkpoint of them, some bars old, and the
   bars since are kept: for a bar that is sent again, or late, the series goes back to it and comes forward again. What
   is older than the checkpoint needs a replay.
4. A bar that the engine rejects may leave a handle torn. The series goes back by the same way: it is as it was before.
"""

import math
import zlib
from array import array
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np

from tickstock_pipeline.analysis import analyse
from tickstock_pipeline.indicators.inputs import PRICE_COLUMNS, Inputs
from tickstock_pipeline.live.bar import Bar, RecentBars, each_bar
from tickstock_pipeline.live.marked import MarkedBar, graded_marks
from tickstock_pipeline.live.plan import LivePlan
from tickstock_pipeline.live.state import Advance, Checkpoint, StreamingState
from tickstock_pipeline.market.bar import Bars, FloatArray
from tickstock_pipeline.patterns.detections import Detections
from tickstock_pipeline.patterns.measures import WINDOW_BARS

CHECKPOINT_BARS = 64
"""Bars between two checkpoints: the oldest bar that can be revised is at most so many bars old."""


class LiveResult(NamedTuple):
    """The analysis of one bar.

    Attributes
    ----------
    values : (n_outputs,) float64, in the order of the definition set's outputs; NaN = no value
    detections : one of length 1 for each pattern detected at this bar, in the order of the definitions; ``index`` is
        the position of the bar, counted from the anchor
    """

    values: FloatArray
    detections: tuple[Detections, ...]


class LiveSeries:
    """One symbol in one timeframe, followed bar by bar; made by :meth:`replayed`.

    Attributes
    ----------
    symbol : whose bars these are
    plan : how its definitions are followed
    """

    __slots__ = ("_checkpoint", "_checkpoint_at", "_next_checkpoint", "_recent", "_state", "plan", "symbol")

    def __init__(self, symbol: str, plan: LivePlan, recent: RecentBars, state: StreamingState | None) -> None:
        self.symbol = symbol
        self.plan = plan
        self._recent = recent
        self._state = state
        # Without a checkpoint all bars are held, and the state can be opened again at any of them.
        self._checkpoint: Checkpoint | None = None
        self._checkpoint_at = 0
        self._next_checkpoint = recent.end

    @classmethod
    def replayed(cls, bars: Bars, plan: LivePlan) -> Self:
        """The series past ``bars``.

        Parameters
        ----------
        bars : closed, split-adjusted, all from the anchor on; may be empty
        plan : of the same timeframe; one for all series

        Raises
        ------
        ValueError
            If the timeframes differ or a price is not finite.
        """
        if bars.timeframe != plan.definitions.timeframe:
            raise ValueError(
                f"{bars.timeframe} bars of {bars.symbol} with the definitions of {plan.definitions.timeframe}"
            )
        # The newest bar comes as an update, after the checkpoint, so that it can be revised.
        history = bars[:-1]
        state = _opened(history, plan)
        # Not all bars first and the newest in their place then: what stays would stand in the way of their memory.
        first = 0 if state is None or plan.needs_history else max(0, len(history) - WINDOW_BARS)
        series = cls(bars.symbol, plan, RecentBars(history[first:], first), state)
        for bar in each_bar(bars[-1:]):
            series.update(bar)
            # Series that start together must not all take their checkpoints at the same bar.
            series._next_checkpoint = len(bars) + zlib.crc32(bars.symbol.encode()) % CHECKPOINT_BARS
        return series

    def __len__(self) -> int:
        """The number of bars since the anchor, it included."""
        return self._recent.end

    @property
    def newest_time(self) -> int:
        """Time of the newest bar; earlier than any bar can be where there is none."""
        return self._recent.newest_time

    def bars_since(self, time: int, *, before: int = 0) -> Bars:
        """The bars from ``time`` on and up to ``before`` earlier ones, as far as they are held.

        What can be revised is held, and some bars more.
        """
        start = max(self._position_of(time) - before - self._recent.first, 0)
        return self._all_bars()[start:]

    def update(self, bar: Bar) -> LiveResult:
        """Take in the next bar. For many series at once, :func:`update_many` is faster.

        Raises
        ------
        ValueError
            If the bar is not newer than the newest one, or a price is not finite; the series is as it was before.
        """
        return update_many([self], [bar])[0]

    def can_revise(self, time: int) -> bool:
        """Whether a bar of this time can be given to :meth:`revise`: the newest one always can."""
        return len(self) > 0 and self._recent.newest_time >= time and self._position_of(time) >= self._checkpoint_at

    def revise(self, bar: Bar) -> tuple[LiveResult, ...]:
        """Put a bar in the place of the one with its time, or between two others; the newest can always be revised.

        Returns
        -------
        The analysis of this bar and of all bars after it, oldest first.

        Raises
        ------
        ValueError
            If a price is not finite, or the bar is newer than the newest one, or so old that the series must be
            replayed; the series is as it was before.
        """
        _check(self, bar)
        if not self.can_revise(bar.time):
            raise ValueError(f"{self.symbol}: a bar of {_written(bar.time)} cannot be revised; replay from the anchor")
        position = self._position_of(bar.time)
        before = self._rewind(position)
        after = before[1:] if before and before[0].time == bar.time else before
        try:
            return tuple(self.update(each) for each in (bar, *after))
        except Exception:
            self._rewind(position)
            for each in before:
                self.update(each)
            raise

    def _position_of(self, time: int) -> int:
        return self._recent.position_of(time)

    def _all_bars(self) -> Bars:
        return self._recent.as_bars(self.symbol, self.plan.definitions.timeframe)

    def _rewind(self, position: int) -> list[Bar]:
        """Go back to before the bar at ``position``; the bars from there on, oldest first."""
        if self._checkpoint is None:
            removed = self._recent.cut(position)
            self._state = _opened(self._all_bars(), self.plan)
            return removed
        removed = self._recent.cut(self._checkpoint_at)
        self._state = self._checkpoint.restored()
        kept = position - self._checkpoint_at
        for bar in removed[:kept]:
            self._state.advance(bar, self._recent.end)
            self._recent.append(bar)
        return removed[kept:]

    def _take_checkpoint(self, state: StreamingState) -> None:
        self._checkpoint = state.checkpoint()
        self._checkpoint_at = self._recent.end
        self._next_checkpoint = self._recent.end + CHECKPOINT_BARS
        if not self.plan.needs_history:
            self._recent.drop_before(self._checkpoint_at - WINDOW_BARS)

    def _take(self, bar: Bar) -> Advance | None:
        """Let the state take in the next bar; None where there is none yet."""
        state, position = self._state, self._recent.end
        if state is not None and position >= self._next_checkpoint:
            self._take_checkpoint(state)
        try:
            self._recent.append(bar)
            return state.advance(bar, position) if state is not None else None
        except Exception:
            self._rewind(position)
            raise

    def _analysed(self) -> LiveResult:
        """The newest bar's analysis as a batch of all bars; the state is opened when there are enough of them."""
        analysis = analyse(self._all_bars(), self.plan.definitions)
        newest = len(analysis.bars) - 1
        found = (detections[detections.index == newest] for detections in analysis.detections)
        self._state = _opened(self._all_bars(), self.plan)
        return LiveResult(analysis.values[-1].copy(), tuple(detections for detections in found if len(detections)))

    @property
    def _has_more_to_do(self) -> bool:
        return self._recent.end < self.plan.latest_min_bars or self.plan.needs_history

    def _completed(self, values: FloatArray, detections: list[tuple[int, Detections]]) -> LiveResult:
        """The newest bar's analysis, from what streaming gives; both are changed in place."""
        plan, n_bars = self.plan, self._recent.end
        if plan.needs_history:
            detections += self._batch_only(values)
        if n_bars < plan.latest_min_bars:
            values[plan.min_bars > n_bars] = np.nan
        if len(detections) > 1:
            detections.sort(key=_definition_of)
        return LiveResult(values, tuple([detection for _, detection in detections]))

    def _batch_only(self, values: FloatArray) -> list[tuple[int, Detections]]:
        """Results that have a batch form only: values are written to their columns, detections returned."""
        inputs = Inputs(self._all_bars())
        values[self.plan.batch_columns] = self.plan.batch_indicators.run(inputs)[-1]
        program = self.plan.batch_patterns
        (found,) = program.found([program.recognised(inputs)])
        newest = [detections[detections.index == len(inputs) - 1] for detections in found]
        return [(at, one) for at, one in zip(self.plan.batch_positions, newest, strict=True) if len(one)]


def update_many(series: Sequence[LiveSeries], bars: Sequence[Bar]) -> list[LiveResult]:
    """Take in the next bar of each of many series, such as those that close a bar at the same instant.

    Parameters
    ----------
    series : of one plan, none twice
    bars : one for each

    Returns
    -------
    One result for each, as :meth:`LiveSeries.update` gives it.

    Raises
    ------
    ValueError
        If a bar is not newer than its series' newest one, or a price is not finite; all series are as they were before.
    """
    if not series:
        return []
    plan = series[0].plan
    for one, bar in zip(series, bars, strict=True):
        _check(one, bar)
        if bar.time <= one._recent.newest_time:
            raise ValueError(f"{one.symbol}: the bar of {_written(bar.time)} is not newer than the newest one")
        if one.plan is not plan:
            raise ValueError(f"{one.symbol} follows another plan than {series[0].symbol}")
    results: list[LiveResult | None] = [None] * len(series)
    places, marked, found = [], [], {}
    # In numbers, not in objects, of which a thousand series would leave more than their state takes
    streamed = array("d")
    for place, (one, bar) in enumerate(zip(series, bars, strict=True)):
        advance = one._take(bar)
        if advance is None:
            continue
        values, marks, detections = advance
        places.append(place)
        streamed.fromlist(values)
        if any(marks):
            marked.append(MarkedBar(place, one._recent, marks))
        if detections:
            found[place] = detections
    detected = graded_marks(plan, marked)
    for place, detections in found.items():
        detected.setdefault(place, []).extend(detections)
    for place, row in zip(places, _matrix(plan, streamed, len(places)), strict=True):
        if place in detected or series[place]._has_more_to_do:
            results[place] = series[place]._completed(row, detected.get(place, []))
        else:
            results[place] = LiveResult(row, ())
    return [one._analysed() if result is None else result for one, result in zip(series, results, strict=True)]


def _opened(bars: Bars, plan: LivePlan) -> StreamingState | None:
    """The state past all bars from the anchor on, if there are enough of them."""
    return StreamingState.opened(plan, bars) if len(bars) >= max(plan.bars_to_open, 1) else None


def _matrix(plan: LivePlan, streamed: "array[float]", n_rows: int) -> FloatArray:
    """(n_rows, n_outputs) float64 of what the plan's calls yielded; no infinity, as in a batch."""
    values = np.full((n_rows, len(plan.min_bars)), np.nan)
    values[:, plan.columns] = np.array(streamed).reshape(n_rows, len(plan.columns))
    infinite = np.isinf(values)
    if infinite.any():
        values[infinite] = np.nan
    return values


def _definition_of(found: tuple[int, Detections]) -> int:
    return found[0]


def _check(series: LiveSeries, bar: Bar) -> None:
    # Nothing that is not finite may reach the engine. A sum is finite only if all of it is.
    _, open_, high, low, close, _ = bar
    if math.isfinite(open_ + high + low + close):
        return
    for name in PRICE_COLUMNS:
        price = getattr(bar, name)
        if not math.isfinite(price):
            raise ValueError(f"{series.symbol}: {name} of the bar of {_written(bar.time)} is {price}")


def _written(time: int) -> str:
    return str(np.datetime64(time, "us"))
