"""The stage of :mod:`.test_falling_behind`: what the provider has, what is stored before anything runs, and the tables.

Each group of symbols is there for something of its own.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from io import StringIO

import numpy as np
import pandas as pd
import sqlalchemy as sa

from tickstock_pipeline.batch.analysis import analyse_partitions, stale_partitions
from tickstock_pipeline.batch.imports import import_bars
from tickstock_pipeline.market.adjustment import Split
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.messaging.channels import SOURCE
from tickstock_pipeline.messaging.pattern_event import flow_id
from tickstock_pipeline.storage.bars import write_bars
from tickstock_pipeline.storage.ingestion import record_imported
from tickstock_pipeline.storage.symbols import add_symbols, set_active
from tickstock_pipeline_tests.integration.batch.array_provider import ArrayProvider, days, minutes

CALENDAR = trading_calendar()
DAYS_OF_2013 = 252

PER_SYMBOL, BATCH = ["P0", "P2"], ["P1", "P3"]
"""Of two import jobs. In each, the symbols are no neighbours on the grid, so that each has runs of its own."""
NEIGHBOUR = "Q0"
LEFT = [f"B{number}" for number in range(5)]
"""Imported without analysis: no automation touches them."""
NO_FLAG = "Y0"
BEFORE_LAST_YEAR = date.today().year - 2
LIVE = "M0"
"""Its minutes of one session came live; nothing is to be analysed of it."""
SESSION = date(2024, 3, 4)
SPLIT = Split("P0", date(2013, 7, 1), 2.0)
BACKLOG = [f"C{number:02d}" for number in range(20)]
SCATTERED = "ODD"
"""Has months of every other year, so that each year needs a run of its own."""
SCATTERED_YEARS = range(2000, 2012, 2)
ENDED = "ENDED"
"""Another program's detection of long ago."""


OFF_FOR = {"catch_up": "5 minutes", "after_close": "15 minutes", "universe_refresh": "7 days", "retention": "7 days"}
"""Each has missed one tick by then. Reconciliation would have compared a session that has nothing to do with this."""


def provider_has() -> dict[str, Bars]:
    """The provider's bars, by symbol."""
    yesterday = date.today() - timedelta(days=1)
    of_2013 = [*PER_SYMBOL, *BATCH, NEIGHBOUR, *LEFT]
    found = {one: days(one, date(2013, 1, 1), date(2013, 12, 31), seed=seed) for seed, one in enumerate(of_2013)}
    # of these bars, some of what is detected with their prices as traded does not hold with adjusted ones
    found["P0"] = before_the_split(days("P0", date(2013, 1, 1), date(2013, 12, 31), seed=4))
    found[NO_FLAG] = days(NO_FLAG, date(BEFORE_LAST_YEAR, 1, 1), yesterday)
    found[LIVE] = minutes(LIVE, SESSION, SESSION)
    return found


def before_the_split(bars: Bars) -> Bars:
    """The same bars as they were traded, when there were half as many shares."""
    times = np.where(bars.time < np.datetime64(SPLIT.ex_date), SPLIT.ratio, 1.0)
    prices = {name: np.round(getattr(bars, name) * times, 4) for name in ("open", "high", "low", "close")}
    return replace(bars, **prices)


