"""What Polygon says of the market: it knows of halts of the whole market that no calendar does."""

import json
from collections.abc import Callable

import urllib3
from massive import RESTClient
from massive.exceptions import BadResponse
from pydantic import SecretStr

from tickstock_pipeline.errors import RateLimitedError
from tickstock_pipeline.market.status import MarketPhase
from tickstock_pipeline.providers.limits import RequestBudget

_SECONDS = 5.0


def polygon_market(base_url: str, api_key: SecretStr, budget: RequestBudget) -> Callable[[], str]:
    """A question to ask now and then, in a thread: in which phase the market is.

    Returns
    -------
    What gives a :class:`MarketPhase` as text; empty where there is no answer.
    """
    client = RESTClient(
        api_key=api_key.get_secret_value(), base=base_url, retries=0, connect_timeout=_SECONDS, read_timeout=_SECONDS
    )

    def ask() -> str:
        try:
            budget.acquire()
            # what the client makes of an answer that it does not expect is an error of any kind
            status = json.loads(client.get_market_status(raw=True).data)
        except (BadResponse, RateLimitedError, urllib3.exceptions.HTTPError, OSError, ValueError, RecursionError):
            return ""
        if not isinstance(status, dict) or not isinstance(status.get("market"), str):
            return ""
        if status["market"] == "open":
            return MarketPhase.REGULAR.value
        if status.get("earlyHours") is True:
            return MarketPhase.PRE.value
        return MarketPhase.POST.value if status.get("afterHours") is True else MarketPhase.CLOSED.value

    return ask
