"""Which live bars may go to the stream, and from there to the tables, for many symbols at once.

The rules are those of ``market.bar`` and of the calendar.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tickstock_pipeline.market.bar import BoolArray, RefusedBar, refusal_reasons
from tickstock_pipeline.market.calendar import TradingCalendar
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.messaging.bar_event import LiveBar
from tickstock_pipeline.providers.base import key_rules


@dataclass(slots=True)
class Judgement:
    """What became of some bars.

    Attributes
    ----------
    is_good : of each bar, whether it may go on
    refused : (source, bar) of those that broke a rule
    outside_session : how many good ones lie outside the regular session, and are dropped
    """

    is_good: list[bool]
    refused: list[tuple[str, RefusedBar]] = field(default_factory=list)
    outside_session: int = 0


# A clock that is a little slow must not cost a bar.
_TOLERANCE = np.timedelta64(60, "s")
_MINUTE = np.timedelta64(1, "m")


def judged(bars: Sequence[LiveBar], calendar: TradingCalendar, now: np.datetime64 | None = None) -> Judgement:
    """Judge 1min bars.

    Parameters
    ----------
    now : UTC; a bar that has hardly begun by then is refused, and so is one on a day without trading. None: bars of a
        source, which tells of weekends too; these are outside the session, and no error
    """
    if not bars:
        return Judgement([])
    time = np.array([bar.time for bar in bars], "int64").view("datetime64[us]")
    open_, high, low, close, volume = (
        np.array(column, np.float64)
        for column in zip(*((bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in bars), strict=True)
    )
    reasons = np.array(refusal_reasons(open_, high, low, close, volume), dtype=object)
    is_inside = calendar.in_session(Timeframe.MINUTE, time)
    is_misplaced: BoolArray = time != time.astype("datetime64[m]")
    if now is not None or is_misplaced.any():
        for broken, reason in reversed(key_rules(Timeframe.MINUTE, time, calendar)):
            reasons[broken if now is not None else broken & is_misplaced] = reason
    if now is not None:
        reasons[(reasons == "") & (time + _MINUTE > now + _TOLERANCE)] = "the bar has not ended"
    is_sound = reasons == ""
    refused = [(bars[at].source, refused_bar(bars[at], str(reasons[at]))) for at in np.flatnonzero(~is_sound).tolist()]
    is_good = is_sound & is_inside
    return Judgement(is_good.tolist(), refused, int((is_sound & ~is_inside).sum()))


def refused_bar(bar: LiveBar, reason: str) -> RefusedBar:
    """A bar for the quarantine."""
    raw: dict[str, object] = {name: getattr(bar, name) for name in ("open", "high", "low", "close", "volume")}
    return RefusedBar(bar.symbol, bar.timeframe, f"{np.datetime64(bar.time, 'us')}Z", reason, raw)
