"""The gateway as an ASGI application: its routes, what runs behind them, and who may ask."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import sqlalchemy as sa
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tickstock_pipeline.errors import StorageError
from tickstock_pipeline.gateway.guard import Guard
from tickstock_pipeline.gateway.jobs import JobEndpoints
from tickstock_pipeline.gateway.missing_analysis import MissingAnalysisEndpoint
from tickstock_pipeline.imports.intake import Intake, listening_client
from tickstock_pipeline.imports.planning import Surroundings
from tickstock_pipeline.imports.status import StatusPublisher, redis_client
from tickstock_pipeline.settings import Settings
from tickstock_pipeline.storage.engine import create_engine
from tickstock_pipeline.storage.jobs import read_refused

_CONNECTIONS = 12
_HEALTH = "/health"


def gateway_app(settings: Settings) -> Starlette:
    """The application; its intake listens while the application is up.

    Parameters
    ----------
    settings : with the URLs of a database and of Redis
    """
    engine = create_engine(settings.database_dsn(), application_name="tickstock-gateway", pool_size=_CONNECTIONS)
    publisher = StatusPublisher(engine, redis_client(settings))
    surroundings = Surroundings(settings.universe_folder, settings.first_year)
    intake = Intake(engine, listening_client(settings), publisher, surroundings)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        intake.start()
        try:
            yield
        finally:
            await run_in_threadpool(intake.stop)
            engine.dispose()

    def health(_: Request) -> JSONResponse:
        parts = {part: intake.health.is_listening(part) for part in ("channels", "stream", "upkeep")}
        return JSONResponse(
            {"ok": all(parts.values()), "intake": parts, "problems": dict(intake.health.problems), **_refused(engine)},
            200 if all(parts.values()) else 503,
        )

    token = None if settings.gateway_token is None else settings.gateway_token.get_secret_value()
    return Starlette(
        routes=[
            Route(_HEALTH, health),
            *JobEndpoints(engine, intake, publisher).routes(),
            *MissingAnalysisEndpoint(engine).routes(),
        ],
        middleware=[Middleware(Guard, host=settings.gateway_host, token=token, open_paths=frozenset({_HEALTH}))],
        exception_handlers={HTTPException: _http_error, StorageError: _storage_error},
        lifespan=lifespan,
    )


def _refused(engine: sa.Engine) -> dict[str, object]:
    try:
        with engine.connect() as connection:
            return {"refused_messages": {row.reason: row.count for row in read_refused(connection)}}
    except StorageError as error:
        return {"refused_messages": None, "database": error.message}


def _http_error(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


def _storage_error(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": error.message if isinstance(error, StorageError) else "no database"}, 503)
