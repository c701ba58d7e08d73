"""Bars on their way into an answer, and what a fault does to them there."""

from typing import NamedTuple, Self

import numpy as np

from tickstock_pipeline.market.bar import Bars, FloatArray, IntArray, TimeArray
from tickstock_pipeline.replay.faults import Fault, FaultKind


class Rows(NamedTuple):
    """Columns of an answer: as :class:`Bars`, but in any order, with keys twice, or with values that are wrong."""

    time: TimeArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: IntArray | FloatArray

    @classmethod
    def of(cls, bars: Bars) -> Self:
        """The rows of good bars."""
        return cls(bars.time, bars.open, bars.high, bars.low, bars.close, bars.volume)

    def at(self, index: IntArray | slice) -> Self:
        """Some of the rows, in the order given."""
        return type(self)(
            self.time[index],
            self.open[index],
            self.high[index],
            self.low[index],
            self.close[index],
            self.volume[index],
        )

    @property
    def n_rows(self) -> int:
        """How many rows there are."""
        return len(self.time)


def spoilt(rows: Rows, fault: Fault | None) -> Rows:
    """The rows as the fault leaves them; a fault that is not about rows leaves them as they are."""
    if fault is None or not rows.n_rows:
        return rows
    last = rows.n_rows - 1
    middle = rows.n_rows // 2
    match fault.kind:
        case FaultKind.EMPTY:
            return rows.at(slice(0, 0))
        case FaultKind.TRUNCATED:
            return rows.at(slice(0, middle))
        case FaultKind.DUPLICATES:
            return rows.at(np.sort(np.concatenate((np.arange(rows.n_rows), [0, middle, last]))))
        case FaultKind.OUT_OF_ORDER:
            return rows.at(np.random.default_rng(rows.n_rows).permutation(rows.n_rows))
        case FaultKind.BAD_OHLC:
            high, low = rows.high.copy(), rows.low.copy()
            # a whole unit apart, so that rounding on the way cannot mend it
            high[middle], low[middle] = rows.low[middle], rows.high[middle] + 1.0
            return rows._replace(high=high, low=low)
        case FaultKind.FRACTIONAL_VOLUME:
            return rows._replace(volume=np.asarray(rows.volume + 0.25, np.float64))
        case _:
            return rows
