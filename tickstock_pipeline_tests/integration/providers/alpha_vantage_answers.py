"""Alpha Vantage's provider at a local server, and the answers of a server that does as it should."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from pydantic import SecretStr

from tickstock_pipeline.providers.alpha_vantage import AlphaVantageProvider
from tickstock_pipeline_tests.integration.providers.canned_server import Canned, CountingBudget, Request
from tickstock_pipeline_tests.integration.providers.sample_history import NOW

KEY = "K3Y0FTHEACCOUNT"
ZONE = "US/Eastern"


def provider_of(url: str, budget: CountingBudget, *, now: datetime = NOW, key: str = KEY) -> AlphaVantageProvider:
    """The provider whose server is at ``url``."""
    return AlphaVantageProvider(url, SecretStr(key), budget, 5.0, now=lambda: now)


def row(price: Any = "10.0000", volume: Any = "1000") -> dict[str, Any]:
    """One bar of one price."""
    return {"1. open": price, "2. high": price, "3. low": price, "4. close": price, "5. volume": volume}


def daily(rows: dict[str, Any], **meta: str) -> dict[str, Any]:
    """All days of AAPL; ``meta`` changes what the answer says of itself, spaces of a name as underscores."""
    said = {"2. Symbol": "AAPL", "4. Output Size": "Full size", "5. Time Zone": ZONE}
    named = {key: meta.get(key.partition(". ")[2].replace(" ", "_"), value) for key, value in said.items()}
    return {"Meta Data": {"1. Information": "Daily Prices", **named}, "Time Series (Daily)": rows}


def minutes(rows: dict[str, Any], **meta: str) -> dict[str, Any]:
    """A month of minutes of AAPL; ``meta`` as for :func:`daily`."""
    said = {"2. Symbol": "AAPL", "4. Interval": "1min", "5. Output Size": "Full size", "6. Time Zone": ZONE}
    named = {key: meta.get(key.partition(". ")[2].replace(" ", "_"), value) for key, value in said.items()}
    return {"Meta Data": {"1. Information": "Intraday", **named}, "Time Series (1min)": rows}


def answering(value: Any) -> Callable[[Request], Canned]:
    """The same to every request."""
    return lambda request: Canned.of(value)
