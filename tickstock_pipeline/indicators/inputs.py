"""The columns of a series as the C engine takes them: contiguous float64, finite, converted at most once."""

from collections.abc import Sequence
from functools import cached_property
from typing import Self

import numpy as np

from tickstock_pipeline.market.bar import Bars, FloatArray, IntArray, TimeArray

PRICE_COLUMNS = ("open", "high", "low", "close")
_LARGEST_HARMLESS_PRICE = 1e140


class Inputs:
    """Columns of ``bars`` by name; a column that is contiguous float64 already is passed on without a copy.

    Attributes
    ----------
    time : (n_bars,) datetime64[us]; of a series only
    shares : (n_bars,) int64, the volume as it is counted
    prices : the other columns by name

    Raises
    ------
    ValueError
        If a price is not finite: TA-Lib's answer to it is undefined, and it must have been refused at the door.
    """

    time: TimeArray
    shares: IntArray
    prices: dict[str, FloatArray]

    def __init__(self, bars: Bars) -> None:
        self.time = bars.time
        self.shares = bars.volume
        self.prices = {name: np.ascontiguousarray(getattr(bars, name), np.float64) for name in PRICE_COLUMNS}
        for name, column in self.prices.items():
            finite = np.isfinite(column)
            if not finite.all():
                first = int(np.argmin(finite))
                raise ValueError(
                    f"{bars.symbol} {bars.timeframe}: {name} of the bar {bars.time[first]} is {column[first]}; "
                    "bars must be validated before they are analysed"
                )

    @classmethod
    def of_columns(cls, prices: Sequence[FloatArray], shares: IntArray) -> Self:
        """Bars of which only the columns matter, checked before.

        Parameters
        ----------
        prices : open, high, low and close, (n_bars,) float64 each, contiguous
        shares : (n_bars,) int64
        """
        inputs = cls.__new__(cls)
        inputs.shares = shares
        inputs.prices = dict(zip(PRICE_COLUMNS, prices, strict=True))
        return inputs

    @classmethod
    def joined(cls, series: Sequence["Inputs"]) -> Self:
        """Several series one after the other, for measures that look at single bars and at bounded windows."""
        return cls.of_columns(
            [np.concatenate([part.prices[name] for part in series]) for name in PRICE_COLUMNS],
            np.concatenate([part.shares for part in series]),
        )

    def __len__(self) -> int:
        return len(self.shares)

    def column(self, name: str) -> FloatArray:
        """``open``, ``high``, ``low``, ``close`` or ``volume``: (n_bars,) float64.

        Raises
        ------
        KeyError
            If there is no such column.
        """
        return self.volume if name == "volume" else self.prices[name]

    @property
    def columns(self) -> dict[str, FloatArray]:
        """All columns by name."""
        return {**self.prices, "volume": self.volume}

    @cached_property
    def may_overflow(self) -> bool:
        """Whether prices are so large that a product of two, or a sum of such, can be infinite."""
        return len(self) > 0 and float(self.prices["high"].max()) > _LARGEST_HARMLESS_PRICE

    @cached_property
    def volume(self) -> FloatArray:
        """(n_bars,) float64 shares."""
        return np.ascontiguousarray(self.shares, np.float64)
