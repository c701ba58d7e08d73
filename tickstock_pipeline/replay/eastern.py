"""The exchange's wall clock: the stamps that providers put on bars."""

from datetime import UTC, date, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from tickstock_pipeline.market.bar import IntArray, TimeArray
from tickstock_pipeline.market.calendar import exchange_date

ZONE_NAME = "America/New_York"
_ZONE = ZoneInfo(ZONE_NAME)
_EPOCH = np.datetime64(0, "us")


def midnights(days: TimeArray) -> TimeArray:
    """When each date begins in New York: (n,) datetime64[us], UTC."""
    unique, position = np.unique(days.astype("datetime64[D]"), return_inverse=True)
    found: TimeArray = np.array([_midnight(day) for day in unique.tolist()], "datetime64[us]")
    return found[position]


def midnight(day: date) -> np.datetime64:
    """When a date begins in New York, as datetime64[us] in UTC."""
    return _midnight(day)


def local(time: TimeArray) -> TimeArray:
    """New York's wall clock at instants within trading hours: (n,) datetime64[us] without a zone."""
    return time + utc_offsets(exchange_date(time))


def utc_offsets(days: TimeArray) -> NDArray[np.timedelta64]:
    """What New York's clock is ahead of UTC at noon of each date: (n,) timedelta64[us], negative."""
    unique, position = np.unique(days.astype("datetime64[D]"), return_inverse=True)
    offsets = np.array([_offset_us(day) for day in unique.tolist()], "timedelta64[us]")
    return offsets[position]


def milliseconds(time: TimeArray) -> IntArray:
    """Unix time in milliseconds: (n,) int64."""
    found: IntArray = (time - _EPOCH) // np.timedelta64(1, "ms")
    return found


def seconds(time: TimeArray) -> IntArray:
    """Unix time in seconds: (n,) int64."""
    found: IntArray = (time - _EPOCH) // np.timedelta64(1, "s")
    return found


def instant(unix_ms: int) -> np.datetime64:
    """The instant of a Unix time in milliseconds, as datetime64[us]."""
    return np.datetime64(unix_ms * 1_000, "us")


def date_in_new_york(time: np.datetime64) -> date:
    """The date on New York's clock at any instant."""
    return aware(time).date()


def aware(time: np.datetime64) -> datetime:
    """An instant with New York's offset."""
    found: datetime = time.astype("datetime64[us]").item()
    return found.replace(tzinfo=UTC).astimezone(_ZONE)


@lru_cache(maxsize=20_000)
def _midnight(day: date) -> np.datetime64:
    start = datetime(day.year, day.month, day.day, tzinfo=_ZONE).astimezone(UTC).replace(tzinfo=None)
    return np.datetime64(start, "us")


@lru_cache(maxsize=20_000)
def _offset_us(day: date) -> int:
    offset = datetime(day.year, day.month, day.day, 12, tzinfo=_ZONE).utcoffset()
    return 0 if offset is None else int(offset.total_seconds()) * 1_000_000


def as_date(day: np.datetime64) -> date:
    """A numpy date, or an instant's date in UTC, as Python's."""
    found: date = day.astype("datetime64[D]").astype(object)
    return found
