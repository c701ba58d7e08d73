"""What a provider of historical data must do, and the one check that all bars pass on their way in.

A provider knows how to get rows and how to read them; what makes a row a good bar is decided in :func:`validated`,
which every provider calls, so that a bar is refused for the same reason wherever it comes from.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Protocol

import numpy as np

from tickstock_pipeline.market.adjustment import Dividend, Split
from tickstock_pipeline.market.bar import Bars, BoolArray, FloatArray, RefusedBar, TimeArray, refusal_reasons
from tickstock_pipeline.market.calendar import TradingCalendar, exchange_date, start_of_hour
from tickstock_pipeline.market.timeframe import Timeframe


@dataclass(frozen=True, slots=True)
class FetchedBars:
    """What a provider gave for one symbol, timeframe and range of dates.

    Attributes
    ----------
    bars : the good ones, oldest first, no key twice
    refused : the others, with the reason
    outside_session : how many intraday bars were dropped because they lie outside the regular session
    source : who gave them, where it was not the provider asked; stored with the bars
    reason : why the provider asked did not give them itself, or not all of them
    begins : where whoever gave them has a part of the range only: the first date that it has; what others would have
        before it is not known
    ends : where whoever gave them does not have the newest dates yet: the last date that it has
    """

    bars: Bars
    refused: tuple[RefusedBar, ...] = ()
    outside_session: int = 0
    source: str = ""
    reason: str = ""
    begins: date | None = None
    ends: date | None = None


class SplitsOfAnother(tuple[Split, ...]):
    """Splits that another provider than the one asked gave: they add to what is known, and take nothing back."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Listing:
    """A symbol that a provider has, and from which date to which (both included)."""

    symbol: str
    name: str
    first: date
    last: date


class HistoricalProvider(Protocol):
    """A source of bars, splits and dividends. Prices are always as traded (raw), never adjusted.

    Its methods may be called from several threads at once, :attr:`concurrency` of them at most. They wait for the
    provider's rate limit, and retry what a retry may mend; what they raise is final. Their waits can be ended, see
    :mod:`tickstock_pipeline.providers.waiting`.
    """

    @property
    def name(self) -> str:
        """The name that settings and the stored bars' source use."""
        ...

    @property
    def timeframes(self) -> frozenset[Timeframe]:
        """What :meth:`fetch_bars` can be asked for."""
        ...

    @property
    def concurrency(self) -> int:
        """How many requests may be under way at once."""
        ...

    def earliest(self, timeframe: Timeframe, today: date) -> date | None:
        """The first date whose bars it may still have; None if it says nothing about that."""
        ...

    def fetch_bars(self, symbol: str, timeframe: Timeframe, first: date, last: date) -> FetchedBars:
        """The bars whose date (of the key, or on the exchange) is from ``first`` to ``last``, both included.

        Raises
        ------
        UnknownSymbolError
            If the provider has no such symbol; one without bars in the range is not unknown.
        ProviderError
            If it does not have the timeframe, or did not answer.
        """
        ...

    def fetch_splits(self, symbol: str) -> tuple[Split, ...]:
        """All splits of the symbol that the provider knows, oldest first; one that is not among them does not hold.

        Raises
        ------
        UnknownSymbolError
            If the provider has no such symbol.
        ProviderError
            If it did not answer.
        """
        ...

    def fetch_dividends(self, symbol: str) -> tuple[Dividend, ...]:
        """All cash dividends of the symbol that the provider knows, oldest first.

        Raises
        ------
        UnknownSymbolError
            If the provider has no such symbol.
        ProviderError
            If it did not answer.
        """
        ...

    def catalogue(self) -> tuple[Listing, ...]:
        """The symbols that the provider has, in a stable order; empty if it cannot tell.

        Raises
        ------
        ProviderError
            If it did not answer.
        """
        ...


