"""The replay server's own endpoints, below ``/_replay``: what was asked of it, and what goes wrong."""

import json
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route

from tickstock_pipeline.replay.faults import Fault, FaultKind, FaultPlan
from tickstock_pipeline.replay.request_log import RequestLog
from tickstock_pipeline.replay.stream import StreamHub

_T = TypeVar("_T", list[Any], dict[str, Any])


def control_routes(faults: FaultPlan, requests: RequestLog, hub: StreamHub) -> list[BaseRoute]:
    """``/_replay/requests``, ``/_replay/faults`` and ``/_replay/stream``.

    ``GET`` shows each. ``DELETE`` of the requests or faults forgets them; ``PUT`` replaces the faults by a JSON array
    of objects with the names of :class:`Fault`, ``POST`` adds one. ``POST`` to the stream with ``{"kind": "cut"}``
    lets a fault of the connection happen to every client.
    """

    async def requests_endpoint(request: Request) -> JSONResponse:
        if request.method == "DELETE":
            requests.clear()
        return JSONResponse(requests.as_json())

    async def faults_endpoint(request: Request) -> JSONResponse:
        try:
            match request.method:
                case "DELETE":
                    faults.clear()
                case "PUT":
                    faults.replace([Fault.from_json(item) for item in await _json(request, list)])
                case "POST":
                    faults.append(Fault.from_json(await _json(request, dict)))
        except ValueError as error:
            return JSONResponse({"error": str(error)}, 400)
        return JSONResponse(faults.as_json())

    async def stream_endpoint(request: Request) -> JSONResponse:
        if request.method == "POST":
            try:
                kind = FaultKind((await _json(request, dict)).get("kind", ""))
            except ValueError as error:
                return JSONResponse({"error": str(error)}, 400)
            await hub.disrupt(kind)
        return JSONResponse({"clients": hub.n_clients, "sent": hub.sent})

    return [
        Route("/_replay/requests", requests_endpoint, methods=["GET", "DELETE"]),
        Route("/_replay/faults", faults_endpoint, methods=["GET", "PUT", "POST", "DELETE"]),
        Route("/_replay/stream", stream_endpoint, methods=["GET", "POST"]),
    ]


async def _json(request: Request, kind: type[_T]) -> _T:
    value = json.loads(await request.body())
    if not isinstance(value, kind):
        raise ValueError(f"the body must be a JSON {'array' if kind is list else 'object'}")
    return value
