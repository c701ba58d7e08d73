"""Which bar a market in trade would bring next: series are replayed for its window before it comes."""

import numpy as np

from tickstock_pipeline.market.bar import TimeArray
from tickstock_pipeline.market.calendar import TradingCalendar, start_of_hour
from tickstock_pipeline.market.timeframe import Timeframe


def upcoming_bar(calendar: TradingCalendar, timeframe: Timeframe, now: np.datetime64) -> int:
    """Time of the next bar, microseconds since 1970.

    Parameters
    ----------
    now : UTC, within the calendar
    """
    day = now.astype("datetime64[D]")
    sessions = calendar.sessions(day - np.timedelta64(1, "D"), day + np.timedelta64(14, "D"))
    session = sessions[calendar.closing(sessions) > now][0]
    if not timeframe.is_intraday:
        return _count(session)
    moment = np.asarray(max(now.astype("datetime64[us]"), calendar.opening(session)))
    if timeframe is Timeframe.HOURLY:
        return _count(start_of_hour(moment))
    return _count(moment.astype("datetime64[m]"))


def _count(moment: np.datetime64 | TimeArray) -> int:
    return int(moment.astype("datetime64[us]").astype(np.int64))
