"""Dagster's webserver as its UI uses it: each method is something that a person clicks on or reads, over GraphQL."""

import time
from typing import Any

import httpx

from tickstock_pipeline_tests.e2e.waiting import wait_until

REPOSITORY = {"repositoryName": "__repository__", "repositoryLocationName": "tickstock"}

_STATE = "id status ticks {timestamp endTimestamp status skipReason runIds}"
_SENSOR = f"""
query ($selector: SensorSelector!) {{sensorOrError(sensorSelector: $selector) {{
    ... on Sensor {{sensorState {{{_STATE} typeSpecificData {{... on SensorData {{lastCursor}}}}}}}}}}}}"""
_SCHEDULE = f"""
query ($selector: ScheduleSelector!) {{scheduleOrError(scheduleSelector: $selector) {{
    ... on Schedule {{scheduleState {{{_STATE}}}}}}}}}"""
_STOP_SENSOR = "mutation ($id: String!) {stopSensor(id: $id) {__typename}}"
_STOP_SCHEDULE = "mutation ($id: String!) {stopRunningSchedule(id: $id) {__typename}}"
_START_SENSOR = "mutation ($selector: SensorSelector!) {startSensor(sensorSelector: $selector) {__typename}}"
_SET_CURSOR = """
mutation ($selector: SensorSelector!, $cursor: String) {
    setSensorCursor(sensorSelector: $selector, cursor: $cursor) {__typename}}"""
_TRY_SCHEDULE = """
mutation ($selector: ScheduleSelector!, $at: Float!) {scheduleDryRun(selectorData: $selector, timestamp: $at) {
    ... on DryRunInstigationTick {evaluationResult {skipReason error {message} runRequests {runKey}}}}}"""
_LAUNCH = """
mutation ($params: ExecutionParams!) {launchRun(executionParams: $params) {
    __typename ... on LaunchRunSuccess {run {runId}} ... on PythonError {message}}}"""
_RUNS = """
query ($filter: RunsFilter!) {runsOrError(filter: $filter) {... on Runs {
    results {runId status startTime endTime allPools tags {key value}}}}}"""
_CHECK = """
query ($asset: AssetKeyInput!, $name: String!) {
    assetCheckExecutions(assetKey: $asset, checkName: $name, limit: 50) {
        runId evaluation {success metadataEntries {
            label ... on IntMetadataEntry {intValue} ... on JsonMetadataEntry {jsonString}}}}}"""
_REASONS = """
query ($id: ID!) {logsForRun(runId: $id) {... on EventConnection {events {
    ... on ExecutionStepFailureEvent {error {message}} ... on RunFailureEvent {message}}}}}"""
_LIMIT_POOL = "mutation ($pool: String!, $limit: Int!) {setConcurrencyLimit(concurrencyKey: $pool, limit: $limit)}"
_POOL = "query ($pool: String!) {instance {concurrencyLimit(concurrencyKey: $pool) {limit}}}"


