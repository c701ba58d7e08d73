"""What a run that belongs to a job tells about it while it works: symbol by symbol, and whether to go on."""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa

from tickstock_pipeline.batch.fetching import CANCELLED
from tickstock_pipeline.batch.outcome import Outcome, failures
from tickstock_pipeline.imports.status import PUBLISH_EVERY_SECONDS, StatusPublisher
from tickstock_pipeline.storage.job_progress import record_step
from tickstock_pipeline.storage.jobs import StoredJob, is_cancel_requested, mark_started

_PUBLISH_EVERY_SYMBOLS = 10
_ASK_EVERY_SECONDS = 1.0
_MAX_REASON = 500


class JobTracker:
    """Follows one step of a job's run.

    Parameters
    ----------
    job : as stored when the run began
    step : what the run is doing
    """

    def __init__(self, engine: sa.Engine, publisher: StatusPublisher, job: StoredJob, step: str) -> None:
        self._engine = engine
        self._publisher = publisher
        self._job = job
        self._step = step
        self._since_published = 0
        self._published_at = time.monotonic()
        self._asked_at = float("-inf")
        self._is_cancelled = False

    @property
    def fresh_since(self) -> datetime:
        """What was fetched since then is not fetched again."""
        return self._job.accepted_at

    def start(self) -> None:
        """The run has begun; the job has, if it is its first."""
        with self._engine.begin() as connection:
            is_news = mark_started(connection, self._job.job_id)
        if is_news:
            self._publish()

    def should_stop(self) -> bool:
        """Whether the job was cancelled; asks the database once a second at most."""
        if not self._is_cancelled and time.monotonic() - self._asked_at >= _ASK_EVERY_SECONDS:
            self._asked_at = time.monotonic()
            with self._engine.connect() as connection:
                self._is_cancelled = is_cancel_requested(connection, self._job.job_id)
        return self._is_cancelled

    def on_symbol(self, symbol: str, outcomes: Sequence[Outcome]) -> None:
        """The step has ended for a symbol, with these outcomes of its years."""
        self._record({symbol: outcomes})
        self._since_published += 1
        is_due = time.monotonic() - self._published_at >= PUBLISH_EVERY_SECONDS
        if self._since_published >= _PUBLISH_EVERY_SYMBOLS or is_due:
            self._publish()

    def on_all(self, outcomes: Sequence[Outcome]) -> None:
        """The step has ended for all of these; symbols that :meth:`on_symbol` had may be among them."""
        by_symbol: dict[str, list[Outcome]] = {}
        for outcome in outcomes:
            by_symbol.setdefault(outcome.partition.symbol, []).append(outcome)
        self._record(by_symbol)
        self._publish()

    def _record(self, by_symbol: Mapping[str, Sequence[Outcome]]) -> None:
        by_reason: dict[str | None, list[str]] = {}
        for symbol, outcomes in by_symbol.items():
            reasons = list(dict.fromkeys(outcome.error for outcome in failures(outcomes)))
            # what was cancelled was not tried, which is no failure
            if CANCELLED not in reasons:
                by_reason.setdefault("; ".join(reasons)[:_MAX_REASON] if reasons else None, []).append(symbol)
        with self._engine.begin() as connection:
            for reason, symbols in by_reason.items():
                record_step(connection, self._job.job_id, symbols, self._step, reason)

    def _publish(self) -> None:
        self._since_published = 0
        self._published_at = time.monotonic()
        self._publisher.publish(self._job.job_id)
