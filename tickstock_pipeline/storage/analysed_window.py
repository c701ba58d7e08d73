"""What an analysis hands over to be stored: the results of one symbol and the span of time that they replace."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tickstock_pipeline.analysis import Analysis
from tickstock_pipeline.market.bar import FloatArray, TimeArray
from tickstock_pipeline.storage.instants import aware_all


@dataclass(frozen=True, slots=True)
class AnalysedWindow:
    """The results of one symbol for the bars from ``first_time`` to ``last_time``, both included.

    They replace all that is stored for that window; what the analysis says of other bars, its warm-up, is not stored.

    Attributes
    ----------
    analysis : of split-adjusted bars, warm-up included
    divisors : (n_bars,) float64, ``price_divisors`` of these bars: adjusted * divisor = as traded
    instants : (n_bars,) datetime64[us] UTC, the ``detection_timestamp`` of a detection at each bar
    first_time, last_time : bar times, as in ``Bars.time``; may reach beyond the bars
    """

    analysis: Analysis
    divisors: FloatArray
    instants: TimeArray
    first_time: np.datetime64
    last_time: np.datetime64

    @property
    def symbol(self) -> str:
        """Whose results."""
        return self.analysis.bars.symbol

    @property
    def stored(self) -> slice:
        """The positions of the bars in the window."""
        time = self.analysis.bars.time
        return slice(
            int(np.searchsorted(time, self.first_time)), int(np.searchsorted(time, self.last_time, side="right"))
        )


WINDOWS = (
    "SELECT * FROM unnest(cast(:window_symbols AS text[]), cast(:window_first AS timestamptz[]),"
    " cast(:window_last AS timestamptz[])) AS replaced (symbol, first_time, last_time)"
)
"""The windows as a query; its parameters are :func:`window_parameters`."""


def window_parameters(items: Sequence[AnalysedWindow]) -> dict[str, Any]:
    """The parameters of :data:`WINDOWS`."""
    bounds = np.array([[item.first_time, item.last_time] for item in items], "datetime64[us]")
    return {
        "window_symbols": [item.symbol for item in items],
        "window_first": aware_all(bounds[:, 0]),
        "window_last": aware_all(bounds[:, 1]),
    }
