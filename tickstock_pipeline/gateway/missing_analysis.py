"""Bars without analysis over HTTP: the counts, and for one timeframe each symbol's years."""

import sqlalchemy as sa
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tickstock_pipeline.batch.analysis import stale_partitions
from tickstock_pipeline.batch.missing import by_symbol, missing_by_timeframe
from tickstock_pipeline.errors import DefinitionError
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.coverage import MissingAnalysis


class MissingAnalysisEndpoint:
    """``GET /analysis/missing``, over one database."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def routes(self) -> list[Route]:
        """Where it is found."""
        return [Route("/analysis/missing", self.show, methods=["GET"])]

    def show(self, request: Request) -> JSONResponse:
        """Counts by timeframe; with ``?timeframe=daily`` also by symbol and year."""
        asked = request.query_params.get("timeframe")
        if asked is not None and asked not in list(Timeframe):
            raise HTTPException(400, f"timeframe is none of {', '.join(Timeframe)}")
        with self._engine.connect() as connection:
            found = missing_by_timeframe(connection)
            counts = {frame.value: _count(one) for frame, one in found.items() if asked in (None, frame.value)}
            if asked is not None and "error" not in counts[asked]:
                counts[asked]["by_symbol"] = by_symbol(stale_partitions(connection, Timeframe(asked)))
        return JSONResponse({"timeframes": counts})


def _count(found: MissingAnalysis | DefinitionError) -> dict[str, object]:
    if isinstance(found, DefinitionError):
        return {"bars_without_analysis": None, "stale_partitions": None, "error": found.message}
    return {"bars_without_analysis": found.bars, "stale_partitions": found.partitions}
