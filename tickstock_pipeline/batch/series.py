"""The series that an analysis is fed: stored bars on the price scale of today, from their anchors on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.market.adjustment import adjusted_roll_up, price_divisors, split_adjusted
from tickstock_pipeline.market.bar import Bars, FloatArray
from tickstock_pipeline.market.calendar import TradingCalendar
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.bars import read_bars
from tickstock_pipeline.storage.splits import read_splits


@dataclass(frozen=True, slots=True)
class Series:
    """One symbol's bars, split-adjusted, and what turns each one's prices back into those as traded.

    Attributes
    ----------
    bars : adjusted, oldest first
    divisors : (n_bars,) float64; adjusted price * divisor = price as traded
    """

    bars: Bars
    divisors: FloatArray


def read_series(
    connection: sa.Connection,
    calendar: TradingCalendar,
    timeframe: Timeframe,
    symbols: Sequence[str],
    first: np.datetime64 | None,
    last: np.datetime64 | None,
) -> dict[str, Series]:
    """Adjusted series of ``symbols``.

    Parameters
    ----------
    first, last : first and last key, both included; None is open

    Returns
    -------
    An item for each symbol that has bars in the range.
    """
    splits = read_splits(connection, symbols)
    stored = read_bars(connection, timeframe, symbols, first, last)
    rolled_up: dict[str, Bars] = {}
    if timeframe in (Timeframe.WEEKLY, Timeframe.MONTHLY):
        # A bar that spans a split can only be made from adjusted days; without a split the stored bar is the same.
        split = [symbol for symbol in stored if splits[symbol]]
        days = read_bars(connection, Timeframe.DAILY, split)
        rolled_up = {s: adjusted_roll_up(bars, timeframe, splits[s], calendar) for s, bars in days.items()}
    found = {}
    for symbol, bars in stored.items():
        if symbol in rolled_up:
            # Only bars that are stored: a period without one is not finished, or not rolled up yet.
            adjusted = rolled_up[symbol][np.isin(rolled_up[symbol].time, bars.time)]
        elif timeframe in (Timeframe.WEEKLY, Timeframe.MONTHLY):
            if splits[symbol]:
                continue  # without its days there is no telling what a split did to a bar
            adjusted = bars
        else:
            adjusted = split_adjusted(bars, splits[symbol])
        found[symbol] = Series(adjusted, price_divisors(adjusted, splits[symbol]))
    return found