def prepare(engine: sa.Engine, series: dict[str, Bars]) -> None:
    """What was there before: bars that runs of Dagster's had imported, some of them analysed and told of."""
    of_provider = ArrayProvider(series.values(), source="polygon")
    analysed = [Partition(symbol, 2013) for symbol in ("P0", NEIGHBOUR)]
    with engine.begin() as connection:
        add_symbols(connection, [LIVE, "P0", "P1", "P2", "P3", NEIGHBOUR, *LEFT])
        set_active(connection, [LIVE], False)
    imported = [*analysed, *(Partition(symbol, 2013) for symbol in LEFT)]
    outcomes = import_bars(engine, of_provider, CALENDAR, Timeframe.DAILY, imported)
    assert {outcome.error for outcome in analyse_partitions(engine, CALENDAR, Timeframe.DAILY, analysed)} == {""}
    with engine.begin() as connection:
        record_imported(connection, Timeframe.DAILY, [(one.partition, one.revision) for one in outcomes])
        # splits are asked for once a day
        connection.exec_driver_sql("UPDATE corporate_action_fetches SET fetched_at = fetched_at - interval '2 days'")
        # five minutes of the session did not come, and one was another
        write_bars(
            connection, [replace(series[LIVE], volume=series[LIVE].volume + (np.arange(390) == 100))[5:]], "live"
        )
        found = connection.execute(sa.text("SELECT * FROM daily_patterns WHERE symbol = 'P0'")).all()
        for row in found:
            flow = flow_id("P0", Timeframe.DAILY, row.pattern_type, round(row.bar_time.timestamp() * 1e6), row.revision)
            connection.execute(
                sa.text(
                    "INSERT INTO integration_events (event_type, source_system, flow_id, checkpoint, symbol)"
                    " VALUES ('pattern_detected', :source, :flow, 'PATTERN_PUBLISHED', 'P0')"
                ),
                {"source": SOURCE, "flow": flow},
            )
    execute(
        engine,
        "INSERT INTO ohlcv_monthly (symbol, month_ending, open, high, low, close, volume)"
        " SELECT :symbol, month, 10, 12, 9, 11, 100 FROM unnest(cast(:months AS date[])) month",
        symbol=SCATTERED,
        months=[str(CALENDAR.sessions(date(year, 1, 1), date(year, 1, 31))[-1]) for year in SCATTERED_YEARS],
    )
    execute(
        engine,
        "INSERT INTO daily_patterns (symbol, pattern_type, confidence, detection_timestamp)"
        " VALUES (:symbol, 'doji', 0.5, '2005-03-04')",
        symbol=ENDED,
    )


def let_time_pass(engine: sa.Engine) -> None:
    """Have the schedules believe that they have last been looked at so long ago."""
    for name, span in OFF_FOR.items():
        changed = execute(
            engine,
            """
            WITH due AS (
                SELECT id, selector_id, instigator_body::jsonb AS body,
                    to_jsonb(extract(epoch FROM now() - cast(:span AS interval))) AS at
                FROM dagster.instigators WHERE instigator_body::jsonb #>> '{origin,job_name}' = :name
            ), forgotten AS (DELETE FROM dagster.job_ticks USING due WHERE job_ticks.selector_id = due.selector_id)
            UPDATE dagster.instigators SET instigator_body = jsonb_set(
                jsonb_set(body, '{job_specific_data,start_timestamp}', at),
                '{job_specific_data,last_iteration_timestamp}', at
            ) FROM due WHERE instigators.id = due.id RETURNING instigators.id
            """,
            name=name,
            span=span,
        )
        assert len(changed) == 1, name


def execute(engine: sa.Engine, statement: str, **values: object) -> list[sa.Row]:
    with engine.begin() as connection:
        found = connection.execute(sa.text(statement), values)
        return list(found.all()) if found.returns_rows else []


def count(engine: sa.Engine, what: str, **values: object) -> int:
    return execute(engine, f"SELECT count(*) FROM {what}", **values)[0][0]


def write_past_dagster(engine: sa.Engine, bars: pd.DataFrame) -> None:
    connection = engine.raw_connection()
    connection.cursor().copy_expert(
        "COPY ohlcv_daily (symbol, date, open, high, low, close, volume) FROM STDIN CSV HEADER",
        StringIO(bars.to_csv(index=False)),
    )
    connection.commit()
    connection.close()


def analysed_at(engine: sa.Engine) -> dict[tuple[str, int], object]:
    rows = execute(engine, "SELECT symbol, year, analysed_at FROM analysis_coverage WHERE timeframe = 'daily'")
    return {(row.symbol, row.year): row.analysed_at for row in rows}


def stale(engine: sa.Engine, timeframe: Timeframe = Timeframe.DAILY) -> set[str]:
    with engine.connect() as connection:
        return {f"{one.symbol}|{one.year}" for one in stale_partitions(connection, timeframe)}


def told_of_days(engine: sa.Engine, symbols: Sequence[str]) -> dict[str, int]:
    """How often Dagster was told of each partition of days."""
    rows = execute(
        engine,
        "SELECT partition, count(*) AS n FROM dagster.event_logs WHERE asset_key = '[\"ohlcv_daily\"]'"
        " AND dagster_event_type = 'ASSET_MATERIALIZATION' AND split_part(partition, '|', 1) = ANY(:symbols)"
        " GROUP BY 1",
        symbols=list(symbols),
    )
    return {row.partition: row.n for row in rows}
