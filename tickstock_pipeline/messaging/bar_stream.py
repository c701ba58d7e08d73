"""The streams of live bars: who writes them, which stream a symbol is in, and what may be trimmed.

All bars of a symbol are in one stream, so that a symbol's order holds. The number of streams is fixed when the first
of them is written and kept in Redis, so that no two processes can disagree about it.
"""

import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import redis

from tickstock_pipeline.messaging.bar_event import LiveBar, encode
from tickstock_pipeline.messaging.channels import BAR_GROUP, BAR_SHARDS, bar_stream
from tickstock_pipeline.messaging.connection import named_errors

DEFAULT_SHARDS = 16
"""Streams where none are there yet; as many workers can share the work."""

BAR_FIELD = b"bar"
VIA_FIELD = b"via"
"""How a bar came to us; absent where we took it from a provider ourselves."""
VIA_CONSUMER = b"redis"
"""The consumer application ingests and has published the bar itself, so we do not publish it again."""
VIA_DATABASE = b"database"
"""Another program has stored the bar in ``ohlcv_1min``: it wants analysis, and is not published as one of ours."""

_ADDED_AT_ONCE = 1000
# As a command of its own an entry would cost the client 40 µs, most of it for the answer.
_ADD = """
for i = 4, #ARGV, 2 do
    if ARGV[3] == '' then
        redis.call('XADD', KEYS[tonumber(ARGV[i])], '*', ARGV[1], ARGV[i + 1])
    else
        redis.call('XADD', KEYS[tonumber(ARGV[i])], '*', ARGV[1], ARGV[i + 1], ARGV[2], ARGV[3])
    end
end
return redis.status_reply('OK')
"""


def shard_of(symbol: str, n_shards: int) -> int:
    """The shard of a symbol: the same in every process and release."""
    return zlib.crc32(symbol.encode()) % n_shards


def shard_count(client: "redis.Redis") -> int:
    """How many shards there are; the first who asks fixes it.

    Raises
    ------
    MessagingError
        If Redis does not answer.
    """
    with named_errors():
        client.set(BAR_SHARDS, DEFAULT_SHARDS, nx=True)
        stored: Any = client.get(BAR_SHARDS)
        return int(stored)


class BarStream:
    """Writes live bars to the streams.

    Parameters
    ----------
    client : of :func:`tickstock_pipeline.messaging.connection.connect`
    """

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client
        self._script = client.register_script(_ADD)
        self.n_shards = shard_count(client)

    def append(self, bars: Sequence[LiveBar], *, via: bytes | None = None) -> None:
        """Add bars, in this order; a thousand in one round trip.

        Parameters
        ----------
        bars : finished ones; a later bar of the same symbol and time replaces an earlier one
        via : :data:`VIA_CONSUMER` for bars that the consumer application has published, :data:`VIA_DATABASE` for bars
            that another program has stored

        Raises
        ------
        MessagingError
            If Redis did not take them; some may have been added.
        """
        self.append_raw([(bar.symbol, encode(bar)) for bar in bars], via=via)

    def append_raw(self, messages: Iterable[tuple[str, bytes]], *, via: bytes | None = None) -> None:
        """Add market data events as they are: (symbol, JSON)."""
        given = [(shard_of(symbol, self.n_shards), raw) for symbol, raw in messages]
        for start in range(0, len(given), _ADDED_AT_ONCE):
            together = given[start : start + _ADDED_AT_ONCE]
            shards = sorted({shard for shard, _ in together})
            places = {shard: place for place, shard in enumerate(shards, start=1)}
            arguments: list[Any] = [BAR_FIELD, VIA_FIELD, via or b""]
            for shard, raw in together:
                arguments += (places[shard], raw)
            with named_errors():
                self._script([bar_stream(shard) for shard in shards], arguments)


def trim(client: "redis.Redis", shards: Iterable[int]) -> int:
    """Drop the entries that nobody needs any more.

    An entry is dropped if it is below the lowest pending and the first undelivered entry of every group; a stream that
    nobody reads yet is left alone.

    Returns
    -------
    How many were dropped.
    """
    dropped = 0
    with named_errors():
        for shard in shards:
            stream = bar_stream(shard)
            bounds = [_needed_from(client, stream, group) for group in _groups(client, stream)]
            if bounds:
                first_needed = min(bounds)
                dropped += int(client.xtrim(stream, minid="{}-{}".format(*first_needed), approximate=False))
    return dropped


def create_groups(client: "redis.Redis", shards: Iterable[int]) -> None:
    """Make the workers' group on each stream, from its first entry on, where it is missing."""
    with named_errors():
        for shard in shards:
            try:
                client.xgroup_create(bar_stream(shard), BAR_GROUP, id="0", mkstream=True)
            except redis.ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):
                    raise


EntryId = tuple[int, int]


def parsed_id(entry_id: bytes) -> EntryId:
    """An entry's id: milliseconds since 1970 of its arrival in Redis, and a number within that."""
    milliseconds, _, number = entry_id.partition(b"-")
    return int(milliseconds), int(number)


def _groups(client: "redis.Redis", stream: str) -> list[dict[str, Any]]:
    return list(client.xinfo_groups(stream)) if client.exists(stream) else []


def _needed_from(client: "redis.Redis", stream: str, group: dict[str, Any]) -> EntryId:
    # Read before the pending entries: what is delivered in between has a later id than this.
    milliseconds, number = parsed_id(group["last-delivered-id"])
    pending = client.xpending(stream, group["name"])
    if pending["pending"]:
        return parsed_id(pending["min"])
    return milliseconds, number + 1
