"""Reading the streams of live bars as a worker: new entries, entries left pending by others, acknowledgement.

A consumer group alone would hand a symbol's entries to several workers; who may read which shard is decided by leases.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import redis

from tickstock_pipeline.messaging.bar_stream import BAR_FIELD, VIA_FIELD, create_groups, parsed_id
from tickstock_pipeline.messaging.channels import BAR_GROUP, bar_stream
from tickstock_pipeline.messaging.connection import named_errors

_CLAIMED_AT_ONCE = 1000


class Entry(NamedTuple):
    """One entry of a stream.

    Attributes
    ----------
    raw : the market data event as it came; empty: the entry has none
    via : see ``bar_stream.VIA_FIELD``; empty: from our own feed
    is_repeat : it was delivered before, so it may have been stored already, and published or not
    """

    shard: int
    id: bytes
    raw: bytes
    via: bytes
    is_repeat: bool

    @property
    def arrived_ms(self) -> int:
        """When it came to Redis, milliseconds since 1970."""
        return parsed_id(self.id)[0]


class ShardLag(NamedTuple):
    """What is left to do on a shard: entries not delivered, and entries delivered but not acknowledged."""

    undelivered: int
    pending: int


class BarReader:
    """Reads shards under one consumer's name.

    Parameters
    ----------
    client : of :func:`tickstock_pipeline.messaging.connection.connect`
    consumer : this process's name, which no other has
    """

    def __init__(self, client: "redis.Redis", consumer: str) -> None:
        self._client = client
        self._consumer = consumer

    def claim(self, shards: Sequence[int], *, idle_ms: int = 0) -> list[Entry]:
        """All entries of these shards that were delivered to anybody and not acknowledged; oldest first.

        Parameters
        ----------
        idle_ms : leave those that were delivered later than that
        """
        found: list[Entry] = []
        with named_errors():
            try:
                self._claim(shards, idle_ms, found)
            except redis.ResponseError as error:
                self._make_groups_after(error, shards)
        return found

    def _claim(self, shards: Iterable[int], idle_ms: int, found: list[Entry]) -> None:
        for shard in shards:
            start = b"0-0"
            while True:
                start, entries, *_ = self._client.xautoclaim(
                    bar_stream(shard), BAR_GROUP, self._consumer, idle_ms, start, count=_CLAIMED_AT_ONCE
                )
                found += [_entry(shard, entry_id, fields, True) for entry_id, fields in entries]
                if start == b"0-0":
                    break

    def _make_groups_after(self, error: redis.ResponseError, shards: Iterable[int]) -> None:
        if not str(error).startswith("NOGROUP"):
            raise error
        # Redis has been emptied, or has lost its last second
        create_groups(self._client, shards)

    def read(self, shards: Sequence[int], *, wait_ms: int, at_most: int) -> list[Entry]:
        """New entries, those of a shard in their order.

        Parameters
        ----------
        wait_ms : how long to wait for the first one; 0: not at all. A server at rest looks at its clock ten times a
            second only, so that any other wait may last 100 ms
        at_most : from each shard
        """
        streams: dict[Any, Any] = {bar_stream(shard): ">" for shard in shards}
        with named_errors():
            try:
                answer: Any = self._client.xreadgroup(
                    BAR_GROUP, self._consumer, streams, count=at_most, block=wait_ms or None
                )
            except redis.ResponseError as error:
                self._make_groups_after(error, shards)
                return []
        by_name = {bar_stream(shard).encode(): shard for shard in shards}
        return [
            _entry(by_name[name], entry_id, fields, False)
            for name, entries in answer or ()
            for entry_id, fields in entries
        ]

    def acknowledge(self, entries: Iterable[Entry]) -> None:
        """Say that these entries are done: never before their bars are committed."""
        ids: dict[int, list[bytes]] = {}
        for entry in entries:
            ids.setdefault(entry.shard, []).append(entry.id)
        if not ids:
            return
        with named_errors():
            pipeline = self._client.pipeline(transaction=False)
            for shard, done in ids.items():
                pipeline.xack(bar_stream(shard), BAR_GROUP, *done)
            pipeline.execute()

    def lag(self, shards: Iterable[int]) -> dict[int, ShardLag]:
        """What is left to do on each shard that has a stream."""
        found = {}
        with named_errors():
            for shard in shards:
                if self._client.exists(bar_stream(shard)):
                    groups: Any = self._client.xinfo_groups(bar_stream(shard))
                    for group in groups:
                        if group["name"] == BAR_GROUP.encode():
                            found[shard] = ShardLag(int(group["lag"] or 0), int(group["pending"]))
        return found


def _entry(shard: int, entry_id: bytes, fields: Mapping[bytes, bytes] | None, is_repeat: bool) -> Entry:
    fields = fields or {}
    return Entry(shard, entry_id, fields.get(BAR_FIELD, b""), fields.get(VIA_FIELD, b""), is_repeat)
