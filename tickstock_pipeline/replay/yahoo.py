"""Yahoo's chart API, as ``yfinance`` uses it, with the pages that give it a cookie and a crumb.

Yahoo's prices and volumes are always split-adjusted, as are its dividends; its adjusted close has the dividends in it
too. Days are stamped with their opening, in Unix seconds. Minutes are given for eight days at most.
"""

from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any

import numpy as np

from tickstock_pipeline.market.adjustment import price_divisors, split_adjusted
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.calendar import exchange_date
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.replay import eastern
from tickstock_pipeline.replay.answer import HTML, TEXT, Answer, Question, json_answer
from tickstock_pipeline.replay.dividends import dividend_factors
from tickstock_pipeline.replay.faults import FaultKind
from tickstock_pipeline.replay.market import ReplayMarket
from tickstock_pipeline.replay.rows import Rows, spoilt

_INTERVALS = {
    "1m": Timeframe.MINUTE,
    "60m": Timeframe.HOURLY,
    "1h": Timeframe.HOURLY,
    "1d": Timeframe.DAILY,
    "1wk": Timeframe.WEEKLY,
    "1mo": Timeframe.MONTHLY,
}
_RANGES = {
    "1d": 1,
    "5d": 5,
    "1mo": 31,
    "3mo": 92,
    "6mo": 183,
    "1y": 366,
    "2y": 731,
    "5y": 1_827,
    "10y": 3_653,
    "ytd": 366,
    "max": 36_500,
}
_MINUTES_REACH = timedelta(days=8)
_COOKIE = "A3=replay; Path=/; Max-Age=31557600"
_CONSENT_PAGE = b"""<html><body><form action="/v2/collectConsent" method="post">
<input name="csrfToken" type="hidden" value="replay"/>
<input name="sessionId" type="hidden" value="replay"/>
</form></body></html>
"""


