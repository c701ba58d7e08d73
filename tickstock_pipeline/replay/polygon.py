"""Polygon's REST API for stocks: aggregates, and the market's status.

Facts about the protocol: https://massive.com/docs/rest/stocks. An aggregate is stamped with the start of its period in
milliseconds; days, weeks (from Sunday) and months begin at midnight in New York. A symbol that Polygon does not have
is an empty answer here, and NOT_FOUND among the tickers only.
"""

import itertools
from datetime import UTC, date, datetime, timedelta

import numpy as np

from tickstock_pipeline.market.bar import Bars, TimeArray
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.replay import eastern
from tickstock_pipeline.replay.answer import Answer, Question, json_answer
from tickstock_pipeline.replay.cursor import decoded, encoded
from tickstock_pipeline.replay.faults import FaultKind
from tickstock_pipeline.replay.market import ReplayMarket
from tickstock_pipeline.replay.rows import Rows, spoilt

_DEFAULT_LIMIT = 5_000
_MAX_LIMIT = 50_000
_DAY = timedelta(days=1)
_TIMEFRAMES = {
    "minute": Timeframe.MINUTE,
    "hour": Timeframe.HOURLY,
    "day": Timeframe.DAILY,
    "week": Timeframe.WEEKLY,
    "month": Timeframe.MONTHLY,
}
_NUMBERS = itertools.count(1)


class PolygonAggregates:
    """The endpoints that give bars."""

    def __init__(self, market: ReplayMarket) -> None:
        self._market = market

    def aggregates(self, question: Question) -> Answer:
        """``/v2/aggs/ticker/{ticker}/range/{multiplier}/{timespan}/{from}/{to}``."""
        names, query = question.names, {**question.query, **decoded(question.query.get("cursor", ""))}
        timeframe = _TIMEFRAMES.get(names["timespan"])
        if timeframe is None or names["multiplier"] != "1":
            return bad_request("this server has aggregates of 1 minute, hour, day, week and month")
        try:
            low, high = _bound(names["from"], is_end=False), _bound(names["to"], is_end=True)
            limit = min(int(query.get("limit", _DEFAULT_LIMIT)), _MAX_LIMIT)
        except ValueError as error:
            return bad_request(str(error))
        if limit < 1 or high < low:
            return bad_request("limit must be positive, and 'to' not before 'from'")
        is_adjusted, is_descending = query.get("adjusted", "true") != "false", query.get("sort", "asc") == "desc"
        rows = self._rows(question.symbol, timeframe, low, high, is_adjusted)
        if is_descending:
            rows = rows.at(slice(None, None, -1))
        page = rows.at(slice(0, limit))
        next_url = ""
        if rows.n_rows > limit and not question.suffers(FaultKind.TRUNCATED):
            edge = int(eastern.milliseconds(rows.time[limit]))
            bounds = (names["from"], edge) if is_descending else (edge, names["to"])
            next_url = _next_url(question, bounds, query)
        if question.suffers(FaultKind.REPEATED_CURSOR):
            next_url = _next_url(question, (names["from"], names["to"]), query)
        return _page(question, page, is_adjusted, next_url)

    def previous_close(self, question: Question) -> Answer:
        """``/v2/aggs/ticker/{ticker}/prev``: the last whole day."""
        is_adjusted = question.query.get("adjusted", "true") != "false"
        daily = self._market.bars(question.symbol, Timeframe.DAILY, date.min, date.max, adjusted=is_adjusted)
        rows = _stamped(daily[-1:])
        return _page(question, rows, is_adjusted, "", extra=f'"T":"{question.symbol}",')

    def status_now(self, question: Question) -> Answer:
        """``/v1/marketstatus/now``."""
        moment = self._moment()
        local = eastern.aware(moment)
        state = self._state(moment, local)
        exchange = {"open": "open", "closed": "closed"}.get(state, "extended-hours")
        return json_answer(
            {
                "afterHours": state == "post",
                "currencies": {"crypto": "open", "fx": "open"},
                "earlyHours": state == "pre",
                "exchanges": {"nasdaq": exchange, "nyse": exchange, "otc": exchange},
                "indicesGroups": {"s_and_p": exchange, "dow_jones": exchange, "nasdaq": exchange},
                "market": exchange,
                "serverTime": local.isoformat(timespec="seconds"),
            }
        )

    def status_upcoming(self, question: Question) -> Answer:
        """``/v1/marketstatus/upcoming``: the weekdays of the coming year that do not trade, or close early."""
        today = eastern.date_in_new_york(self._moment())
        calendar = self._market.calendar
        until = min(today + timedelta(days=365), eastern.as_date(calendar.last))
        days = np.arange(np.datetime64(today), np.datetime64(until) + 1)
        weekdays = days[np.is_busday(days)]
        trades = calendar.is_session(weekdays)
        found = []
        for day in weekdays[~trades]:
            found += [
                {"date": str(day), "exchange": exchange, "name": "Holiday", "status": "closed"}
                for exchange in ("NYSE", "NASDAQ")
            ]
        sessions = weekdays[trades]
        openings, closings = calendar.opening(sessions), calendar.closing(sessions)
        for row in np.flatnonzero(eastern.local(closings) - sessions < np.timedelta64(16, "h")):
            times = {"open": _zulu(openings[row]), "close": _zulu(closings[row])}
            found += [
                {"date": str(sessions[row]), "exchange": exchange, "name": "Half day", "status": "early-close", **times}
                for exchange in ("NYSE", "NASDAQ")
            ]
        return json_answer(sorted(found, key=lambda item: (item["date"], item["exchange"])))

    def _rows(self, symbol: str, timeframe: Timeframe, low: np.datetime64, high: np.datetime64, adjusted: bool) -> Rows:
        # a period is given if its stamp lies between the bounds: the dates of bars of weeks and months lie after it
        reach = timedelta(days=31) if timeframe in (Timeframe.WEEKLY, Timeframe.MONTHLY) else timedelta(0)
        first, last = eastern.date_in_new_york(low), eastern.date_in_new_york(high)
        bars = self._market.bars(symbol, timeframe, first, min(last, date.max - reach) + reach, adjusted=adjusted)
        rows = _stamped(bars)
        return rows.at(np.flatnonzero((rows.time >= low) & (rows.time <= high)))

    def _moment(self) -> np.datetime64:
        now = self._market.now()
        return np.datetime64(datetime.now(UTC).replace(tzinfo=None), "us") if now is None else now

    def _state(self, moment: np.datetime64, local: datetime) -> str:
        calendar = self._market.calendar
        day = np.datetime64(local.date())
        if not calendar.is_session(day).any():
            return "closed"
        opening, closing = calendar.opening(day), calendar.closing(day)
        if opening <= moment < closing:
            return "open"
        if local.hour >= 4 and moment < opening:
            return "pre"
        # after a half day, extended hours end at 17:00
        end = 20 if closing - opening > np.timedelta64(4, "h") else 17
        return "post" if moment >= closing and local.hour < end else "closed"


