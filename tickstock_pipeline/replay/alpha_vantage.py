"""Alpha Vantage's ``/query``: daily and minute series, splits, dividends, quote and market status.

Facts about the protocol: https://www.alphavantage.co/documentation. Series come newest first, prices as text with four
decimals, minutes stamped at their start on New York's clock. What goes wrong is said in a JSON object inside a 200:
``Error Message`` for a bad call or unknown symbol, ``Note`` or ``Information`` for a spent quota or a lacking plan.
"""

import calendar
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime

import numpy as np

from tickstock_pipeline.market.adjustment import price_divisors
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.replay import eastern
from tickstock_pipeline.replay.answer import CSV, Answer, Question, json_answer
from tickstock_pipeline.replay.dividends import dividend_factors
from tickstock_pipeline.replay.faults import FaultKind
from tickstock_pipeline.replay.market import ReplayMarket
from tickstock_pipeline.replay.rows import Rows, spoilt

_COMPACT = 100
_ZONE = "US/Eastern"
_PLAIN = ("open", "high", "low", "close", "volume")
_ADJUSTED = ("open", "high", "low", "close", "adjusted close", "volume", "dividend amount", "split coefficient")


class AlphaVantage:
    """The one endpoint, by its ``function``."""

    def __init__(self, market: ReplayMarket) -> None:
        self._market = market
        self._functions = {
            "TIME_SERIES_DAILY": self._daily,
            "TIME_SERIES_DAILY_ADJUSTED": self._daily_adjusted,
            "TIME_SERIES_INTRADAY": self._intraday,
            "SPLITS": self._splits,
            "DIVIDENDS": self._dividends,
            "GLOBAL_QUOTE": self._quote,
        }

    def query(self, question: Question) -> Answer:
        """``/query``."""
        function = question.query.get("function", "")
        if not question.key:
            return error_message("the parameter apikey is missing")
        if function == "MARKET_STATUS":
            return self._status()
        if function not in self._functions:
            return error_message(f"there is no function {function!r}")
        if self._market.listing(question.symbol) is None:
            return error_message(f"{function} knows no symbol {question.symbol!r}")
        return self._functions[function](question)

    def _daily(self, question: Question) -> Answer:
        bars = self._market.bars(question.symbol, Timeframe.DAILY, date.min, date.max)
        is_full = question.query.get("outputsize") == "full"
        rows = Rows.of(bars if is_full else bars[-_COMPACT:])
        meta = _meta("Daily Prices (open, high, low, close) and Volumes", question, rows, is_full)
        return _series(question, meta, "Time Series (Daily)", _PLAIN, rows, _plain_columns)

    def _daily_adjusted(self, question: Question) -> Answer:
        bars = self._market.bars(question.symbol, Timeframe.DAILY, date.min, date.max)
        splits, dividends = self._market.splits(question.symbol), self._market.dividends(question.symbol)
        adjusted = bars.close * dividend_factors(bars, dividends) / price_divisors(bars, splits)
        days = bars.time.astype("datetime64[D]")
        paid, ratios = np.zeros(len(bars)), np.ones(len(bars))
        for dividend in dividends:
            paid[days == np.datetime64(dividend.ex_date)] += dividend.amount
        for split in splits:
            ratios[days == np.datetime64(split.ex_date)] *= split.ratio

        def columns(rows: Rows) -> list[list[str]]:
            *prices, volume = _plain_columns(rows)
            position = np.searchsorted(bars.time, rows.time)
            return [
                *prices,
                [_price(value) for value in adjusted[position]],
                volume,
                [_price(value) for value in paid[position]],
                [str(value) for value in ratios[position].tolist()],
            ]

        is_full = question.query.get("outputsize") == "full"
        rows = Rows.of(bars if is_full else bars[-_COMPACT:])
        meta = _meta("Daily Time Series with Splits and Dividend Events", question, rows, is_full)
        return _series(question, meta, "Time Series (Daily)", _ADJUSTED, rows, columns)

    def _intraday(self, question: Question) -> Answer:
        query = question.query
        if query.get("interval") != "1min":
            return error_message("this server has the interval 1min")
        is_adjusted = query.get("adjusted", "true") != "false"
        first, last = date.min, date.max
        if month := query.get("month", ""):
            try:
                begin = datetime.strptime(month, "%Y-%m")
            except ValueError:
                return error_message(f"month must be YYYY-MM, not {month!r}")
            first = begin.date()
            last = first.replace(day=calendar.monthrange(first.year, first.month)[1])
        else:
            newest = self._market.bars(question.symbol, Timeframe.DAILY, date.min, date.max)[-30:]
            if len(newest):
                first, last = eastern.as_date(newest.time[0]), eastern.as_date(newest.time[-1])
        bars = self._market.bars(question.symbol, Timeframe.MINUTE, first, last, adjusted=is_adjusted)
        if query.get("extended_hours", "true") == "false":
            bars = bars[self._market.calendar.in_session(Timeframe.MINUTE, bars.time)]
        is_full = query.get("outputsize") == "full"
        rows = Rows.of(bars if is_full else bars[-_COMPACT:])
        rows = rows._replace(time=eastern.local(rows.time))
        name = "Intraday (1min) open, high, low, close prices and volume"
        meta = {
            "1. Information": name,
            "2. Symbol": query.get("symbol", ""),
            "3. Last Refreshed": _stamp(rows.time[-1], is_day=False) if rows.n_rows else "",
            "4. Interval": "1min",
            "5. Output Size": "Full size" if is_full else "Compact",
            "6. Time Zone": _ZONE,
        }
        return _series(question, meta, "Time Series (1min)", _PLAIN, rows, _plain_columns, is_day=False)

    def _splits(self, question: Question) -> Answer:
        found = [
            {"effective_date": str(split.ex_date), "split_factor": f"{split.ratio:.4f}"}
            for split in reversed(self._market.splits(question.symbol))
        ]
        return _facts(question, found)

    def _dividends(self, question: Question) -> Answer:
        found = [
            {
                "ex_dividend_date": str(dividend.ex_date),
                "declaration_date": "None",
                "record_date": "None",
                "payment_date": "None",
                "amount": repr(dividend.amount),
            }
            for dividend in reversed(self._market.dividends(question.symbol))
        ]
        return _facts(question, found)

    def _quote(self, question: Question) -> Answer:
        bars = self._market.bars(question.symbol, Timeframe.DAILY, date.min, date.max)[-2:]
        if not len(bars) or question.suffers(FaultKind.EMPTY):
            return json_answer({"Global Quote": {}})
        before = bars.close[0]
        change = bars.close[-1] - before
        return json_answer(
            {
                "Global Quote": {
                    "01. symbol": question.query.get("symbol", ""),
                    "02. open": _price(bars.open[-1]),
                    "03. high": _price(bars.high[-1]),
                    "04. low": _price(bars.low[-1]),
                    "05. price": _price(bars.close[-1]),
                    "06. volume": str(bars.volume[-1]),
                    "07. latest trading day": _stamp(bars.time[-1], is_day=True),
                    "08. previous close": _price(before),
                    "09. change": _price(change),
                    "10. change percent": f"{change / before * 100:.4f}%",
                }
            }
        )

    def _status(self) -> Answer:
        now = self._market.now()
        moment = np.datetime64(datetime.now(UTC).replace(tzinfo=None), "us") if now is None else now
        is_open = bool(self._market.calendar.in_session(Timeframe.MINUTE, np.array([moment])).item())
        region = {
            "market_type": "Equity",
            "region": "United States",
            "primary_exchanges": "NASDAQ, NYSE, AMEX, BATS",
            "local_open": "09:30",
            "local_close": "16:15",
            "current_status": "open" if is_open else "closed",
            "notes": "",
        }
        return json_answer({"endpoint": "Global Market Open & Close Status", "markets": [region]})


