"""From the outbox to Redis, after the commit.

The worker publishes what it has just committed, and marks it a moment later, many rows at once. What a worker
committed and could not publish, some worker sends a little later. Redis may lose its last seconds when it is killed, so
the last rows before a restart are sent again. So nothing is lost; what is sent twice has the same ``flow_id``.
"""

import logging
from collections.abc import Iterable, Sequence

import redis
import sqlalchemy as sa

from tickstock_pipeline.messaging.channels import (
    MARKET_DATA,
    PATTERN_FIELD,
    PATTERN_STREAM,
    PATTERNS,
    PATTERNS_RETRACTED,
)
from tickstock_pipeline.messaging.connection import named_errors, server_run
from tickstock_pipeline.messaging.retraction_stream import RetractionStream
from tickstock_pipeline.storage.outbox import Message, left_over, mark_published, take_back

_logger = logging.getLogger(__name__)

KEPT_EVENTS = 100_000
"""Pattern events in the stream ``pattern_events``, and retractions in theirs; older ones are trimmed."""

_OTHERS_BUSINESS_S = 2.0
# A worker that begins cannot know whether it has seen this run of the server; its predecessor may have died with it.
_RECENT_RESTART_S = 60.0


class Publisher:
    """Publishes for one worker.

    Parameters
    ----------
    client : of Redis
    kept_events : length of the stream ``pattern_events``, and of that of retractions
    """

    def __init__(self, client: "redis.Redis", *, kept_events: int = KEPT_EVENTS) -> None:
        self._client = client
        self._kept_events = kept_events
        self._retractions = RetractionStream(client, kept_events)
        self._unmarked: list[int] = []
        self._run = ""

    @property
    def has_marks_to_set(self) -> bool:
        """Whether rows have been published and not marked."""
        return bool(self._unmarked)

    def publish(self, outbox_id: int | None, messages: Sequence[Message]) -> None:
        """Publish the messages of one row, all of them or none, and remember to mark it.

        Raises
        ------
        MessagingError
            If Redis did not take them: they are left to :meth:`sweep`.
        """
        if outbox_id is None:
            return
        self._send(messages)
        self._unmarked.append(outbox_id)

    def publish_bars(self, raws: Iterable[bytes]) -> None:
        """Publish bars as market data events, as they came."""
        with named_errors():
            pipeline = self._client.pipeline(transaction=False)
            for raw in raws:
                pipeline.publish(MARKET_DATA, raw)
            pipeline.execute()

    def sweep(self, engine: sa.Engine) -> int:
        """Publish what was left over, and what a restarted server may have lost; how many messages that were."""
        run = server_run(self._client)
        is_other = bool(self._run) and run.id != self._run
        with engine.begin() as connection:
            marks = list(self._unmarked)
            if not is_other:
                mark_published(connection, marks)
            if is_other or (not self._run and run.age_s < _RECENT_RESTART_S):
                n_again = take_back(connection, restarted_s_ago=run.age_s) + is_other * len(marks)
                _logger.info("redis has restarted rows_to_publish_again=%d", n_again)
            rows = left_over(connection, older_than_s=_OTHERS_BUSINESS_S)
            for row in rows:
                self._send(row.messages)
            mark_published(connection, [row.id for row in rows])
        self._run = run.id
        self._unmarked = self._unmarked[len(marks) :]
        return sum(len(row.messages) for row in rows)

    def _send(self, messages: Sequence[Message]) -> None:
        with named_errors():
            pipeline = self._client.pipeline(transaction=True)
            for channel, payload in messages:
                pipeline.publish(channel, payload)
                if channel == PATTERNS:
                    pipeline.xadd(PATTERN_STREAM, {PATTERN_FIELD: payload}, maxlen=self._kept_events, approximate=True)
                elif channel == PATTERNS_RETRACTED:
                    self._retractions.add(pipeline, payload)
            pipeline.execute()
