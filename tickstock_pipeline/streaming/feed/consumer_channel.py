"""The channel ``tickstock_data`` as a live source: the consumer application ingests from a provider and forwards bars.

What we publish there ourselves is recognised and passed over. Only 1min bars are taken.
"""

import json
from collections.abc import Iterable
from typing import Any

import redis
import redis.asyncio

from tickstock_pipeline.errors import ProviderUnavailableError
from tickstock_pipeline.market.bar import RefusedBar
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.messaging.bar_event import LiveBar, decode, is_ours
from tickstock_pipeline.messaging.bar_stream import VIA_CONSUMER
from tickstock_pipeline.messaging.channels import MARKET_DATA
from tickstock_pipeline.streaming.feed.source import Line, Reading

_CONNECT_S = 5
_HEALTH_CHECK_S = 15
_MINUTE_US = 60_000_000
_RAW_SHOWN = 500


class ConsumerChannel:
    """See :class:`tickstock_pipeline.streaming.feed.source.LiveSource`.

    Parameters
    ----------
    redis_url : a secret
    """

    name = "redis"
    via: bytes | None = VIA_CONSUMER

    def __init__(self, redis_url: str) -> None:
        self._url = redis_url
        self._symbols: frozenset[str] = frozenset()

    async def listen(self, line: Line) -> None:
        """One subscription."""
        client = redis.asyncio.Redis.from_url(
            self._url, protocol=2, socket_connect_timeout=_CONNECT_S, health_check_interval=_HEALTH_CHECK_S
        )
        try:
            async with client, client.pubsub() as subscription:
                await subscription.subscribe(MARKET_DATA)
                async for message in subscription.listen():
                    if message["type"] == "subscribe":
                        line.opened()
                    elif message["type"] == "message":
                        await line.heard(message["data"])
        except (redis.RedisError, OSError) as error:
            raise ProviderUnavailableError(f"Redis does not answer: {type(error).__name__}") from None
        raise ProviderUnavailableError("the subscription ended")

    def follow(self, symbols: Iterable[str]) -> None:
        """Take these symbols' bars; none: all."""
        self._symbols = frozenset(symbols)

    def due(self, now_ms: int) -> list[LiveBar]:
        """Nothing: bars come closed."""
        return []

    def read(self, payload: bytes, at: float) -> Reading:
        """The bar of a message."""
        reading = Reading()
        if is_ours(payload):
            return reading
        reading.n_events = 1
        try:
            bar = decode(payload)
        except ValueError as error:
            if not _is_of_another_timeframe(payload):
                text = payload.decode("utf-8", errors="replace")[:_RAW_SHOWN]
                reading.refused.append(("redis", RefusedBar("", Timeframe.MINUTE, "", str(error), {"message": text})))
            return reading
        if bar.timeframe is Timeframe.MINUTE and (not self._symbols or bar.symbol in self._symbols):
            reading.newest_ms = (bar.time + _MINUTE_US) // 1_000
            reading.bars.append(bar)
        return reading


def _is_of_another_timeframe(payload: bytes) -> bool:
    """Whether it is a sound event of a period that we have no name for, such as a second."""
    try:
        event: Any = json.loads(payload)
        return isinstance(event["timeframe"], str) and event["timeframe"] not in set(Timeframe)
    except (ValueError, TypeError, KeyError, RecursionError):
        return False
