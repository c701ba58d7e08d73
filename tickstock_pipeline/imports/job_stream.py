"""The durable way in: a Redis stream read by a consumer group, so that a job waits for us instead of being lost."""

import os
import socket
from collections.abc import Iterator
from typing import Any

import redis

from tickstock_pipeline.messaging.channels import JOB_STREAM

FIELDS = (b"message", b"data", b"payload")
"""The field that holds the JSON document; the first of these that an entry has."""

_GROUP = "tickstock"
_READ_MS = 500
_AT_ONCE = 20
# An entry that was read and not acknowledged for so long is read again: its reader died, or had no database. Storing
# takes milliseconds, and storing a job twice changes nothing.
_ABANDONED_MS = 5_000


class JobStream:
    """Entries of ``channels.JOB_STREAM``, each given until it is acknowledged."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._consumer = f"{socket.gethostname()}:{os.getpid()}"
        self._has_group = False

    def read(self) -> Iterator[tuple[bytes, bytes]]:
        """Entries that wait, as (id, document); none after half a second without one.

        An entry without a document is given as an empty one, so that it is counted like any other nonsense.
        """
        if not self._has_group:
            self._make_group()
        try:
            claimed: Any = self._client.xautoclaim(
                JOB_STREAM, _GROUP, self._consumer, _ABANDONED_MS, start_id="0-0", count=_AT_ONCE
            )
            answer: Any = self._client.xreadgroup(
                _GROUP, self._consumer, {JOB_STREAM: ">"}, count=_AT_ONCE, block=None if claimed[1] else _READ_MS
            )
        except redis.ResponseError as error:
            # the stream was deleted, and its group with it
            if not str(error).startswith("NOGROUP"):
                raise
            self._has_group = False
            return
        entries = list(claimed[1])
        for _, found in answer or []:
            entries += found
        for entry_id, fields in entries:
            yield entry_id, next((fields[name] for name in FIELDS if name in fields), b"")

    def acknowledge(self, entry_id: bytes) -> None:
        """The entry is stored: it is not given again, and leaves the stream."""
        with self._client.pipeline(transaction=True) as pipeline:
            pipeline.xack(JOB_STREAM, _GROUP, entry_id)
            pipeline.xdel(JOB_STREAM, entry_id)
            pipeline.execute()

    def _make_group(self) -> None:
        try:
            self._client.xgroup_create(JOB_STREAM, _GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        self._has_group = True