def request_id() -> str:
    """A number of its own for each answer, in Polygon's form."""
    return f"{next(_NUMBERS):032x}"


def bad_request(reason: str) -> Answer:
    """An answer that says what is wrong with the question."""
    return json_answer({"status": "ERROR", "request_id": request_id(), "error": reason}, 400)


def unauthorised(is_missing: bool) -> Answer:
    """An answer to a missing or wrong key."""
    reason = "API Key was not provided" if is_missing else "Unknown API Key"
    return json_answer({"status": "ERROR", "request_id": request_id(), "error": reason}, 401)


def _stamped(bars: Bars) -> Rows:
    """Rows with the instant at which each period begins."""
    rows = Rows.of(bars)
    if bars.timeframe.is_intraday:
        return rows
    days: TimeArray = bars.time.astype("datetime64[D]")
    if bars.timeframe is Timeframe.WEEKLY:
        # day 3, 1970-01-04, was a Sunday
        days = days - ((days.astype(np.int64) - 3) % 7).astype("timedelta64[D]")
    elif bars.timeframe is Timeframe.MONTHLY:
        days = days.astype("datetime64[M]").astype("datetime64[D]")
    return rows._replace(time=eastern.midnights(days))


def _page(question: Question, rows: Rows, is_adjusted: bool, next_url: str, *, extra: str = "") -> Answer:
    announced = 0 if question.suffers(FaultKind.EMPTY) else rows.n_rows
    rows = spoilt(rows, question.fault)
    head = (
        f'{{"ticker":"{question.names["ticker"]}","queryCount":{announced},"resultsCount":{announced},'
        f'"adjusted":{str(is_adjusted).lower()},'
    )
    tail = f'"status":"OK","request_id":"{request_id()}"'
    results = f'"results":[{_encoded(rows, extra)}],' if rows.n_rows else ""
    count = f',"count":{announced}' if rows.n_rows else ""
    following = f',"next_url":"{next_url}"' if next_url else ""
    return Answer(f"{head}{results}{tail}{count}{following}}}".encode())


def _encoded(rows: Rows, extra: str) -> str:
    # ten times faster than a dictionary a row; repr() of a float is its shortest exact decimal, as JSON needs
    average = np.round((rows.open + rows.high + rows.low + rows.close) / 4, 4)
    transactions = np.maximum(rows.volume // 100, 1).astype(np.int64)
    row = "{" + extra + '"v":%r,"vw":%r,"o":%r,"c":%r,"h":%r,"l":%r,"t":%d,"n":%d}'
    columns = (rows.volume, average, rows.open, rows.close, rows.high, rows.low)
    values = [column.tolist() for column in (*columns, eastern.milliseconds(rows.time), transactions)]
    return ",".join([row % value for value in zip(*values, strict=True)])


def _bound(text: str, *, is_end: bool) -> np.datetime64:
    """The first or last instant of a date, or the instant of Unix milliseconds."""
    if text.isdigit():
        return eastern.instant(int(text))
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is neither a date YYYY-MM-DD nor Unix milliseconds") from None
    return eastern.midnight(day + _DAY) - np.timedelta64(1, "us") if is_end else eastern.midnight(day)


def _next_url(question: Question, bounds: tuple[int | str, int | str], query: dict[str, str]) -> str:
    kept: dict[str, str] = {name: query[name] for name in ("limit", "sort", "adjusted") if name in query}
    cursor = encoded(kept)
    names = question.names
    path = f"/v2/aggs/ticker/{names['ticker']}/range/{names['multiplier']}/{names['timespan']}/{bounds[0]}/{bounds[1]}"
    return f"{question.base_url}{path}?cursor={cursor}"


def _zulu(time: np.datetime64) -> str:
    return f"{np.datetime_as_string(time, 'ms')}Z"
