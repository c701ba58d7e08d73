"""The columns of a series as the C engine takes them: contiguous float64, finite, converted at most once."""

from functools import cached_property

import numpy as np

from tickstock_pipeline.market.bar import Bars, FloatArray

PRICE_COLUMNS = ("open", "high", "low", "close")


class Inputs:
    """Columns of ``bars`` by name; a column that is contiguous float64 already is passed on without a copy.

    Raises
    ------
    ValueError
        If a price is not finite: TA-Lib's answer to it is undefined, and it must have been refused at the door.
    """

    def __init__(self, bars: Bars) -> None:
        self.bars = bars
        self._prices: dict[str, FloatArray] = {
            name: np.ascontiguousarray(getattr(bars, name), np.float64) for name in PRICE_COLUMNS
        }
        for name, column in self._prices.items():
            finite = np.isfinite(column)
            if not finite.all():
                first = int(np.argmin(finite))
                raise ValueError(
                    f"{bars.symbol} {bars.timeframe}: {name} of the bar {bars.time[first]} is {column[first]}; "
                    "bars must be validated before they are analysed"
                )

    def __len__(self) -> int:
        return len(self.bars)

    def column(self, name: str) -> FloatArray:
        """``open``, ``high``, ``low``, ``close`` or ``volume``: (n_bars,) float64.

        Raises
        ------
        KeyError
            If there is no such column.
        """
        return self.volume if name == "volume" else self._prices[name]

    @cached_property
    def volume(self) -> FloatArray:
        """(n_bars,) float64 shares."""
        return np.ascontiguousarray(self.bars.volume, np.float64)
