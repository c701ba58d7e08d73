"""Whether two series are the same to the last bit."""

import numpy as np

from tickstock_pipeline.market.bar import Bars


def assert_same_bars(one: Bars, other: Bars) -> None:
    """Fail, naming the column and its first differences, unless every column has the same type and values."""
    assert (one.symbol, one.timeframe) == (other.symbol, other.timeframe)
    for name in ("time", "open", "high", "low", "close", "volume"):
        left, right = getattr(one, name), getattr(other, name)
        assert left.dtype == right.dtype, name
        np.testing.assert_array_equal(left, right, err_msg=name)