class Yahoo:
    """The endpoints."""

    def __init__(self, market: ReplayMarket) -> None:
        self._market = market

    def cookie(self, question: Question) -> Answer:
        """The page that has nothing but a cookie."""
        return Answer(b"", 404, HTML, {"Set-Cookie": _COOKIE})

    def consent(self, question: Question) -> Answer:
        """The form that asks for consent, and where it is sent to."""
        return Answer(_CONSENT_PAGE, 200, HTML, {"Set-Cookie": _COOKIE})

    def crumb(self, question: Question) -> Answer:
        """``/v1/test/getcrumb``."""
        return Answer(b"replay.crumb", 200, TEXT)

    def nothing_known(self, question: Question) -> Answer:
        """What ``yfinance`` asks for besides prices: a company's figures, which this server does not have."""
        return json_answer({"timeseries": {"result": [], "error": None}})

    def chart(self, question: Question) -> Answer:
        """``/v8/finance/chart/{symbol}``."""
        query = question.query
        timeframe = _INTERVALS.get(query.get("interval", "1d"))
        if timeframe is None:
            return chart_error(422, "Unprocessable Entity", f"Invalid input - interval={query.get('interval')}")
        daily = self._market.bars(question.symbol, Timeframe.DAILY, date.min, date.max)
        if not len(daily):
            return chart_error(404, "Not Found", "No data found, symbol may be delisted")
        try:
            low, high = self._bounds(query, daily)
        except (ValueError, OverflowError):
            return chart_error(400, "Bad Request", "Invalid input - period1, period2 and range are not understood")
        if timeframe is Timeframe.MINUTE and high - low > np.timedelta64(_MINUTES_REACH):
            return chart_error(
                422,
                "Unprocessable Entity",
                f"1m data not available for startTime={_unix(low)} and endTime={_unix(high)}. "
                "Only 8 days worth of 1m granularity data are allowed to be fetched per request.",
            )
        return self._charted(question, timeframe, daily, low, high)

    def _charted(
        self, question: Question, timeframe: Timeframe, daily: Bars, low: np.datetime64, high: np.datetime64
    ) -> Answer:
        symbol = question.symbol
        splits = self._market.splits(symbol)
        bars = self._market.bars(
            symbol, timeframe, eastern.date_in_new_york(low), eastern.date_in_new_york(high), adjusted=True
        )
        rows = Rows.of(bars)
        if not timeframe.is_intraday:
            rows = rows._replace(time=_stamps(bars, self._market))
        is_inside = np.flatnonzero((rows.time >= low) & (rows.time < high))
        rows = rows.at(is_inside)
        indicators: dict[str, Any] = {}
        shown = spoilt(rows, question.fault)
        if timeframe is Timeframe.DAILY:
            factors = dividend_factors(daily, self._market.dividends(symbol)) / price_divisors(daily, splits)
            position = np.searchsorted(_stamps(daily, self._market), shown.time)
            adjusted = (daily.close * factors)[position]
            indicators["adjclose"] = [{"adjclose": adjusted.tolist()}]
        quote: dict[str, Any] = {
            name: getattr(shown, name).tolist() for name in ("open", "high", "low", "close", "volume")
        }
        stamps = eastern.seconds(rows.time if question.suffers(FaultKind.TRUNCATED) else shown.time).tolist()
        indicators["quote"] = [quote if stamps else {}]
        result: dict[str, Any] = {"meta": self._meta(question, timeframe, daily, rows)}
        if stamps:
            result["timestamp"] = stamps
        if events := self._events(question, low, high):
            result["events"] = events
        result["indicators"] = indicators
        return json_answer({"chart": {"result": [result], "error": None}})

    def _events(self, question: Question, low: np.datetime64, high: np.datetime64) -> dict[str, Any]:
        wanted = question.query.get("events", "")
        splits, dividends = self._market.splits(question.symbol), self._market.dividends(question.symbol)
        events: dict[str, Any] = {}
        if "div" in wanted and dividends:
            days = np.array([dividend.ex_date for dividend in dividends], "datetime64[D]")
            divisors = price_divisors(days, splits)
            found: dict[str, dict[str, Any]] = {}
            for dividend, divisor in zip(dividends, divisors, strict=True):
                time = self._opening(dividend.ex_date)
                if low <= time < high:
                    found[str(_unix(time))] = {"amount": dividend.amount / float(divisor), "date": _unix(time)}
            if found:
                events["dividends"] = found
        if "split" in wanted:
            found = {}
            for split in splits:
                time = self._opening(split.ex_date)
                if low <= time < high:
                    numerator, denominator = _whole(split.ratio)
                    found[str(_unix(time))] = {
                        "date": _unix(time),
                        "numerator": numerator,
                        "denominator": denominator,
                        "splitRatio": f"{numerator:g}:{denominator:g}",
                    }
            if found:
                events["splits"] = found
        return events

    def _meta(self, question: Question, timeframe: Timeframe, daily: Bars, rows: Rows) -> dict[str, Any]:
        calendar = self._market.calendar
        adjusted = split_adjusted(daily, self._market.splits(question.symbol))
        last = daily.time[-1].astype("datetime64[D]")
        offset = int(eastern.utc_offsets(daily.time[-1:])[0] // np.timedelta64(1, "s"))
        zone: dict[str, Any] = {"timezone": eastern.aware(daily.time[-1]).tzname(), "gmtoffset": offset}

        def period(day: np.datetime64) -> dict[str, Any]:
            opening, closing = (
                (calendar.opening(day), calendar.closing(day))
                if calendar.is_session(day).any()
                else (eastern.midnight(eastern.as_date(day)),) * 2
            )
            return {**zone, "start": _unix(opening), "end": _unix(closing)}

        regular: dict[str, Any] = period(last)
        meta: dict[str, Any] = {
            "currency": "USD",
            "symbol": question.names["symbol"],
            "exchangeName": "NYQ",
            "fullExchangeName": "NYSE",
            "instrumentType": "EQUITY",
            "firstTradeDate": _unix(self._opening(eastern.as_date(daily.time[0]))),
            "regularMarketTime": regular["end"],
            "hasPrePostMarketData": True,
            "gmtoffset": offset,
            "timezone": zone["timezone"],
            "exchangeTimezoneName": eastern.ZONE_NAME,
            "regularMarketPrice": float(adjusted.close[-1]),
            "chartPreviousClose": float(adjusted.close[0]),
            "priceHint": 2,
            "currentTradingPeriod": {
                "pre": {**regular, "start": regular["start"] - 19_800, "end": regular["start"]},
                "regular": dict(regular),
                "post": {**regular, "start": regular["end"], "end": regular["end"] + 14_400},
            },
            "dataGranularity": question.query.get("interval", "1d"),
            "range": question.query.get("range", ""),
            "validRanges": list(_RANGES),
        }
        if timeframe.is_intraday:
            meta["tradingPeriods"] = [[period(day)] for day in np.unique(exchange_date(rows.time))]
        return meta

    def _bounds(self, query: Any, daily: Bars) -> tuple[np.datetime64, np.datetime64]:
        """From when to when (not included)."""
        if "period1" in query or "period2" in query:
            low = int(float(query.get("period1", 0)))
            high = int(float(query.get("period2", datetime.now(UTC).timestamp())))
            earliest, latest = _unix(self._market.calendar.first), _unix(self._market.calendar.last) + 86_400
            return _instant(max(low, earliest)), _instant(min(max(high, earliest), latest))
        days = _RANGES.get(query.get("range", "1d"), 31)
        last = eastern.as_date(daily.time[-1])
        first = max(last - timedelta(days=days - 1), eastern.as_date(self._market.calendar.first))
        return eastern.midnight(first), eastern.midnight(last + timedelta(days=1))

    def _opening(self, day: date) -> np.datetime64:
        is_session = self._market.calendar.is_session(day).any()
        opening = self._market.calendar.opening(day) if is_session else eastern.midnight(day)
        return _instant(_unix(opening))


def chart_error(status: int, code: str, description: str) -> Answer:
    """How the chart API says what is wrong."""
    return json_answer({"chart": {"result": None, "error": {"code": code, "description": description}}}, status)


def _stamps(bars: Bars, market: ReplayMarket) -> Any:
    """The instants that stand for date-keyed bars: a day's opening, midnight of a week's Monday or a month's first."""
    days = bars.time.astype("datetime64[D]")
    if bars.timeframe is Timeframe.DAILY:
        # as Yahoo does also on the few days that opened late
        return eastern.midnights(days) + np.timedelta64(9 * 60 + 30, "m")
    if bars.timeframe is Timeframe.WEEKLY:
        return eastern.midnights(days - ((days.astype(np.int64) + 3) % 7).astype("timedelta64[D]"))
    return eastern.midnights(days.astype("datetime64[M]").astype("datetime64[D]"))


def _whole(ratio: float) -> tuple[float, float]:
    exact = Fraction(ratio).limit_denominator(1_000)
    return float(exact.numerator), float(exact.denominator)


def _unix(time: Any) -> int:
    return int(np.asarray(time, "datetime64[s]").astype(np.int64).flat[0])


def _instant(unix: int) -> np.datetime64:
    return np.datetime64(unix * 1_000_000, "us")


def quota_spent() -> Answer:
    """What Yahoo says to whom asks too often."""
    return Answer(b"Too Many Requests\r\n", 429, TEXT)
