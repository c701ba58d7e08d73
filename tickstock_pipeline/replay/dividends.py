"""Dividends in prices, as some providers put them: their "adjusted close"."""

from collections.abc import Iterable

import numpy as np

from tickstock_pipeline.market.adjustment import Dividend
from tickstock_pipeline.market.bar import Bars, FloatArray


def dividend_factors(bars: Bars, dividends: Iterable[Dividend]) -> FloatArray:
    """What to multiply each close by, so that returns include the dividends.

    Parameters
    ----------
    bars : daily, as traded
    dividends : of the same symbol, in any order; one without a bar before it counts for nothing

    Returns
    -------
    (n_bars,) float64: the product, over later dividends, of 1 - amount / close of the day before.

    References
    ----------
    Center for Research in Security Prices, the method that Yahoo names for its adjusted close.
    """
    factors = np.ones(len(bars))
    days = bars.time.astype("datetime64[D]")
    for dividend in dividends:
        position = int(np.searchsorted(days, np.datetime64(dividend.ex_date)))
        if position:
            factors[:position] *= 1.0 - dividend.amount / bars.close[position - 1]
    return factors
