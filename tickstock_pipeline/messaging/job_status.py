"""The status of an import job as other programs read it: a JSON string under ``channels.job_status_key``."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

STATUS_LIFETIME_SECONDS = 86_400

Status = Literal["submitted", "queued", "running", "completed", "failed", "cancelled"]
Phase = Literal["importing", "analyzing", "complete"]


@dataclass(frozen=True, kw_only=True)
class JobStatus:
    """Names and types are a contract: nothing here is renamed or moved.

    Attributes
    ----------
    progress : percent, 0 to 100, of all that the job asks for; it never falls
    processed_symbols : how many have ended, well or not
    error_message : why the job as a whole failed, or was refused
    errors : symbol → why it failed
    run_ids : Dagster's runs, the oldest first
    """

    job_id: str
    status: Status
    progress: int = 0
    total_symbols: int = 0
    processed_symbols: int = 0
    successful_symbols: tuple[str, ...] = ()
    failed_symbols: tuple[str, ...] = ()
    error_message: str | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    phase: Phase = "importing"
    message: str = ""
    errors: Mapping[str, str] = field(default_factory=dict)
    run_ids: tuple[str, ...] = ()

    def as_document(self) -> dict[str, Any]:
        """The document, keys in the order of the contract."""
        return {
            "job_id": self.job_id,
            "status": self.status,
            "progress": self.progress,
            "total_symbols": self.total_symbols,
            "processed_symbols": self.processed_symbols,
            "successful_symbols": list(self.successful_symbols),
            "failed_symbols": list(self.failed_symbols),
            "error_message": self.error_message,
            "started_at": _instant(self.started_at),
            "completed_at": _instant(self.completed_at),
            "phase": self.phase,
            "message": self.message,
            "errors": dict(self.errors),
            "run_ids": list(self.run_ids),
        }

    def as_json(self) -> str:
        """The document as it is stored in Redis."""
        return json.dumps(self.as_document(), allow_nan=False)


def _instant(time: datetime | None) -> str | None:
    """ISO 8601 in UTC to the second, without a zone, as consumers parse it."""
    return None if time is None else time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds")
