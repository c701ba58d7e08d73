"""Bars without analysis as Dagster and the gateway's clients see them."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import httpx
import pytest
import sqlalchemy as sa
from starlette.applications import Starlette

from tickstock_pipeline.definitions import defs
from tickstock_pipeline.gateway.missing_analysis import MissingAnalysisEndpoint
from tickstock_pipeline.settings import Settings


@pytest.fixture
def instance(settings: Settings, write_universe, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    universe: Path = write_universe(["AAA", "BBB"], range(2012, 2014))
    for name, value in settings.model_copy(update={"sample_file": universe}).child_environment().items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("symbols", ["AAA", "BBB"])
        yield instance


def run(instance: dg.DagsterInstance, *assets: str, last: str = "BBB|2013") -> dg.ExecuteInProcessResult:
    return defs.resolve_implicit_global_asset_job_def().execute_in_process(
        instance=instance,
        asset_selection=[dg.AssetKey(asset) for asset in assets],
        tags={"dagster/asset_partition_range_start": "AAA|2012", "dagster/asset_partition_range_end": last},
        raise_on_error=False,
    )


def up_to_date(instance: dg.DagsterInstance) -> dg.AssetCheckEvaluation:
    job = defs.resolve_implicit_global_asset_job_def()
    key = dg.AssetCheckKey(dg.AssetKey("patterns_daily"), "up_to_date")
    result = job.get_subset(asset_check_selection={key}, asset_selection=set()).execute_in_process(instance=instance)
    (found,) = result.get_asset_check_evaluations()
    return found


def test_the_check_counts_bars_by_year_and_fails_while_there_are_any(instance: dg.DagsterInstance) -> None:
    run(instance, "ohlcv_daily")

    found = up_to_date(instance)

    assert not found.passed
    assert found.metadata["bars_without_analysis"].value == 2 * (250 + 252)
    assert found.metadata["by_year"].value == {"2012": 500, "2013": 504}
    assert found.metadata["stale_partitions"].value["BBB|2013"] == 252
    run(instance, "indicators_daily", "patterns_daily")
    assert up_to_date(instance).passed


def test_a_poisoned_symbol_is_named_with_its_reason_until_it_succeeds(
    instance: dg.DagsterInstance, engine: sa.Engine
) -> None:
    run(instance, "ohlcv_daily")
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE bar_indicators ADD CONSTRAINT no_bbb CHECK (symbol <> 'BBB')")

    result = run(instance, "indicators_daily", "patterns_daily")

    assert not result.success
    found = up_to_date(instance)
    assert set(found.metadata["stale_partitions"].value) == {"BBB|2012", "BBB|2013"}
    assert set(found.metadata["failed"].value) == {"BBB|2012", "BBB|2013"}
    assert "no_bbb" in found.metadata["failed"].value["BBB|2012"]
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE bar_indicators DROP CONSTRAINT no_bbb")
    assert run(instance, "indicators_daily", "patterns_daily").success
    assert up_to_date(instance).metadata["failed"].value == {}


def test_the_gateway_counts_by_timeframe_and_on_request_by_symbol_and_year(
    instance: dg.DagsterInstance, engine: sa.Engine
) -> None:
    run(instance, "ohlcv_daily", last="BBB|2012")
    everything, daily, refused = asyncio.run(
        ask(engine, "/analysis/missing", "/analysis/missing?timeframe=daily", "/analysis/missing?timeframe=daytime")
    )

    assert everything.json()["timeframes"]["daily"] == {"bars_without_analysis": 500, "stale_partitions": 2}
    assert list(daily.json()["timeframes"]) == ["daily"]
    assert daily.json()["timeframes"]["daily"]["by_symbol"] == {"AAA": {"2012": 250}, "BBB": {"2012": 250}}
    assert refused.status_code == 400


async def ask(engine: sa.Engine, *paths: str) -> list[httpx.Response]:
    app = Starlette(routes=MissingAnalysisEndpoint(engine).routes())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://gateway") as client:
        return [await client.get(path) for path in paths]
