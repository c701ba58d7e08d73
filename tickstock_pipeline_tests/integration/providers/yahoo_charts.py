"""Charts as Yahoo draws them, made of the times and closes that a test gives."""

from collections.abc import Callable
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from tickstock_pipeline_tests.integration.providers.canned_server import Canned, Request

NEW_YORK = ZoneInfo("America/New_York")


def unix(day: date, hour: int = 9, minute: int = 30, second: int = 0) -> int:
    """Seconds since 1970 at a time of New York."""
    return int(datetime(day.year, day.month, day.day, hour, minute, second, tzinfo=NEW_YORK).timestamp())


def chart(
    stamps: list[int],
    closes: list[float | None],
    *,
    volumes: list[int | None] | None = None,
    events: dict[str, Any] | None = None,
    interval: str = "1d",
    **meta: Any,
) -> dict[str, Any]:
    """A chart whose bars are one price each."""
    days = sorted({datetime.fromtimestamp(stamp, NEW_YORK).date() for stamp in stamps if stamp < 1e10})
    periods = [[{"timezone": "EST", "start": unix(day), "end": unix(day, 16, 0), "gmtoffset": -18000}] for day in days]
    quote = dict.fromkeys(("open", "high", "low", "close"), closes)
    result: dict[str, Any] = {
        "meta": {
            "currency": "USD",
            "symbol": "AAPL",
            "instrumentType": "EQUITY",
            "exchangeTimezoneName": "America/New_York",
            "dataGranularity": interval,
            **({"tradingPeriods": periods} if interval == "1m" else {}),
            **meta,
        },
        "timestamp": stamps,
        "indicators": {"quote": [{**quote, "volume": volumes or [1000] * len(stamps)}]},
    }
    if events is not None:
        result["events"] = events
    return {"chart": {"result": [result], "error": None}}


def answering(daily: dict[str, Any], minutes: dict[str, Any] | None = None) -> Callable[[Request], Canned]:
    """Minutes to a request for minutes, days to all others."""
    return lambda request: Canned.of(minutes if minutes and request.query["interval"] == "1m" else daily)
