"""Client of the orchestrator's GraphQL API: what an administrator does in the web UI, done by a program.

Nothing here knows how Dagster works inside; it speaks the public API of the webserver, on this machine or another.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import httpx

from tickstock_pipeline.batch.ranges import ranges_of
from tickstock_pipeline.errors import BackfillError, ServiceError
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.runtime import orchestrator_queries as queries
from tickstock_pipeline.runtime.backfill_progress import AssetProgress, BackfillProgress

LOCATION = "tickstock"
_REPOSITORY = {"repositoryName": "__repository__", "repositoryLocationName": LOCATION}
# Between two questions lies that many times what the answer took: a tenth of the webserver's time is ours.
_PAUSE_PER_ANSWER = 9
_LONGEST_PAUSE_S = 3.0
_REFUSALS = frozenset({"PythonError", "UnauthorizedError"})


class Orchestrator:
    """A connection to the webserver at ``url``, for instance ``http://127.0.0.1:3000``."""

    def __init__(self, url: str, *, timeout_seconds: float = 60.0) -> None:
        self.url = url
        self._client = httpx.Client(base_url=url, timeout=timeout_seconds, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def is_ready(self) -> bool:
        """Whether the webserver answers and has loaded our definitions.

        Raises
        ------
        ServiceError
            If the definitions cannot be loaded, with Python's own message.
        """
        try:
            workspace = self._ask(queries.WORKSPACE)["workspaceOrError"]
        except ServiceError:
            return False
        for entry in workspace.get("locationEntries", []):
            found = entry["locationOrLoadError"] or {}
            if found.get("__typename") == "PythonError":
                raise ServiceError(
                    f"Dagster cannot load the definitions: {found['message']}",
                    advice="See the log of the code server; `tickstock doctor` checks the settings.",
                )
            if entry["name"] == LOCATION and entry["loadStatus"] == "LOADED" and found:
                return True
        return False

    def add_symbols(self, symbols: Sequence[str]) -> list[str]:
        """Register symbols as partitions, in this order; those that are there stay where they are.

        Returns
        -------
        The symbols that are new.
        """
        known = set(self._symbols())
        new = [symbol for symbol in symbols if symbol not in known]
        for symbol in new:
            answer = self._ask(queries.ADD_PARTITION, {"repository": _REPOSITORY, "name": "symbols", "key": symbol})
            result = answer["addDynamicPartition"]
            if result["__typename"] not in {"AddDynamicPartitionSuccess", "DuplicateDynamicPartitionError"}:
                raise ServiceError(f"Dagster refuses the partition {symbol!r}: {result.get('message', result)}")
        return new

    def launch_backfill(
        self, targets: Mapping[str, Sequence[Partition]], *, title: str, tags: Mapping[str, str]
    ) -> str:
        """Launch one native backfill over exactly these partitions of these assets.

        Parameters
        ----------
        targets : asset name → its partitions

        Returns
        -------
        The backfill's id.
        """
        # Dagster takes 3.5 ms for each range, whether it has one partition or thousands.
        wanted = {partition.symbol: None for found in targets.values() for partition in found}
        order = {symbol: place for place, symbol in enumerate(dict.fromkeys([*self._symbols(), *wanted]))}
        by_asset = [
            {
                "assetKey": {"path": [asset]},
                "partitions": {
                    "ranges": [{"start": one.first.key, "end": one.last.key} for one in ranges_of(found, order)]
                },
            }
            for asset, found in targets.items()
            if found
        ]
        params = {
            "partitionsByAssets": by_asset,
            "title": title,
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
        }
        result = self._ask(queries.LAUNCH, {"params": params})["launchPartitionBackfill"]
        if result["__typename"] != "LaunchBackfillSuccess":
            raise BackfillError(f"Dagster refuses the backfill: {result.get('message', result['__typename'])}")
        return str(result["backfillId"])

    def clear_away(self, *, code_servers: Sequence[tuple[str, int]], backfill_tags: Mapping[str, str]) -> list[str]:
        """Cancel the backfills that carry ``backfill_tags``, and what is left of their runs and of unwanted ones.

        Parameters
        ----------
        code_servers : (host, port) of those whose processes, runs included, are known to have ended

        Returns
        -------
        The other runs that these were at work on: they have ended, and Dagster does not know it.
        """
        unwanted_backfills = self.active_backfills(backfill_tags)
        for backfill_id in unwanted_backfills:
            self._ask(queries.CANCEL_BACKFILL, {"id": backfill_id})
        unwanted: list[str] = []
        cut_off: list[str] = []
        for host, port in code_servers:
            # The default launcher notes so on each run which code server it is a child of.
            tag = {"key": ".dagster/grpc_info", "value": json.dumps({"host": host, "port": port})}
            for run in self._ask(queries.ACTIVE_RUNS, {"tags": [tag]})["runsOrError"].get("results", []):
                backfills = {one["value"] for one in run["tags"] if one["key"] == "dagster/backfill"}
                is_unwanted = run["status"] == "CANCELING" or not backfills.isdisjoint(unwanted_backfills)
                (unwanted if is_unwanted else cut_off).append(str(run["id"]))
        if unwanted:
            self._ask(queries.END_RUNS, {"ids": unwanted})
        return cut_off

    def active_backfills(self, tags: Mapping[str, str]) -> list[str]:
        """The backfills under way that carry these tags, the newest first."""
        wanted = [{"key": key, "value": value} for key, value in tags.items()]
        found = self._ask(queries.ACTIVE_BACKFILLS)["partitionBackfillsOrError"].get("results", [])
        return [str(one["id"]) for one in found if all(tag in one["tags"] for tag in wanted)]

    def targeted_partitions(self, backfill_id: str) -> set[Partition] | None:
        """The partitions of a backfill; None where its assets have different ones."""
        return self._targets(backfill_id)[1]

    def under_way(self) -> dict[str, set[Partition] | None]:
        """Assets of the backfills under way, each with its partitions; None: it cannot be told which."""
        found: dict[str, set[Partition] | None] = {}
        for backfill_id in self.active_backfills({}):
            assets, partitions = self._targets(backfill_id)
            for asset in assets:
                before = found.get(asset, set())
                found[asset] = None if before is None or partitions is None else before | partitions
        return found

    def progress(self, backfill_id: str) -> BackfillProgress:
        """What Dagster says of a backfill now."""
        found = self._ask(queries.BACKFILL, {"id": backfill_id})["partitionBackfillOrError"]
        if found["__typename"] != "PartitionBackfill":
            raise BackfillError(f"Dagster does not know backfill {backfill_id}: {found.get('message', '')}")
        statuses = (found["assetBackfillData"] or {}).get("assetBackfillStatuses", [])
        return BackfillProgress(
            backfill_id=backfill_id,
            status=found["status"],
            error=(found["error"] or {}).get("message", ""),
            assets=tuple(
                AssetProgress(
                    asset="/".join(status["assetKey"]["path"]),
                    targeted=status["numPartitionsTargeted"],
                    in_progress=status["numPartitionsInProgress"],
                    materialized=status["numPartitionsMaterialized"],
                    failed=status["numPartitionsFailed"],
                )
                for status in statuses
                if status
            ),
        )

    def watch(self, backfill_id: str, *, every_seconds: float = 1.0) -> Iterator[BackfillProgress]:
        """Progress again and again until the backfill is over; the last one is the final one.

        Dagster counts a backfill's partitions every half minute only, but each asset's as they are materialised. So
        partitions that have become green since the watch began are counted in; Dagster's own count is caught up with.
        Where the answer takes long, it is asked for less often: asking must not slow down what is asked about.
        """
        before: dict[str, int] | None = None
        while True:
            asked = time.monotonic()
            progress = self.progress(backfill_id)
            if progress.assets and not progress.is_over:
                now = self._materialized([asset.asset for asset in progress.assets])
                before = now if before is None else before
                progress = replace(
                    progress,
                    assets=tuple(
                        replace(
                            asset,
                            materialized=min(
                                asset.targeted,
                                max(asset.materialized, now[asset.asset] - before.get(asset.asset, now[asset.asset])),
                            ),
                        )
                        for asset in progress.assets
                    ),
                )
            pause = max(every_seconds, min(_PAUSE_PER_ANSWER * (time.monotonic() - asked), _LONGEST_PAUSE_S))
            yield progress
            if progress.is_over:
                return
            time.sleep(pause)

    def _symbols(self) -> list[str]:
        """Those on the grid, in its order."""
        nodes = self._ask(queries.PARTITIONS, {"keys": [{"path": ["ohlcv_daily"]}]})["assetNodes"]
        return [
            key
            for dimension in nodes[0]["partitionKeysByDimension"]
            if dimension["name"] == "symbol"
            for key in dimension["partitionKeys"]
        ]

    def _targets(self, backfill_id: str) -> tuple[list[str], set[Partition] | None]:
        found = self._ask(queries.BACKFILL_PARTITIONS, {"id": backfill_id})["partitionBackfillOrError"]
        names = found.get("partitionNames")
        assets = ["/".join(key["path"]) for key in found.get("assetSelection") or ()]
        return assets, None if names is None else {Partition.parse(name) for name in names}

    def _materialized(self, assets: Sequence[str]) -> dict[str, int]:
        nodes = self._ask(queries.MATERIALIZED, {"keys": [{"path": asset.split("/")} for asset in assets]})
        return {
            "/".join(node["assetKey"]["path"]): int((node["partitionStats"] or {}).get("numMaterialized", 0))
            for node in nodes["assetNodes"]
        }

    def _ask(self, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        try:
            response = self._client.post("/graphql", json={"query": query, "variables": dict(variables or {})})
        except httpx.TransportError as error:
            raise ServiceError(
                f"Dagster's webserver at {self.url} does not answer: {error}",
                advice="Start it with `tickstock up`, or look into its log.",
            ) from error
        if response.status_code != httpx.codes.OK:
            raise ServiceError(
                f"Dagster's webserver at {self.url} answers {response.status_code}: {response.text:.300}"
            )
        answer = response.json()
        if answer.get("errors"):
            messages = "; ".join(str(error.get("message")) for error in answer["errors"])
            raise ServiceError(f"Dagster's webserver at {self.url} refuses a query: {messages}")
        data: dict[str, Any] = answer["data"]
        for result in data.values():
            if isinstance(result, dict) and result.get("__typename") in _REFUSALS:
                # an empty list in its place would be taken for an answer: nothing runs, nothing is left over
                raise ServiceError(f"Dagster's webserver at {self.url} fails: {result.get('message', '')}")
        return data
