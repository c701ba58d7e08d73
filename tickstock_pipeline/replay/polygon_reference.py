"""Polygon's reference endpoints: tickers, splits and dividends, in the older (v3) and the newer (stocks/v1) form.

All of them filter by parameters like ``ticker``, ``ticker.gte`` or ``execution_date.lt``, sort, and give pages with a
cursor in ``next_url``.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from tickstock_pipeline.market.adjustment import Dividend, Split
from tickstock_pipeline.replay.answer import Answer, Question, json_answer
from tickstock_pipeline.replay.cursor import decoded, encoded
from tickstock_pipeline.replay.faults import FaultKind
from tickstock_pipeline.replay.market import ReplayMarket
from tickstock_pipeline.replay.polygon import bad_request, request_id

_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "": operator.eq,
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
    "any_of": lambda value, wanted: value in wanted.split(","),
}
_MAX_LIMIT = 1_000
_LARGEST_DENOMINATOR = 1_000


class PolygonReference:
    """The endpoints that give facts about symbols."""

    def __init__(self, market: ReplayMarket) -> None:
        self._market = market

    def tickers(self, question: Question) -> Answer:
        """``/v3/reference/tickers``."""
        rows = [_ticker(listing.symbol, listing.name) for listing in self._market.listings()]
        if search := question.query.get("search", "").lower():
            rows = [row for row in rows if search in row["ticker"].lower() or search in row["name"].lower()]
        if question.query.get("active") == "false":
            rows = []
        return _listed(question, rows, "ticker", 100)

    def ticker(self, question: Question) -> Answer:
        """``/v3/reference/tickers/{ticker}``."""
        listing = self._market.listing(question.names["ticker"])
        if listing is None:
            return json_answer({"status": "NOT_FOUND", "request_id": request_id(), "message": "Ticker not found."}, 404)
        results = {**_ticker(listing.symbol, listing.name), "list_date": str(listing.first)}
        return json_answer({"request_id": request_id(), "results": results, "status": "OK"})

    def splits(self, question: Question) -> Answer:
        """``/v3/reference/splits``."""
        rows: list[dict[str, Any]] = []
        for split in self._all_splits():
            to, from_ = _ratio(split)
            rows.append(
                {
                    "execution_date": str(split.ex_date),
                    "id": f"E{split.symbol}{split.ex_date:%Y%m%d}",
                    "split_from": from_,
                    "split_to": to,
                    "ticker": split.symbol,
                }
            )
        if "reverse_split" in question.query:
            is_reverse = question.query["reverse_split"] == "true"
            rows = [row for row in rows if (row["split_from"] > row["split_to"]) == is_reverse]
        return _listed(question, rows, "-execution_date", 10)

    def stock_splits(self, question: Question) -> Answer:
        """``/stocks/v1/splits``."""
        rows = []
        for split in self._all_splits():
            to, from_ = _ratio(split)
            later = [other.ratio for other in self._market.splits(split.symbol) if other.ex_date >= split.ex_date]
            rows.append(
                {
                    "adjustment_type": "forward_split" if to > from_ else "reverse_split",
                    "execution_date": str(split.ex_date),
                    "historical_adjustment_factor": 1.0 / _product(later),
                    "id": f"E{split.symbol}{split.ex_date:%Y%m%d}",
                    "split_from": float(from_),
                    "split_to": float(to),
                    "ticker": split.symbol,
                }
            )
        return _listed(question, rows, "-execution_date", 100)

    def dividends(self, question: Question) -> Answer:
        """``/v3/reference/dividends``."""
        rows = [
            {
                "cash_amount": dividend.amount,
                "currency": "USD",
                "dividend_type": "CD",
                "ex_dividend_date": str(dividend.ex_date),
                "frequency": 4,
                "id": f"E{dividend.symbol}{dividend.ex_date:%Y%m%d}",
                "ticker": dividend.symbol,
            }
            for dividend in self._all_dividends()
        ]
        return _listed(question, rows, "-ex_dividend_date", 10)

    def stock_dividends(self, question: Question) -> Answer:
        """``/stocks/v1/dividends``."""
        rows = []
        for dividend in self._all_dividends():
            later = [split.ratio for split in self._market.splits(dividend.symbol) if split.ex_date > dividend.ex_date]
            rows.append(
                {
                    "cash_amount": dividend.amount,
                    "currency": "USD",
                    "distribution_type": "recurring",
                    "ex_dividend_date": str(dividend.ex_date),
                    "frequency": 4,
                    "id": f"E{dividend.symbol}{dividend.ex_date:%Y%m%d}",
                    "split_adjusted_cash_amount": dividend.amount / _product(later),
                    "ticker": dividend.symbol,
                }
            )
        return _listed(question, rows, "-ex_dividend_date", 100)

    def _all_splits(self) -> list[Split]:
        return [split for listing in self._market.listings() for split in self._market.splits(listing.symbol)]

    def _all_dividends(self) -> list[Dividend]:
        return [dividend for listing in self._market.listings() for dividend in self._market.dividends(listing.symbol)]


def _ticker(symbol: str, name: str) -> dict[str, Any]:
    return {
        "active": True,
        "currency_name": "usd",
        "locale": "us",
        "market": "stocks",
        "name": name,
        "primary_exchange": "XNYS",
        "ticker": symbol,
        "type": "CS",
    }


def _listed(question: Question, rows: list[dict[str, Any]], default_sort: str, default_limit: int) -> Answer:
    """One page of the rows that pass the filters. A sort that begins with ``-``, or ends with ``.desc``, descends."""
    query = {**question.query, **decoded(question.query.get("cursor", ""))}
    try:
        limit, offset = min(int(query.get("limit", default_limit)), _MAX_LIMIT), int(query.get("offset", 0))
    except ValueError:
        return bad_request("limit must be a number")
    if limit < 1 or offset < 0:
        return bad_request("limit must be positive")
    rows = [row for row in rows if _passes(row, query)]
    sort = query.get("sort", default_sort)
    name, _, direction = sort.removeprefix("-").partition(".")
    is_descending = direction == "desc" or query.get("order", "desc" if sort.startswith("-") else "asc") == "desc"
    if all(name in row for row in rows):
        rows.sort(key=lambda row: (row[name], row["ticker"]), reverse=is_descending)
    page = rows[offset : offset + limit]
    if question.suffers(FaultKind.EMPTY):
        page = []
    body: dict[str, Any] = {"results": page, "status": "OK", "request_id": request_id(), "count": len(page)}
    if question.suffers(FaultKind.REPEATED_CURSOR):
        body["next_url"] = _next_url(question, query, offset)
    elif question.suffers(FaultKind.TRUNCATED):
        body["results"] = page[: len(page) // 2]
    elif offset + limit < len(rows):
        body["next_url"] = _next_url(question, query, offset + limit)
    if question.suffers(FaultKind.DUPLICATES):
        body["results"] = page + page[-1:]
    return json_answer(body)


def _passes(row: Mapping[str, Any], query: Mapping[str, str]) -> bool:
    for parameter, wanted in query.items():
        name, _, comparison = parameter.partition(".")
        if name not in row or comparison not in _COMPARISONS or isinstance(row[name], bool):
            continue
        value = row[name]
        try:
            typed: Any = type(value)(wanted) if isinstance(value, int | float) else wanted
        except ValueError:
            return False
        if not _COMPARISONS[comparison](value, typed):
            return False
    return True


def _ratio(split: Split) -> tuple[int, int]:
    """New shares for how many old ones, in whole shares."""
    ratio = Fraction(split.ratio).limit_denominator(_LARGEST_DENOMINATOR)
    return ratio.numerator, ratio.denominator


def _product(ratios: Sequence[float]) -> float:
    product = 1.0
    for ratio in ratios:
        product *= ratio
    return product


def _next_url(question: Question, query: Mapping[str, str], offset: int) -> str:
    kept = {name: value for name, value in query.items() if name != "cursor"} | {"offset": str(offset)}
    cursor = encoded(kept)
    return f"{question.base_url}{question.path}?cursor={cursor}"
