"""Which live bars may go to the stream: the rules of ``market.bar`` and of the calendar, for many symbols at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tickstock_pipeline.market.bar import RefusedBar, refusal_reasons
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


def judged(bars: Sequence[LiveBar], calendar: TradingCalendar) -> Judgement:
    """Judge 1min bars."""
    if not bars:
        return Judgement([])
    time = np.array([bar.time for bar in bars], "int64").view("datetime64[us]")
    open_, high, low, close, volume = (
        np.array(column, np.float64)
        for column in zip(*((bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in bars), strict=True)
    )
    reasons = np.array(refusal_reasons(open_, high, low, close, volume), dtype=object)
    is_inside = calendar.in_session(Timeframe.MINUTE, time)
    # outside the session a day without trading is no error: providers tell of weekends too
    is_misplaced = time != time.astype("datetime64[m]")
    if is_misplaced.any():
        for broken, reason in reversed(key_rules(Timeframe.MINUTE, time, calendar)):
            reasons[broken & is_misplaced] = reason
    is_sound = reasons == ""
    refused = [(bars[at].source, _refused(bars[at], str(reasons[at]))) for at in np.flatnonzero(~is_sound).tolist()]
    is_good = is_sound & is_inside
    return Judgement(is_good.tolist(), refused, int((is_sound & ~is_inside).sum()))


def _refused(bar: LiveBar, reason: str) -> RefusedBar:
    raw: dict[str, object] = {name: getattr(bar, name) for name in ("open", "high", "low", "close", "volume")}
    return RefusedBar(bar.symbol, bar.timeframe, f"{np.datetime64(bar.time, 'us')}Z", reason, raw)
