"""Native backfills of analysis through everything: GraphQL, Dagster's daemon, its runs, until every partition is green.

What an administrator waits for, Dagster's share included; what Dagster's processes take of memory; how long a run after
a new bar and an asset's page are waited for. ``python -m benchmarks.backfill --symbols 100 --years 1`` measures less.
"""

import argparse
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import sqlalchemy as sa
from rich.table import Table

from benchmarks.database import show
from benchmarks.instance import Instance, running_instance
from benchmarks.random_walks import daily_bars
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.runtime.analysis_backfill import choose, launch
from tickstock_pipeline.runtime.orchestrator import Orchestrator
from tickstock_pipeline.storage.bars import write_bars
from tickstock_pipeline.storage.engine import create_engine
from tickstock_pipeline.storage.ingestion import record_imported
from tickstock_pipeline.storage.ledger import read_ledger
from tickstock_pipeline.storage.symbols import add_symbols

SYMBOLS = 500
YEARS = (1, 10)
TARGET_SECONDS = {1: 90, 10: 480}
LAST_YEAR = 2023
PAGE_SYMBOLS, PAGE_YEARS = 1000, 10
PROBES = 5

_PROCESSES = ("daemon", "webserver", "code-server")
"""Runs are children of the code server's."""
SETTINGS = {
    # one that cannot list its symbols, so that nothing is imported
    "TICKSTOCK_PROVIDER": "polygon",
    "TICKSTOCK_POLYGON_API_KEY": "unused",
    "TICKSTOCK_FIRST_YEAR": str(LAST_YEAR - max(PAGE_YEARS, *YEARS) + 1),
    "TICKSTOCK_AUTOMATIONS_OFF": "catch_up,after_close",
}
_LONGEST_S = 1800.0


@dataclass
class Waited:
    """Seconds since the launch; by process, megabytes at most and seconds of a processor."""

    bars: int = 0
    partitions: int = 0
    first_run: float = 0.0
    analysed: float = 0.0
    green: float = 0.0
    over: float = 0.0
    status: str = ""
    memory: dict[str, float] = field(default_factory=dict)
    processor: dict[str, float] = field(default_factory=dict)


def measure(n_symbols: int = SYMBOLS, years: Sequence[int] = YEARS) -> list[Table]:
    """Backfills of ``n_symbols`` symbols with so many years of days; then new bars; then pages of a large grid."""
    with (
        running_instance(SETTINGS) as instance,
        engine_of(instance) as engine,
        Orchestrator(instance.web_url, timeout_seconds=300) as orchestrator,
    ):
        backfills = [_backfill(instance, engine, orchestrator, n_symbols, count) for count in years]
        probes = [_new_bar(engine, number) for number in range(PROBES)]
        pages = _pages(instance, engine, orchestrator)
    return [_backfill_table(n_symbols, years, backfills), _probe_table(probes), pages]


@contextmanager
def engine_of(instance: Instance) -> Iterator[sa.Engine]:
    """Connections to the database of a running instance, closed at the end."""
    engine = create_engine(instance.services.database_url)
    try:
        yield engine
    finally:
        engine.dispose()


def _backfill(
    instance: Instance, engine: sa.Engine, orchestrator: Orchestrator, n_symbols: int, n_years: int
) -> Waited:
    """Store the years before those that are there, so that all of them lack analysis, and backfill them."""
    series = daily_bars(n_symbols, LAST_YEAR - n_years + 1, LAST_YEAR)
    with engine.begin() as connection:
        add_symbols(connection, [bars.symbol for bars in series])
        write_bars(connection, series, "benchmark")
        # as if a run had imported them: the sensor is not what is measured here
        rows = read_ledger(connection, Timeframe.DAILY)
        record_imported(connection, Timeframe.DAILY, [(Partition(row.symbol, row.year), row.revision) for row in rows])
    orchestrator.add_symbols([bars.symbol for bars in series])
    choice = choose(engine, [Timeframe.DAILY], first_year=LAST_YEAR - n_years + 1)
    waited = Waited(choice.bars, sum(map(len, choice.stale.values())))
    processor = {name: instance.processor_s(name) for name in _PROCESSES}
    begin = time.monotonic()
    launched = launch(engine, orchestrator, [Timeframe.DAILY], choice)
    for progress in orchestrator.watch(launched.backfill_id):
        now = time.monotonic() - begin
        if now > _LONGEST_S:
            raise RuntimeError(f"the backfill is not over after {now:.0f} s: {progress}")
        for name in _PROCESSES:
            waited.memory[name] = max(waited.memory.get(name, 0.0), instance.memory_mb(name))
        if not waited.first_run and any(asset.in_progress or asset.materialized for asset in progress.assets):
            waited.first_run = now
        if not waited.analysed and not choose(engine, [Timeframe.DAILY], first_year=LAST_YEAR - n_years + 1).stale:
            waited.analysed = now
        if not waited.green and progress.targeted and progress.materialized == progress.targeted:
            waited.green = now
    waited.over, waited.status = time.monotonic() - begin, progress.status
    waited.processor = {name: instance.processor_s(name) - before for name, before in processor.items()}
    return waited


