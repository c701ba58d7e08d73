"""What is analysed again after a change: what is new, written where values differ, and exact all the same."""

import random
from collections.abc import Callable

import numpy as np
import pytest
import sqlalchemy as sa

from tickstock_pipeline.batch import analysis as batch_analysis
from tickstock_pipeline.batch.analysis import analyse_partitions, stale_partitions
from tickstock_pipeline.batch.outcome import Status, failures
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.bars import read_bars, write_bars

SYMBOLS = ("AAA", "BBB")
MINUTES = [Partition(symbol, 2024) for symbol in SYMBOLS]
DAYS = [Partition(symbol, year) for symbol in SYMBOLS for year in (2022, 2023)]
MINUTES_A_SESSION = 390

Rows = dict[tuple[str, object], tuple[object, ...]]


def walk(symbol: str, timeframe: Timeframe, first: str, last: str) -> Bars:
    """A random walk over the sessions from ``first`` to ``last``."""
    calendar = trading_calendar()
    time = calendar.sessions(np.datetime64(first), np.datetime64(last)).astype("datetime64[us]")
    if timeframe is Timeframe.MINUTE:
        minutes = np.arange(MINUTES_A_SESSION) * np.timedelta64(1, "m")
        time = (calendar.opening(time.astype("datetime64[D]"))[:, None] + minutes).ravel().astype("datetime64[us]")
    source = np.random.default_rng(SYMBOLS.index(symbol))
    close = np.round(50 * np.exp(np.cumsum(source.normal(0, 0.002, len(time)))), 2)
    opened = np.round(close * np.exp(source.normal(0, 0.001, len(time))), 2)
    return Bars(
        symbol,
        timeframe,
        time,
        opened,
        np.maximum(opened, close) + 0.03,
        np.minimum(opened, close) - 0.02,
        close,
        source.integers(100, 10_000, len(time)),
    )


def store(engine: sa.Engine, *series: Bars) -> None:
    with engine.begin() as connection:
        for bars in series:
            write_bars(connection, [bars], "test")


def execute(engine: sa.Engine, statement: str, **parameters: object) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text(statement), parameters)


def values(engine: sa.Engine) -> Rows:
    """What is stored of each bar, and the transaction that wrote it."""
    query = (
        "SELECT symbol, time, outputs, stored.values, stored.xmin::text FROM bar_indicators stored"
        " JOIN indicator_layouts layout ON layout.id = layout_id"
    )
    with engine.connect() as connection:
        return {(row[0], row[1]): tuple(row[2:]) for row in connection.exec_driver_sql(query)}


def results(engine: sa.Engine) -> dict[str, list[tuple[object, ...]]]:
    """All results, without what depends on when they were written."""
    queries = {
        "patterns": "SELECT symbol, pattern_type, detection_timestamp, confidence, levels::text, metadata::text"
        " FROM daily_patterns WHERE retracted_at IS NULL ORDER BY 1, 2, 3",
        "latest": "SELECT symbol, indicator_type, value_data::text, bar_time FROM daily_indicators ORDER BY 1, 2",
        "coverage": "SELECT symbol, year, definition_digest, anchor, covered_through, n_bars, stale_from"
        " FROM analysis_coverage WHERE n_bars > 0 ORDER BY 1, 2",
    }
    with engine.connect() as connection:
        found = {name: [tuple(row) for row in connection.exec_driver_sql(sql)] for name, sql in queries.items()}
    of_bars = sorted((key, row[:-1]) for key, row in values(engine).items())
    return {**found, "values": [(*key, *row) for key, row in of_bars]}


def analyse(engine: sa.Engine, timeframe: Timeframe, partitions: list[Partition]) -> dict[Partition, int]:
    """Bring it up to date; the bars that were analysed of each partition that was not left alone."""
    outcomes = analyse_partitions(engine, trading_calendar(), timeframe, partitions)
    assert not failures(outcomes)
    with engine.connect() as connection:
        assert stale_partitions(connection, timeframe) == []
    return {one.partition: int(one.facts["bars_analysed"]) for one in outcomes if one.status is Status.WRITTEN}


@pytest.fixture
def copied(engine: sa.Engine, second_engine: sa.Engine) -> Callable[[Timeframe, list[Partition]], sa.Engine]:
    """Another database with the same bars, analysed for the first time."""

    def copy(timeframe: Timeframe, partitions: list[Partition]) -> sa.Engine:
        with engine.connect() as source, second_engine.begin() as target:
            write_bars(target, list(read_bars(source, timeframe, SYMBOLS).values()), "test")
            for name in ("pattern_definitions", "indicator_definitions"):
                enabled = source.execute(sa.text(f"SELECT name, enabled FROM {name}")).mappings()
                target.execute(
                    sa.text(f"UPDATE {name} SET enabled = :enabled WHERE name = :name"), [dict(one) for one in enabled]
                )
        analyse(second_engine, timeframe, partitions)
        return second_engine

    return copy


def test_an_appended_session_is_analysed_without_the_year_before_it(engine: sa.Engine, copied) -> None:
    series = [walk(symbol, Timeframe.MINUTE, "2024-01-02", "2024-01-26") for symbol in SYMBOLS]
    last = trading_calendar().opening(np.array(["2024-01-26"], "datetime64[D]"))[0]
    store(engine, *(bars[bars.time < last] for bars in series))
    analyse(engine, Timeframe.MINUTE, MINUTES)
    before = values(engine)
    store(engine, *(bars.since(last) for bars in series))

    done = analyse(engine, Timeframe.MINUTE, MINUTES)

    assert done == dict.fromkeys(MINUTES, MINUTES_A_SESSION)
    after = values(engine)
    assert {key: after[key] for key in before} == before
    assert len(after) == len(before) + 2 * MINUTES_A_SESSION
    assert results(engine) == results(copied(Timeframe.MINUTE, MINUTES))


