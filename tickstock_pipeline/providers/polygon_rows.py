"""What Polygon's answers for bars hold: the rows of a page, checked and turned into arrays.

Which pages there are is :mod:`tickstock_pipeline.providers.polygon_client`; whether a row is a good bar is
:func:`tickstock_pipeline.providers.base.validated`.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np

from tickstock_pipeline.market.bar import FloatArray, RefusedBar, TimeArray
from tickstock_pipeline.market.calendar import exchange_date
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.polygon_client import untrusted

_FIELDS = ("t", "o", "h", "l", "c", "v")
_NUMBER_OR_NONE = {int, float, type(None)}
_NAMES = ("time", "open", "high", "low", "close", "volume")
# Dates beyond the years 1677 to 2262 are none
_LATEST_MS = 2.0**63 / 1e6


def results(what: str, ticker: str, page: Mapping[str, Any]) -> Sequence[Any]:
    """The rows of one page, once all that it says about them is as asked.

    Raises
    ------
    ProviderAnswerError
        If one thing is not.
    """
    results = page.get("results", [])
    if not isinstance(results, list):
        raise untrusted(what, "it holds no list")
    if page.get("ticker") != ticker:
        raise untrusted(what, "it is about another symbol")
    if page.get("adjusted") is not False:
        raise untrusted(what, "its prices are not as traded")
    count = page.get("resultsCount")
    # more rows than that are rows sent twice, which does no harm
    if not isinstance(count, int) or len(results) < count:
        raise untrusted(what, f"it says that it has {count} rows and has {len(results)}")
    return results


def numbers(results: Sequence[Any], symbol: str, timeframe: Timeframe) -> tuple[FloatArray, list[RefusedBar]]:
    """Rows as (6, n_rows): milliseconds, open, high, low, close, volume; and those that are not numbers."""
    try:
        return _matrix(results), []
    except (KeyError, TypeError, ValueError, OverflowError):
        readable, unreadable = [], []
        for row in results:
            try:
                _matrix([row])
            except (KeyError, TypeError, ValueError, OverflowError):
                unreadable.append(_refused(row, symbol, timeframe))
            else:
                readable.append(row)
        return _matrix(readable), unreadable


def _matrix(results: Sequence[Any]) -> FloatArray:
    rows = list(map(itemgetter(*_FIELDS), results))
    if not set(map(type, chain.from_iterable(rows))) <= _NUMBER_OR_NONE:
        # numpy would take a text or a truth value for the number that it looks like
        raise TypeError
    return np.array(rows, np.float64).reshape(-1, len(_FIELDS)).T


def _refused(row: object, symbol: str, timeframe: Timeframe) -> RefusedBar:
    fields = row if isinstance(row, dict) else {}
    raw: dict[str, object] = {
        # what came from outside may be anything: as text it can be stored
        name: None if fields.get(field) is None else str(fields[field])[:100].replace("\0", "\N{REPLACEMENT CHARACTER}")
        for name, field in zip(_NAMES, _FIELDS, strict=True)
    }
    return RefusedBar(symbol, timeframe, str(raw["time"] or ""), "a field is missing or not a number", raw)


def times(timeframe: Timeframe, milliseconds: FloatArray) -> TimeArray:
    """Keys of bars, as (n_rows,) datetime64[us], from milliseconds since 1970; NaT where there is none."""
    is_time = np.abs(milliseconds) < _LATEST_MS
    time = np.where(is_time, milliseconds, 0.0).astype(np.int64).astype("datetime64[ms]").astype("datetime64[us]")
    time[~is_time] = np.datetime64("NaT")
    if timeframe is Timeframe.DAILY:
        # a day begins at midnight in New York, which is 04:00 or 05:00 in UTC; anything else is left to be refused
        midnight = time.astype("datetime64[D]").astype(time.dtype)
        hours = (time - midnight) / np.timedelta64(1, "h")
        time = np.where(np.isin(hours, (4.0, 5.0)), midnight, time)
    return time


def check_range(what: str, timeframe: Timeframe, time: TimeArray, first: date, last: date) -> None:
    """Refuse an answer that has a row of a date that was not asked for.

    Raises
    ------
    ProviderAnswerError
    """
    time = time[~np.isnat(time)]
    days = exchange_date(time) if timeframe.is_intraday else time.astype("datetime64[D]")
    outside = (days < np.datetime64(first)) | (days > np.datetime64(last))
    if outside.any():
        raise untrusted(what, f"it has a row of {days[outside][0]}, where {first} to {last} was asked for")
