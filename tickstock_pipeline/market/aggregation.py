"""Coarser bars from finer ones, and which bars are finished.

Prices are taken as they are. Bars that a split lies between must be adjusted before they are rolled up:
:func:`tickstock_pipeline.market.adjustment.adjusted_roll_up`.
"""

from collections.abc import Callable

import numpy as np

from tickstock_pipeline.market.bar import Bars, TimeArray, empty_bars
from tickstock_pipeline.market.calendar import TradingCalendar, exchange_date, start_of_hour
from tickstock_pipeline.market.timeframe import Timeframe

_KEYS: dict[tuple[Timeframe, Timeframe], Callable[[TimeArray, TradingCalendar], TimeArray]] = {
    (Timeframe.MINUTE, Timeframe.HOURLY): lambda time, _: start_of_hour(time),
    (Timeframe.MINUTE, Timeframe.DAILY): lambda time, _: exchange_date(time),
    (Timeframe.DAILY, Timeframe.WEEKLY): lambda time, calendar: calendar.week_ending(time),
    (Timeframe.DAILY, Timeframe.MONTHLY): lambda time, calendar: calendar.month_ending(time),
}


def roll_up(bars: Bars, into: Timeframe, calendar: TradingCalendar) -> Bars:
    """The coarser bars that finer ones add up to: first open, highest high, lowest low, last close, sum of volumes.

    A coarse bar is made of the fine ones given, so give whole periods; one that is still open comes out as it stands
    (see :func:`closed`). Minutes outside the regular session are left out.

    Parameters
    ----------
    bars : 1min, into hourly or daily; daily, into weekly or monthly
    into : the coarser timeframe
    calendar : decides sessions and the last session of a week or month

    Returns
    -------
    Bars keyed as ``market.bar`` says; an hourly bar by the hour of the exchange's clock, 09:00 for the opening half
    hour.

    Raises
    ------
    ValueError
        If ``into`` is not derived from the timeframe of ``bars``.
    """
    key_of = _KEYS.get((bars.timeframe, into))
    if key_of is None:
        raise ValueError(f"{into.value} bars are not derived from {bars.timeframe.value} bars")
    if bars.timeframe.is_intraday:
        bars = bars[calendar.in_session(bars.timeframe, bars.time)]
    if not len(bars):
        return empty_bars(bars.symbol, into)
    keys = key_of(bars.time, calendar).astype("datetime64[us]")
    first = np.concatenate(([0], np.flatnonzero(keys[1:] != keys[:-1]) + 1))
    last = np.concatenate((first[1:], [len(keys)])) - 1
    return Bars(
        symbol=bars.symbol,
        timeframe=into,
        time=keys[first],
        open=bars.open[first],
        high=np.maximum.reduceat(bars.high, first),
        low=np.minimum.reduceat(bars.low, first),
        close=bars.close[last],
        volume=np.add.reduceat(bars.volume, first),
    )


def closed(bars: Bars, calendar: TradingCalendar, now: np.datetime64) -> Bars:
    """The bars whose period has ended at ``now`` (UTC): an unfinished bar is never analysed.

    Raises
    ------
    ValueError
        If the key of a daily, weekly or monthly bar is not a session.
    """
    return bars[calendar.is_closed(bars.timeframe, bars.time, now)]
