"""Provider ``alpha_vantage``: raw daily bars and raw minutes of the regular session, with an account's key.

1. Daily bars are one request: the last 100 sessions (``compact``), which every plan has, where these hold the whole
   range, else all of them (``full``), which only premium plans have.
2. Minutes are one request a month. They are stamped at their start on New York's clock.
3. A row that is not numbers is refused by itself, an answer about another symbol, period or month as a whole.
4. Rows of a session, or minute, that had not ended when the request was sent are quotes, not bars, and are left out.

Requests and refusals are :mod:`tickstock_pipeline.providers.alpha_vantage_client`.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
from pydantic import SecretStr

from tickstock_pipeline.errors import ProviderError, UnknownSymbolError
from tickstock_pipeline.market.adjustment import Dividend, Split
from tickstock_pipeline.market.bar import RefusedBar, empty_bars
from tickstock_pipeline.market.calendar import EXCHANGE_ZONE, trading_calendar
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.alpha_vantage_client import AlphaVantageClient, spelled, untrusted
from tickstock_pipeline.providers.base import FetchedBars, Listing, validated
from tickstock_pipeline.providers.corporate_actions import dividends_by_day, splits_by_day
from tickstock_pipeline.providers.limits import RequestBudget

_COMPACT_SESSIONS = 100
_FIRST_MINUTES = date(2000, 1, 1)
_FIELDS = ("1. open", "2. high", "3. low", "4. close", "5. volume")
_ZONES = frozenset({"US/Eastern", "America/New_York"})
# Of the factors of splits: half of the fourth decimal, and what a float adds to it.
_ROUNDED_BY = 0.5000001e-4
_LARGEST_DENOMINATOR = 12
_NO_VALUE = frozenset({"", "none", "null", "-"})


class AlphaVantageProvider:
    """Daily bars and minutes from Alpha Vantage.

    Parameters
    ----------
    base_url : without a slash at its end
    api_key : of the account
    budget : asked before each request
    timeout : seconds of silence after which a request has failed
    now : the time in UTC
    """

    name = "alpha_vantage"
    timeframes = frozenset({Timeframe.MINUTE, Timeframe.DAILY})
    concurrency = 1  # accounts are held to about one request a second

    def __init__(
        self,
        base_url: str,
        api_key: SecretStr,
        budget: RequestBudget,
        timeout: float,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = AlphaVantageClient(base_url, api_key, budget, timeout, now)
        self._now = now
        self._calendar = trading_calendar()
        self._known: set[str] = set()

    def earliest(self, timeframe: Timeframe, today: date) -> date | None:
        """Minutes begin in January 2000."""
        return _FIRST_MINUTES if timeframe is Timeframe.MINUTE else None

    def fetch_bars(self, symbol: str, timeframe: Timeframe, first: date, last: date) -> FetchedBars:
        """See :meth:`HistoricalProvider.fetch_bars`."""
        if timeframe not in self.timeframes:
            raise ProviderError(
                f"Provider alpha_vantage has no {timeframe.value} bars.",
                advice="Ask it for 1min or daily bars; the others are rolled up from them.",
            )
        asked_at = self._now()
        if timeframe is Timeframe.MINUTE:
            first = max(first, _FIRST_MINUTES)
        # a range without a session is not worth a request
        sessions = self._calendar.sessions(first, min(last, asked_at.astimezone(EXCHANGE_ZONE).date()))
        if not len(sessions):
            return FetchedBars(empty_bars(symbol, timeframe))
        series = self._daily(symbol, first) if timeframe is Timeframe.DAILY else self._minutes(symbol, sessions)
        return self._bars(symbol, timeframe, series, first, last, asked_at)

    def fetch_splits(self, symbol: str) -> tuple[Split, ...]:
        """See :meth:`HistoricalProvider.fetch_splits`."""
        rows = self._events(symbol, "SPLITS")
        try:
            listed = [(date.fromisoformat(row["effective_date"]), _ratio(float(row["split_factor"]))) for row in rows]
            return splits_by_day(symbol, listed)
        except (LookupError, TypeError, ValueError, OverflowError):
            # a bar can be left out; a split that is left out makes every price before it wrong
            raise untrusted(symbol, "has one of its splits without a date or a number") from None

    def fetch_dividends(self, symbol: str) -> tuple[Dividend, ...]:
        """See :meth:`HistoricalProvider.fetch_dividends`."""
        rows = self._events(symbol, "DIVIDENDS")
        try:
            return dividends_by_day(
                symbol,
                [
                    (date.fromisoformat(row["ex_dividend_date"]), float(row["amount"]), "")
                    for row in rows
                    if str(row["ex_dividend_date"]).lower() not in _NO_VALUE
                ],
            )
        except (LookupError, TypeError, ValueError):
            raise untrusted(symbol, "has one of its dividends without a date or a number") from None

    def catalogue(self) -> tuple[Listing, ...]:
        """Its list of symbols has no dates of their bars."""
        return ()

    def _daily(self, symbol: str, first: date) -> dict[str, Any]:
        today = self._now().astimezone(EXCHANGE_ZONE).date()
        is_compact = len(self._calendar.sessions(first, today)) <= _COMPACT_SESSIONS
        size = "compact" if is_compact else "full"
        answer = self._client.ask(
            symbol,
            "TIME_SERIES_DAILY",
            feature="" if is_compact else "daily bars of more than 100 sessions (outputsize=full)",
            outputsize=size,
        )
        series = _series_of(symbol, answer, "Time Series (Daily)", size)
        self._known.add(symbol)
        return series

    def _minutes(self, symbol: str, sessions: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for month in np.unique(sessions.astype("datetime64[M]")).astype(str).tolist():
            try:
                answer = self._client.ask(
                    symbol,
                    "TIME_SERIES_INTRADAY",
                    feature="minutes (TIME_SERIES_INTRADAY)",
                    interval="1min",
                    month=month,
                    adjusted="false",
                    extended_hours="false",
                    outputsize="full",
                )
            except UnknownSymbolError:
                # a month before the first trade is refused with the same words as an unknown symbol
                self._ensure_known(symbol)
                continue
            series = _series_of(symbol, answer, "Time Series (1min)", "full", interval="1min")
            if any(stamp[:7] != month for stamp in series):
                raise untrusted(symbol, f"has rows outside of {month}, which was asked for")
            self._known.add(symbol)
            found |= series
        return found

    def _ensure_known(self, symbol: str) -> None:
        if symbol not in self._known:
            self._client.ask(symbol, "TIME_SERIES_DAILY", outputsize="compact")
            self._known.add(symbol)

    def _events(self, symbol: str, function: str) -> list[Any]:
        answer = self._client.ask(symbol, function)
        rows = answer.get("data")
        if not isinstance(rows, list) or str(answer.get("symbol", "")).upper() != spelled(symbol):
            raise untrusted(symbol, f"has no {function.lower()} of this symbol")
        if not rows:
            # an unknown symbol has none either
            self._ensure_known(symbol)
        return rows

    def _bars(
        self, symbol: str, timeframe: Timeframe, series: dict[str, Any], first: date, last: date, asked_at: datetime
    ) -> FetchedBars:
        times: list[datetime] = []
        numbers: list[list[float]] = []
        unreadable: list[RefusedBar] = []
        for stamp, row in series.items():
            moment = _moment(timeframe, stamp)
            if moment is not None and not first <= moment.date() <= last:
                continue
            try:
                values = [float(row[field]) for field in _FIELDS]
            except (LookupError, TypeError, ValueError):
                moment, values = None, []
            if moment is None:
                unreadable.append(_unreadable(symbol, timeframe, stamp, row))
                continue
            if timeframe is Timeframe.MINUTE:
                moment = moment.replace(tzinfo=EXCHANGE_ZONE).astimezone(UTC).replace(tzinfo=None)
            times.append(moment)
            numbers.append(values)
        time = np.array(times, "datetime64[us]")
        instant = np.datetime64(asked_at.astimezone(UTC).replace(tzinfo=None), "us")
        is_final = np.asarray(
            time + np.timedelta64(1, "m") <= instant
            if timeframe is Timeframe.MINUTE
            else time.astype("datetime64[D]") <= self._calendar.last_closed(instant)
        )
        open_, high, low, close, volume = np.array(numbers, np.float64).reshape(-1, len(_FIELDS))[is_final].T
        return validated(
            symbol,
            timeframe,
            time=time[is_final],
            open_=open_,
            high=high,
            low=low,
            close=close,
            volume=volume,
            calendar=self._calendar,
            unreadable=unreadable,
        )


def _series_of(symbol: str, answer: dict[str, Any], name: str, size: str, *, interval: str = "") -> dict[str, Any]:
    """The rows of an answer by their stamps, newest first.

    Raises
    ------
    ProviderAnswerError
        If it is about another symbol, interval, size or time zone than was asked for.
    """
    meta, series = answer.get("Meta Data"), answer.get(name)
    if not isinstance(meta, dict) or not isinstance(series, dict):
        raise untrusted(symbol, f"has no {name}")
    # the numbers before the names differ from function to function
    said = {key.partition(". ")[2]: str(value) for key, value in meta.items()}
    if said.get("Symbol", "").upper() != spelled(symbol):
        raise untrusted(symbol, f"is about {said.get('Symbol', 'no symbol')[:40]!r}")
    if said.get("Interval", "") != interval:
        raise untrusted(symbol, f"has rows of {said.get('Interval', 'a day')[:40]!r} where {interval} was asked for")
    if said.get("Time Zone") not in _ZONES:
        raise untrusted(symbol, f"is on the clock of {said.get('Time Zone', 'nowhere')[:40]!r}, not on New York's")
    if size == "full" and said.get("Output Size", "").lower().startswith("compact"):
        raise untrusted(symbol, "has the last rows only, where all were asked for")
    return series


def _ratio(factor: float) -> float:
    """The ratio of a split, of which Alpha Vantage gives four decimals: 1:3 comes as 0.3333, 4:3 as 1.3333."""
    denominators = [*range(1, _LARGEST_DENOMINATOR + 1), *([round(1 / factor)] if 0 < factor < 1 else [])]
    ratios = (round(factor * denominator) / denominator for denominator in denominators)
    return next((ratio for ratio in ratios if ratio > 0 and abs(ratio - factor) <= _ROUNDED_BY), factor)


def _unreadable(symbol: str, timeframe: Timeframe, stamp: str, row: Any) -> RefusedBar:
    fields = row.items() if isinstance(row, dict) else [("row", row)]
    # PostgreSQL stores no NUL
    shown = {str(key): str(value).replace("\0", "\N{REPLACEMENT CHARACTER}") for key, value in fields}
    reason = "the row has no time, or something else than numbers in it"
    return RefusedBar(symbol, timeframe, stamp.replace("\0", "\N{REPLACEMENT CHARACTER}"), reason, {**shown})


def _moment(timeframe: Timeframe, stamp: str) -> datetime | None:
    """The time that a stamp says, on New York's clock; None if it is not of the form ``YYYY-MM-DD[ hh:mm:ss]``."""
    try:
        return datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S" if timeframe.is_intraday else "%Y-%m-%d")
    except ValueError:
        return None