def error_message(reason: str) -> Answer:
    """What Alpha Vantage says of a call that it cannot answer."""
    return json_answer({"Error Message": f"Invalid API call: {reason}."})


def _facts(question: Question, found: list[dict[str, str]]) -> Answer:
    if question.suffers(FaultKind.EMPTY):
        found = []
    if question.query.get("datatype") == "csv":
        lines = [",".join(found[0]), *(",".join(item.values()) for item in found)] if found else []
        return _csv(lines)
    return json_answer({"symbol": question.query.get("symbol", ""), "data": found})


def _meta(information: str, question: Question, rows: Rows, is_full: bool) -> dict[str, str]:
    return {
        "1. Information": information,
        "2. Symbol": question.query.get("symbol", ""),
        "3. Last Refreshed": _stamp(rows.time[-1], is_day=True) if rows.n_rows else "",
        "4. Output Size": "Full size" if is_full else "Compact",
        "5. Time Zone": _ZONE,
    }


def _plain_columns(rows: Rows) -> list[list[str]]:
    prices = [[_price(value) for value in column] for column in (rows.open, rows.high, rows.low, rows.close)]
    return [*prices, [str(value) for value in rows.volume.tolist()]]


def _series(
    question: Question,
    meta: dict[str, str],
    title: str,
    names: tuple[str, ...],
    rows: Rows,
    columns_of: Callable[[Rows], list[list[str]]],
    *,
    is_day: bool = True,
) -> Answer:
    """A series as JSON or CSV, newest first; a truncated one ends before its rows."""
    is_truncated = question.suffers(FaultKind.TRUNCATED) and rows.n_rows > 0
    rows = spoilt(rows, question.fault)
    columns = columns_of(rows)
    keys = [_stamp(time, is_day=is_day) for time in rows.time]
    if question.query.get("datatype") == "csv":
        header = "timestamp," + ",".join(name.replace(" ", "_") for name in names)
        lines = [f"{key},{','.join(values)}" for key, *values in zip(keys, *columns, strict=True)]
        return _csv([header, *reversed(lines)])
    body = json_answer({"Meta Data": meta}).body.decode()
    if is_truncated:
        return Answer(body.encode())
    # text instead of a dictionary, so that a key can come twice where a fault wants it
    template = ",".join(f'"{number}. {name}":"%s"' for number, name in enumerate(names, 1))
    items = [f'"{key}":{{{template % tuple(values)}}}' for key, *values in zip(keys, *columns, strict=True)]
    return Answer(f'{body[:-1]},"{title}":{{{",".join(reversed(items))}}}}}'.encode())


def _csv(lines: Iterable[str]) -> Answer:
    return Answer("".join(f"{line}\r\n" for line in lines).encode(), 200, CSV)


def _price(value: float) -> str:
    return f"{value:.4f}"


def _stamp(time: np.datetime64, *, is_day: bool) -> str:
    text = str(np.datetime_as_string(time, "D" if is_day else "s"))
    return text.replace("T", " ")