class Webserver:
    """The webserver of an instance on this machine."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/graphql"

    def ask(self, query: str, **variables: object) -> dict[str, Any]:
        """The data of an answer, which has no errors."""
        answer = httpx.post(self._url, json={"query": query, "variables": variables}, timeout=120).json()
        assert "errors" not in answer, answer
        data: dict[str, Any] = answer["data"]
        return data

    def sensor(self, name: str) -> dict[str, Any]:
        """Its state and its ticks, the newest first."""
        return self.ask(_SENSOR, selector={**REPOSITORY, "sensorName": name})["sensorOrError"]["sensorState"]

    def stop_sensor(self, name: str) -> None:
        """Its toggle, to the left."""
        done = self.ask(_STOP_SENSOR, id=self.sensor(name)["id"])["stopSensor"]
        assert done == {"__typename": "StopSensorMutationResult"}

    def start_sensor(self, name: str) -> None:
        """Its toggle, to the right."""
        done = self.ask(_START_SENSOR, selector={**REPOSITORY, "sensorName": name})["startSensor"]
        assert done == {"__typename": "Sensor"}

    def cursor(self, name: str) -> str | None:
        """How far a sensor has come."""
        return self.sensor(name)["typeSpecificData"]["lastCursor"]

    def set_cursor(self, name: str, cursor: str) -> None:
        """Have a sensor begin there."""
        selector = {**REPOSITORY, "sensorName": name}
        assert self.ask(_SET_CURSOR, selector=selector, cursor=cursor)["setSensorCursor"] == {"__typename": "Sensor"}

    def schedule(self, name: str) -> dict[str, Any]:
        """Its state and its ticks, the newest first."""
        return self.ask(_SCHEDULE, selector={**REPOSITORY, "scheduleName": name})["scheduleOrError"]["scheduleState"]

    def stop_schedule(self, name: str) -> None:
        """Its toggle, to the left."""
        done = self.ask(_STOP_SCHEDULE, id=self.schedule(name)["id"])["stopRunningSchedule"]
        assert done == {"__typename": "ScheduleStateResult"}

    def try_schedule(self, name: str) -> dict[str, Any]:
        """What a tick would do now."""
        selector = {**REPOSITORY, "scheduleName": name}
        return self.ask(_TRY_SCHEDULE, selector=selector, at=time.time())["scheduleDryRun"]["evaluationResult"]

    def launch(self, job: str, config: dict[str, object] | None = None, **selection: object) -> str:
        """Start a run; its id."""
        found = self.ask(
            _LAUNCH,
            params={
                "selector": {**REPOSITORY, "pipelineName": job, **selection},
                "mode": "default",
                "runConfigData": config or {},
            },
        )["launchRun"]
        assert found["__typename"] == "LaunchRunSuccess", found
        return found["run"]["runId"]

    def launch_check(self, asset: str, name: str) -> str:
        """Carry a check out by itself; the run's id."""
        handle = {"assetKey": {"path": [asset]}, "name": name}
        return self.launch("__ASSET_JOB", assetSelection=[], assetCheckSelection=[handle])

    def check(self, asset: str, name: str, run_id: str) -> tuple[bool, dict[str, Any]]:
        """What a check found in a run: whether it passed, and the metadata."""
        found = self.ask(_CHECK, asset={"path": [asset]}, name=name)["assetCheckExecutions"]
        (evaluation,) = (one["evaluation"] for one in found if one["runId"] == run_id)
        entries = evaluation["metadataEntries"]
        return evaluation["success"], {one["label"]: one.get("intValue", one.get("jsonString")) for one in entries}

    def runs(self, **wanted: object) -> list[dict[str, Any]]:
        """The runs that a filter leaves, the newest first; ``tags`` of each are a mapping."""
        found = self.ask(_RUNS, filter=wanted)["runsOrError"]["results"]
        return [{**run, "tags": {tag["key"]: tag["value"] for tag in run["tags"]}} for run in found]

    def tagged(self, key: str, value: str) -> list[dict[str, Any]]:
        """The runs that a click on a tag shows."""
        return self.runs(tags=[{"key": key, "value": value}])

    def status(self, run_id: str) -> str:
        """Where a run stands."""
        (run,) = self.runs(runIds=[run_id])
        return str(run["status"])

    def end(self, run_id: str) -> str:
        """How a run ends, once it has."""
        wait_until(lambda: self.status(run_id) in {"SUCCESS", "FAILURE", "CANCELED"}, f"run {run_id} is not over")
        return self.status(run_id)

    def require_success(self, run_id: str) -> None:
        """Wait until a run has ended; fail with its reasons if it did not end well."""
        if (end := self.end(run_id)) != "SUCCESS":
            events = self.ask(_REASONS, id=run_id)["logsForRun"]["events"]
            raise AssertionError(f"run {run_id}: {end}: {[event for event in events if event]}")

    def limit_pool(self, pool: str, limit: int) -> None:
        """How many of a pool's runs there may be at once."""
        self.ask(_LIMIT_POOL, pool=pool, limit=limit)

    def pool_limit(self, pool: str) -> int:
        """See :meth:`limit_pool`."""
        return self.ask(_POOL, pool=pool)["instance"]["concurrencyLimit"]["limit"]
