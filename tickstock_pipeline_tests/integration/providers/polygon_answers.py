"""Polygon's provider at a local server, and the answers of a server that does as it should."""

from datetime import UTC, date, datetime
from typing import Any

from pydantic import SecretStr

from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.base import HistoricalProvider
from tickstock_pipeline.providers.polygon import PolygonProvider
from tickstock_pipeline_tests.integration.providers.canned_server import CannedServer, CountingBudget

KEY = "Xq7-the-key-of-the-test"
YEAR = (date(2012, 1, 1), date(2012, 12, 31))
MORE_THAN_A_PAGE = (date(2012, 6, 1), date(2012, 12, 31))
SESSIONS_OF_2012 = 250
AGGREGATES = "/v2/aggs"
# 2012-03-01 00:00 and 2012-07-02 00:00 in New York
WINTER_MIDNIGHT_MS = 1330578000000
SUMMER_MIDNIGHT_MS = 1341201600000
MINUTE_MS = 60_000


def on(
    server: CannedServer, *, now: datetime = datetime(2026, 1, 2, tzinfo=UTC), timeout: float = 5.0
) -> PolygonProvider:
    """The provider whose server is this one, at a time of the test's choice."""
    return PolygonProvider(
        base_url=server.url, api_key=SecretStr(KEY), budget=CountingBudget(), timeout=timeout, now=lambda: now
    )


def row(milliseconds: Any, price: Any = 10.0, volume: Any = 100) -> dict[str, Any]:
    """One bar of one price."""
    return {"t": milliseconds, "o": price, "h": price, "l": price, "c": price, "v": volume, "vw": 1.0, "n": 1}


def page(*rows: Any, **changes: Any) -> dict[str, Any]:
    """The only page of bars of AAPL, with some of its fields changed."""
    return {
        "ticker": "AAPL",
        "queryCount": len(rows),
        "resultsCount": len(rows),
        "adjusted": False,
        "results": list(rows),
        "status": "OK",
        "request_id": "1",
    } | changes


def daily(provider: HistoricalProvider, symbol: str = "AAPL") -> Bars:
    """The days of 2012."""
    return provider.fetch_bars(symbol, Timeframe.DAILY, *YEAR).bars