def _new_bar(engine: sa.Engine, number: int) -> float:
    """Seconds from the commit of a bar of a symbol that nobody knows to the start of the run that analyses it."""
    symbol = f"NEW{number}"
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO ohlcv_daily (symbol, date, open, high, low, close, volume)"
                " VALUES (:symbol, :date, 10, 12, 9, 11, 100)"
            ),
            {"symbol": symbol, "date": f"{LAST_YEAR}-03-01"},
        )
    committed = time.time()
    started_at = sa.text("""
        SELECT start_time FROM dagster.runs JOIN dagster.run_tags USING (run_id)
        WHERE key = 'dagster/asset_partition_range_start' AND value = :partition AND start_time IS NOT NULL
    """)
    while time.time() - committed < _LONGEST_S:
        time.sleep(0.2)
        with engine.connect() as connection:
            found = connection.scalar(started_at, {"partition": f"{symbol}|{LAST_YEAR}"})
        if found is not None:
            _rest(engine)
            # so that the next one comes at another moment of the sensor's interval
            time.sleep(7 * number % 5)
            return float(found) - committed
    raise RuntimeError(f"no run for {symbol}")


def _rest(engine: sa.Engine) -> None:
    """Return when no run is under way: the roll-ups of one bar must not keep the next bar's run waiting."""
    active = sa.text(
        "SELECT count(*) FROM dagster.runs WHERE status IN ('QUEUED', 'NOT_STARTED', 'STARTING', 'STARTED')"
    )
    quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < 15:
        time.sleep(0.5)
        with engine.connect() as connection:
            if connection.scalar(active):
                quiet_since = time.monotonic()


def _pages(instance: Instance, engine: sa.Engine, orchestrator: Orchestrator) -> Table:
    """What the catalogue's and an asset's page ask the webserver for, with every partition of every asset green."""
    fill_dagster(instance, engine, orchestrator)
    table = Table(
        title=f"Pages, {PAGE_SYMBOLS:,} symbols x {PAGE_YEARS} years x all assets, s; the aim is 3 s for a page"
    )
    for column in ("what is asked for", "first time", "again", "of a processor, again", "webserver, MB"):
        table.add_column(column, justify="left" if column == "what is asked for" else "right")
    for what, query in _QUERIES.items():
        seconds = []
        for _ in range(2):
            processor = instance.processor_s("webserver")
            begin = time.monotonic()
            _ask(instance, query)
            seconds.append(time.monotonic() - begin)
        seconds.append(instance.processor_s("webserver") - processor)
        table.add_row(what, *(f"{one:.2f}" for one in seconds), f"{instance.memory_mb('webserver'):.0f}")
    return table


def fill_dagster(instance: Instance, engine: sa.Engine, orchestrator: Orchestrator) -> None:
    """Materialise all partitions of a large grid in Dagster's log alone: one of each asset by its API, then copies."""
    symbols = [f"S{number:04d}" for number in range(PAGE_SYMBOLS)]
    orchestrator.add_symbols(symbols)
    sample = Partition(symbols[0], LAST_YEAR).key
    assets = _ask(instance, "{assetNodes{assetKey{path}}}")["assetNodes"]
    for asset in assets:
        parameters = {
            "eventType": "ASSET_MATERIALIZATION",
            "assetKey": {"path": asset["assetKey"]["path"]},
            "partitionKeys": [sample],
        }
        answer = _ask(instance, _REPORT, {"parameters": parameters})["reportRunlessAssetEvents"]
        if answer["__typename"] != "ReportRunlessAssetEventsSuccess":
            raise RuntimeError(f"Dagster refuses the event: {answer}")
    with engine.begin() as connection:
        connection.execute(
            _COPIES,
            {
                "sample": sample,
                "symbols": symbols,
                "first": LAST_YEAR - PAGE_YEARS + 1,
                "last": LAST_YEAR,
            },
        )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("ANALYZE dagster.event_logs")


