"""The gateway as an ASGI application: its routes, what runs behind them, and who may ask."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tickstock_pipeline.errors import StorageError
from tickstock_pipeline.gateway.guard import Guard
from tickstock_pipeline.gateway.health import PATH as HEALTH_PATH
from tickstock_pipeline.gateway.health import HealthEndpoint
from tickstock_pipeline.gateway.jobs import JobEndpoints
from tickstock_pipeline.gateway.measures import GatewayMeasures
from tickstock_pipeline.gateway.metrics import PATH as METRICS_PATH
from tickstock_pipeline.gateway.metrics import MetricsEndpoint
from tickstock_pipeline.gateway.missing_analysis import MissingAnalysisEndpoint
from tickstock_pipeline.gateway.patterns_socket import PatternSocket, SocketLimits
from tickstock_pipeline.imports.intake import Intake, listening_client
from tickstock_pipeline.imports.planning import Surroundings
from tickstock_pipeline.imports.status import StatusPublisher, redis_client
from tickstock_pipeline.messaging.connection import connect
from tickstock_pipeline.settings import Settings
from tickstock_pipeline.storage.engine import create_engine
from tickstock_pipeline.streaming.observation import Observer

_CONNECTIONS = 12


def gateway_app(settings: Settings, limits: SocketLimits | None = None) -> Starlette:
    """The application; its intake listens while the application is up.

    Parameters
    ----------
    settings : with the URLs of a database and of Redis
    limits : what clients of the pattern socket may cost
    """
    engine = create_engine(settings.database_dsn(), application_name="tickstock-gateway", pool_size=_CONNECTIONS)
    publisher = StatusPublisher(engine, redis_client(settings))
    surroundings = Surroundings(settings.universe_folder, settings.first_year)
    intake = Intake(engine, listening_client(settings), publisher, surroundings)

    measures = GatewayMeasures()
    observer = Observer(settings.database_dsn(), connect(settings.redis_dsn()))
    patterns = PatternSocket(settings.redis_dsn(), measures, limits)
    health = HealthEndpoint(engine, intake.health, patterns.feed, observer)
    metrics = MetricsEndpoint(measures, observer)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        intake.start()
        patterns.feed.start()
        try:
            yield
        finally:
            await patterns.feed.stop()
            await run_in_threadpool(intake.stop)
            observer.close()
            engine.dispose()

    guard = Middleware(
        Guard,
        host=settings.gateway_host,
        token=None if settings.gateway_token is None else settings.gateway_token.get_secret_value(),
        names=settings.gateway_hosts,
        open_paths=frozenset({HEALTH_PATH}),
    )
    return Starlette(
        routes=[
            Route(HEALTH_PATH, health.answer),
            Route(METRICS_PATH, metrics.answer),
            patterns.route(),
            *JobEndpoints(engine, intake, publisher).routes(),
            *MissingAnalysisEndpoint(engine).routes(),
        ],
        middleware=[guard],
        exception_handlers={HTTPException: _http_error, StorageError: _storage_error},
        lifespan=lifespan,
    )


def _http_error(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


def _storage_error(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"error": error.message if isinstance(error, StorageError) else "no database"}, 503)
