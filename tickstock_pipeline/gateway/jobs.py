"""Import jobs over HTTP: submit, list, look at one, cancel."""

from typing import Any

import sqlalchemy as sa
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tickstock_pipeline.errors import JobError
from tickstock_pipeline.imports.acceptance import WayIn, accept_job, cancel_job
from tickstock_pipeline.imports.intake import Intake
from tickstock_pipeline.imports.json_message import MOST_BYTES
from tickstock_pipeline.imports.message import CancelRequest
from tickstock_pipeline.imports.status import StatusPublisher, status_of
from tickstock_pipeline.messaging.job_status import JobStatus
from tickstock_pipeline.storage.job_progress import read_job_runs, read_job_symbols
from tickstock_pipeline.storage.jobs import latest_jobs, read_job

_MOST_LISTED = 200
_LISTED = 20


class JobEndpoints:
    """The handlers, over one database.

    Parameters
    ----------
    intake : plans what was accepted
    publisher : tells the status key of a cancelled job
    """

    def __init__(self, engine: sa.Engine, intake: Intake, publisher: StatusPublisher) -> None:
        self._engine = engine
        self._intake = intake
        self._publisher = publisher

    def routes(self) -> list[Route]:
        """Where they are found. An id may have any printable character in it, also a slash."""
        return [
            Route("/jobs", self.submit, methods=["POST"]),
            Route("/jobs", self.list, methods=["GET"]),
            Route("/jobs/{job_id:path}/cancel", self.cancel, methods=["POST"]),
            Route("/jobs/{job_id:path}", self.show, methods=["GET"]),
        ]

    async def submit(self, request: Request) -> JSONResponse:
        """202 with the job's status once it is stored; 200 if its id was known; 400 with the reason."""
        return await run_in_threadpool(self._submit, await _body(request))

    def _submit(self, data: bytes) -> JSONResponse:
        try:
            accepted = accept_job(self._engine, data, WayIn.HTTP)
        except JobError as error:
            return JSONResponse({"error": error.message}, 400)
        self._intake.follow(accepted)
        status = self._status(accepted.job_id)
        is_refused = accepted.is_new and status.status == "failed"
        return JSONResponse(status.as_document(), 400 if is_refused else 202 if accepted.is_new else 200)

    def list(self, request: Request) -> JSONResponse:
        """The newest jobs, without their symbols; ``?limit=`` says how many."""
        asked = request.query_params.get("limit", str(_LISTED))
        if not (asked.isascii() and asked.isdigit() and 0 < int(asked[:9]) <= _MOST_LISTED):
            raise HTTPException(400, f"limit is not a number from 1 to {_MOST_LISTED}")
        with self._engine.connect() as connection:
            jobs = latest_jobs(connection, int(asked))
        return JSONResponse({"jobs": [_summary(status_of(job, []).as_document()) for job in jobs]})

    def show(self, request: Request) -> JSONResponse:
        """The job's status, as under its key."""
        return JSONResponse(self._status(request.path_params["job_id"]).as_document())

    def cancel(self, request: Request) -> JSONResponse:
        """202 with the status; the job ends at its next symbol."""
        job = cancel_job(self._engine, CancelRequest(job_id=request.path_params["job_id"], requested_by="http"))
        if job is None:
            raise HTTPException(404, "there is no such job")
        self._publisher.publish(job.job_id)
        return JSONResponse(self._status(job.job_id).as_document(), 202)

    def _status(self, job_id: str) -> JobStatus:
        # what PostgreSQL cannot hold in a text is no job's id
        with self._engine.connect() as connection:
            job = read_job(connection, job_id) if job_id.isprintable() else None
            if job is None:
                raise HTTPException(404, "there is no such job")
            return status_of(job, read_job_symbols(connection, job_id), read_job_runs(connection, job_id))


def _summary(document: dict[str, Any]) -> dict[str, Any]:
    return {key: document[key] for key in ("job_id", "status", "error_message", "started_at", "completed_at")}


async def _body(request: Request) -> bytes:
    """The body, of which no more than the limit is ever held."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > MOST_BYTES:
            # the rest is not waited for
            raise HTTPException(413, f"larger than {MOST_BYTES // 1024} KiB", headers={"Connection": "close"})
        parts.append(part)
    return b"".join(parts)