def _ask(instance: Instance, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
    message = {"query": query, "variables": variables or {}}
    answer = httpx.post(f"{instance.web_url}/graphql", json=message, timeout=300).json()
    if "errors" in answer:
        raise RuntimeError(str(answer["errors"])[:1000])
    data: dict[str, Any] = answer["data"]
    return data


def _backfill_table(n_symbols: int, years: Sequence[int], backfills: Sequence[Waited]) -> Table:
    table = Table(title=f"Native backfills of the analysis of {n_symbols} symbols' days, s after the launch")
    table.add_column("")
    for count in years:
        target = TARGET_SECONDS.get(count)
        aim = f", aim {target} s" if n_symbols == SYMBOLS and target else ""
        table.add_column(f"{count} year{'s' if count > 1 else ''}{aim}", justify="right")
    rows = {
        "bars": [f"{one.bars:,}" for one in backfills],
        "partitions": [f"{one.partitions:,}" for one in backfills],
        "runs begin": [f"{one.first_run:.0f}" for one in backfills],
        "all analysed, says the ledger": [f"{one.analysed:.0f}" for one in backfills],
        "all partitions green": [f"{one.green:.0f}" for one in backfills],
        "the backfill is over": [f"{one.over:.0f}, {one.status}" for one in backfills],
        **{f"{name}, MB at most": [f"{one.memory[name]:.0f}" for one in backfills] for name in _PROCESSES},
        **{f"{name}, processor": [f"{one.processor[name]:.0f}" for one in backfills] for name in _PROCESSES},
    }
    for name, values in rows.items():
        table.add_row(name, *values)
    return table


def _probe_table(probes: Sequence[float]) -> Table:
    table = Table(title="From the commit of a bar that somebody else wrote to the start of its run, s; the aim is 15 s")
    for column in ("bars", "fastest", "median", "slowest"):
        table.add_column(column, justify="right")
    table.add_row(
        str(len(probes)), *(f"{value:.1f}" for value in (min(probes), statistics.median(probes), max(probes)))
    )
    return table


_QUERIES = {
    "catalogue: counts of all assets": """
        {assetNodes {assetKey {path} partitionStats {numMaterialized numFailed numMaterializing numPartitions}}}""",
    "an asset's partitions": """
        {assetNodeOrError(assetKey: {path: ["indicators_daily"]}) {... on AssetNode {
            partitionKeysByDimension {name partitionKeys}
            assetPartitionStatuses {... on MultiPartitionStatuses {primaryDimensionName ranges {
                primaryDimStartKey primaryDimEndKey
                secondaryDim {__typename
                    ... on TimePartitionStatuses {ranges {status startKey endKey}}
                    ... on DefaultPartitionStatuses {materializedPartitions failedPartitions}}}}}}}}""",
    "an asset's newest events": """
        {assetOrError(assetKey: {path: ["indicators_daily"]}) {... on Asset {
            assetMaterializations(limit: 100) {partition timestamp metadataEntries {label}}}}}""",
}
_REPORT = """
    mutation ($parameters: ReportRunlessAssetEventsParams!) {
        reportRunlessAssetEvents(eventParams: $parameters) {__typename ... on PythonError {message}}}"""
_COPIES = sa.text("""
    INSERT INTO dagster.event_logs (run_id, event, dagster_event_type, timestamp, step_key, asset_key, partition)
    SELECT run_id, replace(event, :sample, wanted.key), dagster_event_type, timestamp, step_key, asset_key, wanted.key
    FROM (
        SELECT DISTINCT ON (asset_key) * FROM dagster.event_logs
        WHERE partition = :sample AND dagster_event_type = 'ASSET_MATERIALIZATION' ORDER BY asset_key, id DESC
    ) one CROSS JOIN (
        SELECT symbol || '|' || year AS key
        FROM unnest(cast(:symbols AS text[])) symbol, generate_series(cast(:first AS int), cast(:last AS int)) year
    ) wanted
""")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.backfill", description=__doc__)
    parser.add_argument("--symbols", type=int, default=SYMBOLS)
    parser.add_argument("--years", type=int, nargs="+", default=list(YEARS), choices=range(1, PAGE_YEARS + 1))
    asked = parser.parse_args()
    show(measure(asked.symbols, asked.years))
