"""From the outbox to Redis, after the commit.

The worker publishes what it has just committed, and marks it a moment later, many rows at once. What a worker
committed and could not publish, some worker sends a little later. Redis may lose its last seconds when it is killed, so
the last rows before a restart are sent again. So nothing is lost; what is sent twice has the same ``flow_id``.
"""

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import redis
import sqlalchemy as sa

from tickstock_pipeline.messaging.channels import (
    MARKET_DATA,
    PATTERN_FIELD,
    PATTERN_STREAM,
    PATTERNS,
    PATTERNS_RETRACTED,
    RETRACTION_STREAM,
)
from tickstock_pipeline.messaging.connection import named_errors, server_run
from tickstock_pipeline.messaging.retraction_stream import ADD_RETRACTION
from tickstock_pipeline.storage.outbox import left_over, mark_published, take_back
from tickstock_pipeline.streaming.desk import Told

_logger = logging.getLogger(__name__)

_OTHERS_BUSINESS_S = 2.0
# A worker that begins cannot know whether it has seen this run of the server; its predecessor may have died with it.
_RECENT_RESTART_S = 60.0
# The server counts whole seconds from a whole second: it may have been started that much later than it says.
_CLOCK_S = 1.0

# Thousands of messages at once: as commands of their own, each would cost the client 40 µs, most of it for the answer.
# What a stream refuses must not keep the messages after it from being sent.
_SEND = f"""{ADD_RETRACTION}
local refused
for i = 5, #ARGV, 2 do
    redis.call('PUBLISH', ARGV[i], ARGV[i + 1])
    local added
    if ARGV[i] == ARGV[1] then
        added = redis.pcall('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], '*', ARGV[4], ARGV[i + 1])
    elseif ARGV[i] == ARGV[2] then
        added = add_retraction(KEYS[2], KEYS[1], ARGV[4], ARGV[i + 1], ARGV[3])
    end
    if type(added) == 'table' and added.err then refused = added end
end
return refused or redis.status_reply('OK')
"""


class Publisher:
    """Publishes for one worker.

    Parameters
    ----------
    client : of Redis
    kept_events : length of the stream ``pattern_events``, and of that of retractions; older ones are trimmed
    """

    def __init__(self, client: "redis.Redis", *, kept_events: int) -> None:
        self._client = client
        self._script = client.register_script(_SEND)
        self._kept_events = kept_events
        self._unmarked: list[int] = []
        self._run = ""

    def publish(self, told: Iterable[Told], bars: Iterable[bytes] = ()) -> None:
        """Publish what has been committed, and remember to mark it; in one round trip.

        Parameters
        ----------
        bars : market data events, as they came

        Raises
        ------
        MessagingError
            If Redis did not take them: what is in the outbox is left to :meth:`sweep`.
        """
        rows = [one for one in told if one.outbox_id is not None]
        self._send([*((MARKET_DATA, bar) for bar in bars), *(message for row in rows for message in row.messages)])
        self._unmarked += [row.outbox_id for row in rows if row.outbox_id is not None]

    def sweep(self, engine: sa.Engine) -> int:
        """Publish what was left over, and what a restarted server may have lost; how many messages that were."""
        run = server_run(self._client)
        is_other = bool(self._run) and run.id != self._run
        with engine.begin() as connection:
            marks = list(self._unmarked)
            if not is_other:
                mark_published(connection, marks)
            if is_other or (not self._run and run.age_s < _RECENT_RESTART_S):
                n_again = take_back(connection, restarted_s_ago=max(run.age_s - _CLOCK_S, 0.0)) + is_other * len(marks)
                _logger.info("redis has restarted rows_to_publish_again=%d", n_again)
            rows = left_over(connection, older_than_s=_OTHERS_BUSINESS_S)
            for row in rows:
                self._send(row.messages)
            mark_published(connection, [row.id for row in rows])
        self._run = run.id
        self._unmarked = self._unmarked[len(marks) :]
        return sum(len(row.messages) for row in rows)

    def _send(self, messages: Sequence[tuple[str, str | bytes]]) -> None:
        if not messages:
            return
        arguments: list[Any] = [PATTERNS, PATTERNS_RETRACTED, self._kept_events, PATTERN_FIELD]
        for message in messages:
            arguments += message
        with named_errors():
            self._script([PATTERN_STREAM, RETRACTION_STREAM], arguments)
