"""``/health``: whether the gateway does its own work, and what of the rest is degraded."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from starlette.requests import Request
from starlette.responses import JSONResponse

from tickstock_pipeline.errors import StorageError
from tickstock_pipeline.gateway.pattern_feed import PatternFeed
from tickstock_pipeline.imports.intake import IntakeHealth
from tickstock_pipeline.storage.refused_messages import read_refused
from tickstock_pipeline.streaming.diagnosis import Trouble, number, troubles
from tickstock_pipeline.streaming.observation import LiveView, Observer

PATH = "/health"

_INTAKE_PARTS = ("channels", "stream", "upkeep")


class HealthEndpoint:
    """Answers with 200 if the gateway takes jobs and reads pattern events, else with 503; says the rest in words."""

    def __init__(self, engine: sa.Engine, intake: IntakeHealth, feed: PatternFeed, observer: Observer) -> None:
        self._engine = engine
        self._intake = intake
        self._feed = feed
        self._observer = observer

    def answer(self, _: Request) -> JSONResponse:
        """The state, as JSON."""
        view = self._observer.look()
        intake = {part: self._intake.is_listening(part) for part in _INTAKE_PARTS}
        is_ok = all(intake.values()) and not self._feed.problem
        found = troubles(view)
        if self._feed.problem:
            found.append(Trouble("patterns", self._feed.problem))
        found += [Trouble("intake", f"{part} does not listen") for part, listens in intake.items() if not listens]
        status = "unhealthy" if not is_ok else "degraded" if found else "healthy"
        return JSONResponse(
            {
                "ok": is_ok,
                "status": status,
                "degraded": [trouble._asdict() for trouble in found],
                "intake": intake,
                "problems": dict(self._intake.problems),
                **self._refused(),
                **_live(view),
            },
            200 if is_ok else 503,
        )

    def _refused(self) -> dict[str, Any]:
        try:
            with self._engine.connect() as connection:
                return {"refused_messages": {row.reason: row.count for row in read_refused(connection)}}
        except StorageError as error:
            return {"refused_messages": None, "database": error.message}
        except DBAPIError as error:
            return {"refused_messages": None, "database": f"PostgreSQL refuses a query ({type(error.orig).__name__})"}


def _live(view: LiveView) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if view.shown is not None:
        shown = view.shown
        found["workers"] = {
            name: {"status": state.get("status", ""), "lag_ms": number(state, "lag_ms")}
            for name, state in shown.workers.items()
        }
        found["feed"] = None if shown.feed is None else shown.feed.get("status", "")
        found["undelivered_bars"] = sum(lag.undelivered for lag in shown.lag.values())
    if view.stored is not None:
        waiting = view.stored.waiting
        found["waiting"] = {"outbox": waiting.outbox, "unanalysed_bars": waiting.backlog}
    return found
