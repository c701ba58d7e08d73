"""Splits, and prices as if all of them had already happened.

Bars are stored as traded; whoever analyses or draws them adjusts them here, at read time. Dividends do not belong
here: they adjust returns, never prices.

A weekly or monthly bar that spans a split mixes two price scales once it is rolled up from raw days, and no divisor
can put that right. Their analysis therefore reads daily bars, adjusts those, and rolls up: :func:`adjusted_roll_up`.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date

import numpy as np

from tickstock_pipeline.market.aggregation import roll_up
from tickstock_pipeline.market.bar import Bars, FloatArray, TimeArray
from tickstock_pipeline.market.calendar import TradingCalendar, exchange_date
from tickstock_pipeline.market.timeframe import Timeframe


@dataclass(frozen=True, slots=True)
class Split:
    """One split of a symbol's shares.

    Attributes
    ----------
    symbol : whose shares
    ex_date : the first session that trades at the new price
    ratio : new shares for each old one: 2.0 for 2:1, 0.1 for a reverse split of 1:10; finite, > 0
    """

    symbol: str
    ex_date: date
    ratio: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.ratio) and self.ratio > 0):
            raise ValueError(f"ratio of a split must be positive and finite, not {self.ratio}")


@dataclass(frozen=True, slots=True)
class Dividend:
    """One cash dividend.

    Attributes
    ----------
    symbol : on whose shares
    ex_date : the first session that trades without it
    amount : for one share as it was on that day, in the currency of the listing; finite, > 0
    """

    symbol: str
    ex_date: date
    amount: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.amount) and self.amount > 0):
            raise ValueError(f"amount of a dividend must be positive and finite, not {self.amount}")


def price_divisors(bars_or_days: Bars | TimeArray, splits: Iterable[Split]) -> FloatArray:
    """What to divide each bar's prices by, and to multiply its volume by.

    Parameters
    ----------
    bars_or_days : bars, of which an intraday one counts by its date on the exchange, or (n,) dates as datetime64
    splits : in any order; with bars, those of other symbols are ignored

    Returns
    -------
    (n,) float64, the product of the ratios whose ``ex_date`` is after the bar's date. For a weekly or monthly bar:
    after its key date, which turns a price on the adjusted scale into one as traded on that date.
    """
    if isinstance(bars_or_days, Bars):
        splits = [split for split in splits if split.symbol == bars_or_days.symbol]
        time = bars_or_days.time
        days = exchange_date(time) if bars_or_days.timeframe.is_intraday else time.astype("datetime64[D]")
    else:
        days = bars_or_days.astype("datetime64[D]")
    # sorted by ratio too, so that the product rounds the same in whatever order the splits come
    ordered = sorted(splits, key=lambda split: (split.ex_date, split.ratio))
    ex_dates = np.array([split.ex_date for split in ordered], "datetime64[D]")
    from_last: FloatArray = np.cumprod([1.0] + [split.ratio for split in reversed(ordered)], dtype=np.float64)
    divisors: FloatArray = from_last[len(ordered) - np.searchsorted(ex_dates, days, side="right")]
    return divisors


def split_adjusted(bars: Bars, splits: Iterable[Split]) -> Bars:
    """Bars on the price scale of today: prices divided, volumes multiplied and rounded to whole shares.

    Parameters
    ----------
    bars : 1min, hourly or daily, as traded
    splits : in any order; those of other symbols are ignored

    Raises
    ------
    ValueError
        If the bars are weekly or monthly, whether or not there is a split: see :func:`adjusted_roll_up`.
    """
    if bars.timeframe in (Timeframe.WEEKLY, Timeframe.MONTHLY):
        raise ValueError(f"{bars.timeframe.value} bars are rolled up from adjusted daily bars, not adjusted themselves")
    divisors = price_divisors(bars, splits)
    # float64 holds whole numbers up to 2**53 only, so volumes that no split touches stay as they are
    volume = np.where(divisors == 1.0, bars.volume, np.rint(bars.volume * divisors).astype(np.int64))
    return replace(
        bars,
        open=bars.open / divisors,
        high=bars.high / divisors,
        low=bars.low / divisors,
        close=bars.close / divisors,
        volume=volume,
    )


def adjusted_roll_up(daily: Bars, into: Timeframe, splits: Iterable[Split], calendar: TradingCalendar) -> Bars:
    """Weekly or monthly bars on the price scale of today, right also where a split lies inside one.

    Parameters
    ----------
    daily : as traded, whole periods
    into : weekly or monthly
    splits : in any order; those of other symbols are ignored
    calendar : decides the periods

    Raises
    ------
    ValueError
        If ``into`` is not derived from the timeframe of ``daily``.
    """
    return roll_up(split_adjusted(daily, splits), into, calendar)