@pytest.mark.parametrize("at", ["2024-01-04 15:00Z", "2024-01-26 20:00Z"], ids=["early", "in the last session"])
def test_of_a_corrected_minute_only_values_that_differ_are_written(engine: sa.Engine, copied, at: str) -> None:
    store(engine, *(walk(symbol, Timeframe.MINUTE, "2024-01-02", "2024-01-26") for symbol in SYMBOLS))
    analyse(engine, Timeframe.MINUTE, MINUTES)
    before = values(engine)
    execute(engine, "UPDATE ohlcv_1min SET close = low WHERE symbol = 'AAA' AND timestamp = :at", at=at)

    analyse(engine, Timeframe.MINUTE, MINUTES)

    after = values(engine)
    differing = {key for key, row in after.items() if row[:-1] != before[key][:-1]}
    written = {key for key, row in after.items() if row[-1] != before[key][-1]}
    assert written == differing
    assert {symbol for symbol, _ in written} == {"AAA"}
    assert 0 < len(written) < len(after) / 2
    assert results(engine) == results(copied(Timeframe.MINUTE, MINUTES))


def test_whatever_is_written_corrected_and_deleted_ends_in_the_results_of_a_first_analysis(
    engine: sa.Engine, copied
) -> None:
    source = random.Random(7)
    whole = {symbol: walk(symbol, Timeframe.DAILY, "2022-01-03", "2023-12-29") for symbol in SYMBOLS}
    known = dict.fromkeys(SYMBOLS, 300)
    store(engine, *(whole[symbol][:300] for symbol in SYMBOLS))
    analyse(engine, Timeframe.DAILY, DAYS)
    for _ in range(12):
        symbol = source.choice(SYMBOLS)
        day = str(whole[symbol].time[source.randrange(known[symbol])].astype("datetime64[D]"))
        match source.choice(["append", "append", "correct", "delete", "delete the last", "restore"]):
            case "append":
                start, known[symbol] = known[symbol], known[symbol] + source.choice([1, 5])
                store(engine, whole[symbol][start : known[symbol]])
            case "correct":
                execute(
                    engine,
                    "UPDATE ohlcv_daily SET volume = volume * 2, close = low WHERE symbol = :s AND date = :d",
                    s=symbol,
                    d=day,
                )
            case "delete":
                execute(engine, "DELETE FROM ohlcv_daily WHERE symbol = :s AND date = :d", s=symbol, d=day)
            case "delete the last":
                execute(
                    engine,
                    "DELETE FROM ohlcv_daily WHERE symbol = :s"
                    " AND date = (SELECT max(date) FROM ohlcv_daily WHERE symbol = :s)",
                    s=symbol,
                )
            case "restore":
                store(engine, whole[symbol][: known[symbol]])
        if source.random() < 0.6:
            analyse(engine, Timeframe.DAILY, DAYS)
    analyse(engine, Timeframe.DAILY, DAYS)

    assert results(engine) == results(copied(Timeframe.DAILY, DAYS))


def test_an_analysis_that_another_one_with_new_definitions_overtakes_claims_nothing(
    engine: sa.Engine, copied, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(engine, *(walk(symbol, Timeframe.DAILY, "2022-01-03", "2023-12-29") for symbol in SYMBOLS))
    analyse(engine, Timeframe.DAILY, DAYS)
    execute(engine, "UPDATE ohlcv_daily SET close = low WHERE date = '2023-06-05'")
    compute = batch_analysis.analyse_many

    def overtaken(series, definitions, firsts):
        monkeypatch.setattr(batch_analysis, "analyse_many", compute)
        execute(engine, "UPDATE indicator_definitions SET enabled = false WHERE name = 'sma_5'")
        analyse(engine, Timeframe.DAILY, DAYS)
        return compute(series, definitions, firsts)

    monkeypatch.setattr(batch_analysis, "analyse_many", overtaken)
    analyse_partitions(engine, trading_calendar(), Timeframe.DAILY, DAYS)
    # the definitions of the one that was overtaken are those that hold in the end
    execute(engine, "UPDATE indicator_definitions SET enabled = true WHERE name = 'sma_5'")

    analyse(engine, Timeframe.DAILY, DAYS)
    assert results(engine) == results(copied(Timeframe.DAILY, DAYS))


def test_a_run_that_is_killed_goes_on_after_the_last_portion_that_it_committed(
    engine: sa.Engine, copied, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(engine, *(walk(symbol, Timeframe.DAILY, "2022-01-03", "2023-12-29") for symbol in SYMBOLS))
    monkeypatch.setattr(batch_analysis, "_BARS_AT_ONCE", 600)
    compute = batch_analysis.analyse_many

    def killed(series, definitions, firsts):
        if any(bars.symbol == "BBB" for bars in series):
            raise KeyboardInterrupt
        return compute(series, definitions, firsts)

    monkeypatch.setattr(batch_analysis, "analyse_many", killed)
    with pytest.raises(KeyboardInterrupt):
        analyse_partitions(engine, trading_calendar(), Timeframe.DAILY, DAYS)
    monkeypatch.setattr(batch_analysis, "analyse_many", compute)

    assert set(analyse(engine, Timeframe.DAILY, DAYS)) == {one for one in DAYS if one.symbol == "BBB"}
    assert results(engine) == results(copied(Timeframe.DAILY, DAYS))