def validated(
    symbol: str,
    timeframe: Timeframe,
    *,
    time: TimeArray,
    open_: FloatArray,
    high: FloatArray,
    low: FloatArray,
    close: FloatArray,
    volume: FloatArray,
    calendar: TradingCalendar,
    unreadable: Iterable[RefusedBar] = (),
) -> FetchedBars:
    """The good bars among a provider's rows, sorted and unique, and the refused ones.

    Where a key comes twice the last good row wins: providers re-send. Intraday bars that lie outside the regular
    session of a trading day are counted and dropped.

    Parameters
    ----------
    symbol, timeframe : what the rows are of
    time : (n_rows,) datetime64, UTC, in the order received; NaT where there is none
    open_, high, low, close : (n_rows,) float64, as traded; NaN where there is none
    volume : (n_rows,) float64 shares; a fraction, which some providers report, is rounded to the nearest whole share
    calendar : decides whether a key can be that of a bar
    unreadable : rows that the provider could not turn into numbers; handed on in front of those refused here
    """
    time = time.astype("datetime64[us]")
    reasons = np.array(refusal_reasons(open_, high, low, close, volume), dtype=object)
    # a wrong key is the reason even where a price is wrong too
    for broken, reason in reversed(key_rules(timeframe, time, calendar)):
        reasons[broken] = reason
    is_good = reasons == ""
    refused = [
        RefusedBar(
            symbol,
            timeframe,
            time=_key_text(timeframe, time[row]),
            reason=str(reasons[row]),
            raw={
                "open": _raw(open_[row]),
                "high": _raw(high[row]),
                "low": _raw(low[row]),
                "close": _raw(close[row]),
                "volume": _raw(volume[row]),
            },
        )
        for row in np.flatnonzero(~is_good)
    ]
    outside_session = 0
    if timeframe.is_intraday:
        is_inside = calendar.in_session(timeframe, time)
        outside_session = int((is_good & ~is_inside).sum())
        is_good &= is_inside
    kept = np.flatnonzero(is_good)
    kept = kept[np.argsort(time[kept], kind="stable")]
    is_last_of_key = np.ones(len(kept), np.bool_)
    is_last_of_key[:-1] = time[kept[1:]] != time[kept[:-1]]
    kept = kept[is_last_of_key]
    bars = Bars(
        symbol,
        timeframe,
        time[kept],
        open_[kept],
        high[kept],
        low[kept],
        close[kept],
        np.rint(volume[kept]).astype(np.int64),
    )
    return FetchedBars(bars, (*unreadable, *refused), outside_session)


def key_rules(timeframe: Timeframe, time: TimeArray, calendar: TradingCalendar) -> list[tuple[BoolArray, str]]:
    """What can be wrong with the keys of bars of one timeframe: which rows break a rule, and what to say of them.

    Parameters
    ----------
    time : (n_bars,) datetime64[us], UTC; NaT where there is none

    Returns
    -------
    The rules, the one to be told first at the front.
    """
    days = exchange_date(time) if timeframe.is_intraday else time.astype("datetime64[D]")
    is_session = calendar.is_session(days)
    rules: list[tuple[BoolArray, str]] = [
        (np.isnat(time), "the time is missing"),
        (
            (days < calendar.first) | (days > calendar.last),
            f"the calendar of the exchange covers {calendar.first} to {calendar.last} only",
        ),
        (~is_session, "the exchange does not trade on this date"),
    ]
    if timeframe is Timeframe.MINUTE:
        rules.append((time != time.astype("datetime64[m]"), "the time is not the start of a minute"))
    elif timeframe is Timeframe.HOURLY:
        rules.append((time != start_of_hour(time), "the time is not the start of an hour"))
    else:
        # only where there is a session: a period without one has no last one
        ending = days.copy()
        if timeframe is Timeframe.WEEKLY:
            ending[is_session] = calendar.week_ending(days[is_session])
        elif timeframe is Timeframe.MONTHLY:
            ending[is_session] = calendar.month_ending(days[is_session])
        period = {Timeframe.WEEKLY: "ISO week", Timeframe.MONTHLY: "month"}.get(timeframe, "day")
        rules.append((ending != days, f"the date is not the last session of its {period}"))
        rules.append((time != days, "the time is not midnight of a date"))
    return rules


def _key_text(timeframe: Timeframe, time: np.datetime64) -> str:
    if np.isnat(time):
        return ""
    return str(time) + "Z" if timeframe.is_intraday else str(np.datetime_as_string(time, "D"))


def _raw(value: np.float64) -> object:
    # JSON, which raw forms are stored as, has no NaN and no infinity
    return float(value) if np.isfinite(value) else str(value)
