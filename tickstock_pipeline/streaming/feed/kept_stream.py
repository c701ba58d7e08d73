"""The streams of live bars as the feed writes them: what Redis loses in a crash is written again.

Redis may lose its last second when it is killed, more with other settings of its own, and an append that fails may
have been done in part. So the last appends are kept here. When Redis turns out to be another run of the server, or an
append has failed, the tails of the streams are compared with them, and what is not there is appended again, in order.
Where the streams end before all that is kept, more may be missing than is known here: the caller is told.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import redis

from tickstock_pipeline.messaging.bar_event import LiveBar, decode, encode
from tickstock_pipeline.messaging.bar_stream import BAR_FIELD, VIA_FIELD, BarStream, parsed_id, shard_of
from tickstock_pipeline.messaging.channels import bar_stream
from tickstock_pipeline.messaging.connection import named_errors, server_run

_KEPT = 20_000
# Entries are dated by the clock of Redis, ours by the clock of this machine.
_CLOCKS_APART_MS = 5_000


class Restored(NamedTuple):
    """What was found after a restart of Redis, or a failed append.

    Attributes
    ----------
    n_bars : appended again
    is_complete : False where a stream was lost beyond what is kept
    is_other_run : Redis has been restarted, or it is another server
    """

    n_bars: int
    is_complete: bool
    is_other_run: bool


class _Kept(NamedTuple):
    at_ms: int
    symbol: str
    raw: bytes
    via: bytes | None


class KeptStream:
    """Appends to the streams; used from one thread.

    Parameters
    ----------
    client : of :func:`tickstock_pipeline.messaging.connection.connect`
    """

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client
        self._stream: BarStream | None = None
        self._kept: deque[_Kept] = deque(maxlen=_KEPT)
        self._in_doubt: list[_Kept] = []
        self._run = ""
        self._has_dropped = False

    def load(self) -> list[tuple[LiveBar, float]]:
        """The last entries that are there already, as if they had been appended here; to be called first.

        Returns
        -------
        Their bars, and when they were appended, Unix seconds; those of a symbol in their order.

        Raises
        ------
        MessagingError
            If Redis does not answer.
        """
        stream = self._opened()
        found: list[tuple[LiveBar, float]] = []
        entries: list[_Kept] = []
        for shard in range(stream.n_shards):
            with named_errors():
                answer: Any = self._client.xrevrange(bar_stream(shard), count=_KEPT // stream.n_shards)
            for entry_id, fields in reversed(answer):
                raw = fields.get(BAR_FIELD, b"")
                try:
                    bar = decode(raw)
                except ValueError:
                    continue
                at_ms, _ = parsed_id(entry_id)
                entries.append(_Kept(at_ms, bar.symbol, raw, fields.get(VIA_FIELD)))
                found.append((bar, at_ms / 1_000))
        self._kept.extend(sorted(entries, key=lambda one: one.at_ms))
        return found

    def append(self, groups: Iterable[tuple[Sequence[LiveBar], bytes | None]], at: float) -> None:
        """Add bars, in this order.

        Parameters
        ----------
        groups : bars, and how they came (see ``bar_stream.VIA_FIELD``)
        at : now, Unix seconds

        Raises
        ------
        MessagingError
            If Redis did not take them all; :meth:`check` then appends those that are missing, and the caller does not.
        """
        stream = self._opened()
        at_ms = int(at * 1_000)
        kept = [_Kept(at_ms, bar.symbol, encode(bar), via) for bars, via in groups for bar in bars]
        self._in_doubt += kept
        self._append(stream, self._in_doubt)
        self._keep()

    def check(self) -> Restored | None:
        """Look whether Redis is still the same, and mend what is not; None: nothing has happened.

        Raises
        ------
        MessagingError
            If Redis does not answer.
        """
        run = server_run(self._client).id
        if run == self._run and not self._in_doubt:
            return None
        before, self._run = self._run, run
        if not before and not self._in_doubt:
            return None
        self._stream = None
        n_bars, is_complete = self._restore(self._opened())
        self._keep()
        return Restored(n_bars, is_complete, run != before)

    def _opened(self) -> BarStream:
        # the number of shards is a key like any other, and may have been lost with the rest
        if self._stream is None:
            self._stream = BarStream(self._client)
        return self._stream

    def _append(self, stream: BarStream, kept: Sequence[_Kept]) -> None:
        start = 0
        while start < len(kept):
            end = start
            while end < len(kept) and kept[end].via == kept[start].via:
                end += 1
            stream.append_raw([(one.symbol, one.raw) for one in kept[start:end]], via=kept[start].via)
            start = end

    def _keep(self) -> None:
        self._has_dropped |= len(self._kept) + len(self._in_doubt) > _KEPT
        self._kept.extend(self._in_doubt)
        self._in_doubt = []

    def _restore(self, stream: BarStream) -> tuple[int, bool]:
        by_shard: dict[int, list[_Kept]] = {}
        for one in (*self._kept, *self._in_doubt):
            by_shard.setdefault(shard_of(one.symbol, stream.n_shards), []).append(one)
        missing: list[_Kept] = []
        is_complete = True
        for shard, kept in sorted(by_shard.items()):
            last_ms, tail = self._tail(shard, len(kept))
            # what is older than the newest that is there has been trimmed: again, it would undo what came since
            known = max((at for at, one in enumerate(kept) if one.raw in tail), default=-1)
            lost = [one for one in kept[known + 1 :] if one.at_ms >= last_ms - _CLOCKS_APART_MS]
            missing += lost
            is_complete &= not self._has_dropped or len(lost) < len(kept)
        self._append(stream, missing)
        return len(missing), is_complete

    def _tail(self, shard: int, count: int) -> tuple[int, set[bytes]]:
        """When the last entry ever came, and the last ones that are there."""
        name = bar_stream(shard)
        with named_errors():
            if not self._client.exists(name):
                return 0, set()
            information: Any = self._client.xinfo_stream(name)
            entries: Any = self._client.xrevrange(name, count=count)
        last_ms, _ = parsed_id(information["last-generated-id"])
        return last_ms, {fields[BAR_FIELD] for _, fields in entries if BAR_FIELD in fields}
