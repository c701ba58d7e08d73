"""Whether the market trades at a moment, and in which of the day's sessions, by the calendar."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from tickstock_pipeline.market.calendar import TradingCalendar, exchange_date

# Extended hours of the US equity exchanges: from 04:00 New York time, and for four hours after the close, which is
# 20:00 on a full day and 17:00 on a half day.
_PRE_MARKET = np.timedelta64(330, "m")
_POST_MARKET = np.timedelta64(240, "m")
_FULL_DAY = np.timedelta64(390, "m")


class MarketPhase(StrEnum):
    """The sessions of a day; the value is the name in health events."""

    PRE = "pre"
    REGULAR = "regular"
    POST = "post"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class MarketStatus:
    """What the calendar says of a moment.

    Attributes
    ----------
    is_early_close : the day's regular session is shorter than others
    """

    phase: MarketPhase
    is_early_close: bool = False


def market_status(calendar: TradingCalendar, now: np.datetime64) -> MarketStatus:
    """The status at ``now`` (UTC)."""
    day = exchange_date(np.asarray(now, "datetime64[us]"))
    if not bool(calendar.is_session(day)):
        return MarketStatus(MarketPhase.CLOSED)
    opening, closing = calendar.opening(day), calendar.closing(day)
    is_early = bool(closing - opening < _FULL_DAY)
    if opening <= now < closing:
        return MarketStatus(MarketPhase.REGULAR, is_early)
    if opening - _PRE_MARKET <= now < opening:
        return MarketStatus(MarketPhase.PRE, is_early)
    if closing <= now < closing + _POST_MARKET:
        return MarketStatus(MarketPhase.POST, is_early)
    return MarketStatus(MarketPhase.CLOSED, is_early)
