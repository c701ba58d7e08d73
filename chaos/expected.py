"""What the tables must hold, from the message log alone: pandas and the exchange's sessions, nothing of the product.

1. The last event of each symbol and minute counts, whatever came before it.
2. Minutes outside the regular session do not.
3. Hours and days are made from these minutes, weeks and months from the days.
"""

import json
import warnings
from collections import deque
from pathlib import Path
from typing import Any

import exchange_calendars
import pandas as pd

COLUMNS = ["open", "high", "low", "close", "volume"]
_HOW = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
_NEW_YORK = "America/New_York"


def expected_bars(log: Path) -> dict[str, pd.DataFrame]:
    """The bars of each timeframe.

    Parameters
    ----------
    log : a line for each event that was sent, in their order, as the replay server writes it

    Returns
    -------
    By name of the timeframe: (symbol, time) -> open, high, low, close, volume; in order. The time of a day, week or
    month is its date, that of a week or month its last session.
    """
    minutes = _last_minutes(log)
    sessions = _sessions(minutes)
    minutes = _in_session(minutes, sessions)
    time = minutes.index.get_level_values("time")
    days = _rolled_up(minutes, time.tz_convert(_NEW_YORK).tz_localize(None).normalize())
    day = days.index.get_level_values("time")
    dates = pd.Series(sessions.index, sessions.index)
    last_of_week = dates.groupby(dates.dt.to_period("W")).transform("max")
    last_of_month = dates.groupby(dates.dt.to_period("M")).transform("max")
    return {
        "1min": minutes,
        "hourly": _rolled_up(minutes, time.floor("h")),
        "daily": days,
        "weekly": _rolled_up(days, pd.DatetimeIndex(last_of_week.loc[day])),
        "monthly": _rolled_up(days, pd.DatetimeIndex(last_of_month.loc[day])),
    }


def last_event(log: Path) -> dict[str, Any]:
    """The event that was sent last."""
    with log.open("rb") as lines:
        found: dict[str, Any] = json.loads(deque(lines, maxlen=1)[0])["event"]
    return found


def _last_minutes(log: Path) -> pd.DataFrame:
    last: dict[tuple[str, int], list[Any]] = {}
    with log.open(encoding="utf-8") as lines:
        for line in lines:
            event = json.loads(line)["event"]
            if event["ev"] == "AM":
                last[event["sym"], event["s"]] = [event[name] for name in "ohlcv"]
    symbols, starts = zip(*last, strict=True)
    time = pd.to_datetime(list(starts), unit="ms", utc=True)
    index = pd.MultiIndex.from_arrays([symbols, time], names=["symbol", "time"])
    return pd.DataFrame(list(last.values()), index, COLUMNS).sort_index()


def _sessions(minutes: pd.DataFrame) -> pd.DataFrame:
    """The exchange's sessions around the minutes: date -> open, close."""
    time = minutes.index.get_level_values("time")
    margin = pd.Timedelta(days=40)
    first, last = (time.min() - margin).date(), (time.max() + margin).date()
    with warnings.catch_warnings():
        # the library's own use of what pandas deprecates
        warnings.simplefilter("ignore", DeprecationWarning)
        schedule: pd.DataFrame = exchange_calendars.get_calendar("XNYS", start=first, end=last).schedule
    return schedule


def _in_session(minutes: pd.DataFrame, sessions: pd.DataFrame) -> pd.DataFrame:
    time = minutes.index.get_level_values("time")
    day = sessions.reindex(time.tz_convert(_NEW_YORK).tz_localize(None).normalize())
    return minutes[(time >= pd.DatetimeIndex(day["open"])) & (time < pd.DatetimeIndex(day["close"]))]


def _rolled_up(bars: pd.DataFrame, period: pd.DatetimeIndex) -> pd.DataFrame:
    keys = [bars.index.get_level_values("symbol"), period.rename("time")]
    return bars.groupby(keys).agg(_HOW)
