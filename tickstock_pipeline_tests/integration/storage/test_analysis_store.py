"""Analyses into the tables: what is written, what is not, and what becomes of a detection that no longer holds."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from tickstock_pipeline.analysis import Analysis, DefinitionSet, analyse, definition_set
from tickstock_pipeline.indicators.defaults import DEFAULT_INDICATORS
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.patterns.defaults import DEFAULT_PATTERNS
from tickstock_pipeline.patterns.detections import Detections
from tickstock_pipeline.storage.analysed_window import AnalysedWindow
from tickstock_pipeline.storage.analysis_store import AnalysisCounts, write_analysis
from tickstock_pipeline.storage.patterns import latest_patterns

DEFINITIONS = definition_set(Timeframe.DAILY, DEFAULT_INDICATORS, DEFAULT_PATTERNS)
OPENING = np.timedelta64(14 * 60 + 30, "m")


def random_bars(symbol: str, n_bars: int, seed: int = 1) -> Bars:
    random = np.random.default_rng(seed)
    close = 50 * np.exp(np.cumsum(random.normal(0, 0.02, n_bars)))
    open_ = close * (1 + random.normal(0, 0.01, n_bars))
    high = np.maximum(open_, close) * (1 + random.exponential(0.01, n_bars))
    low = np.minimum(open_, close) * (1 - random.uniform(0, 0.02, n_bars))
    time = (np.datetime64("2013-01-01") + np.arange(n_bars)).astype("datetime64[us]")
    return Bars(symbol, Timeframe.DAILY, time, open_, high, low, close, random.integers(1, 10**6, n_bars))


def window(
    analysis: Analysis, first: str = "2013-01-01", last: str = "2013-12-31", divisor: float = 1.0
) -> AnalysedWindow:
    return AnalysedWindow(
        analysis,
        np.full(len(analysis.bars), divisor),
        analysis.bars.time + OPENING,
        np.datetime64(first, "us"),
        np.datetime64(last, "us"),
    )


def hammers(bars: Bars, index: Sequence[int], confidence: float = 0.8) -> Analysis:
    """An analysis without indicators, with hammers at some bars."""
    at = np.array(index, np.int64)
    found = Detections(
        "hammer",
        at,
        np.ones(len(at), np.int8),
        np.full(len(at), confidence),
        np.ones(len(at), np.int64),
        np.zeros(len(at), np.bool_),
        {"stop": bars.low[at], "target": np.full(len(at), np.nan)},
        {"body": np.full(len(at), 0.25)},
    )
    return Analysis(bars, np.empty((len(bars), 0)), (), (found,))


ONLY_PATTERNS = DefinitionSet(Timeframe.DAILY, (), DEFINITIONS.patterns)


def rows(connection: sa.Connection, query: str) -> list[Any]:
    return list(connection.execute(sa.text(query)).all())


def test_a_whole_analysis_is_stored_as_computed_and_its_repeat_writes_nothing(engine: sa.Engine) -> None:
    analyses = [analyse(random_bars(symbol, 300, seed), DEFINITIONS) for symbol, seed in (("B", 1), ("A", 2))]
    with engine.begin() as connection:
        first = write_analysis(connection, DEFINITIONS, [window(analysis) for analysis in analyses])
        stored = rows(connection, "SELECT symbol, time, values FROM bar_indicators ORDER BY symbol DESC, time")
        layouts = rows(connection, "SELECT outputs FROM indicator_layouts")
        found = rows(connection, "SELECT symbol, pattern_type, bar_time FROM daily_patterns")
    assert first.indicator_rows == 600
    assert layouts == [(list(DEFINITIONS.outputs),)]
    values = np.array([row.values for row in stored], dtype=np.float64)
    assert values.tobytes() == np.concatenate([analysis.values for analysis in analyses]).tobytes()
    assert [row.time.replace(tzinfo=None) for row in stored[:300]] == analyses[0].bars.time.tolist()
    expected = sum(len(one) for analysis in analyses for one in analysis.detections)
    assert first.patterns_found == len(found) == expected > 50
    assert first.latest_rows == 2

    with engine.begin() as connection:
        repeated = write_analysis(connection, DEFINITIONS, [window(analysis) for analysis in analyses])
    assert repeated == AnalysisCounts()
    assert repeated.total == 0


def test_only_bars_in_the_window_are_stored_and_replaced(engine: sa.Engine) -> None:
    analysis = analyse(random_bars("A", 300), DEFINITIONS)
    february = window(analysis, "2013-02-01", "2013-02-28")
    with engine.begin() as connection:
        counts = write_analysis(connection, DEFINITIONS, [february])
        assert counts.indicator_rows == 28
        bounds = rows(connection, "SELECT min(time)::date::text, max(time)::date::text FROM bar_indicators")
        assert bounds == [("2013-02-01", "2013-02-28")]
        write_analysis(connection, DEFINITIONS, [window(analysis)])

        shorter = replace(analysis, bars=analysis.bars[:50], values=analysis.values[:50], detections=())
        gone = write_analysis(connection, DEFINITIONS, [window(shorter, "2013-02-01", "2013-02-28")])
        assert gone.indicator_rows == 0
        assert gone.indicator_rows_deleted == 31 + 28 - 50
        assert rows(connection, "SELECT count(*) FROM bar_indicators") == [(300 - 9,)]
        assert gone.patterns_retracted == sum(
            int(((one.index >= 31) & (one.index < 59)).sum()) for one in analysis.detections
        )


def test_a_detection_is_stored_with_its_prices_as_traded(engine: sa.Engine) -> None:
    bars = random_bars("A", 5)
    # a thirteenth of 185.5 times 13 is not 185.5 in binary
    bars.close[3], bars.low[3] = 185.5 / 13, 180.25 / 13
    with engine.begin() as connection:
        write_analysis(connection, ONLY_PATTERNS, [window(hammers(bars, [3]), divisor=13.0)])
        (row,) = connection.execute(sa.text("SELECT * FROM daily_patterns")).mappings()
    assert row["pattern_data"] == {
        "direction": "bullish",
        "price": 185.5,
        "formation_bars": 1,
        "volume_confirmed": False,
    }
    assert row["levels"] == {"stop": 180.25}
    assert row["metadata"] == {
        "signal_strength": "strong",
        "formation_bars": 1,
        "volume_confirmed": False,
        "technical_context": {"body": 0.25},
    }
    assert (row["symbol"], row["timeframe"], row["pattern_type"]) == ("A", "daily", "hammer")
    assert (row["confidence"], row["direction"], row["revision"]) == (0.8, "bullish", 1)
    assert row["bar_time"].isoformat() == "2013-01-04T00:00:00+00:00"
    assert row["detection_timestamp"].isoformat() == "2013-01-04T14:30:00+00:00"


def test_a_detection_that_no_longer_holds_is_retracted_and_comes_back_as_the_next_revision(engine: sa.Engine) -> None:
    bars = random_bars("A", 10)

    def store(index: list[int], confidence: float = 0.8) -> tuple[int, int, int]:
        with engine.begin() as connection:
            counts = write_analysis(connection, ONLY_PATTERNS, [window(hammers(bars, index, confidence))])
        return counts.patterns_found, counts.patterns_changed, counts.patterns_retracted

    def held() -> list[tuple[int, int, bool, bool]]:
        with engine.connect() as connection:
            return [
                tuple(row)
                for row in rows(
                    connection,
                    "SELECT id, revision, retracted_at IS NULL, expiration_date IS NULL FROM daily_patterns"
                    " ORDER BY bar_time",
                )
            ]

    assert store([3, 5]) == (2, 0, 0)
    first_id = held()[0][0]
    assert store([5]) == (0, 0, 1)
    assert held()[0] == (first_id, 1, False, False)
    assert store([5]) == (0, 0, 0)
    assert store([3, 5], 0.9) == (1, 1, 0)
    assert held()[0] == (first_id, 2, True, True)
    with engine.connect() as connection:
        assert len(latest_patterns(connection)) == 2


def test_rows_of_the_consumer_are_left_alone(engine: sa.Engine) -> None:
    bars = random_bars("A", 10)
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO daily_patterns (symbol, pattern_type, confidence, detection_timestamp) VALUES"
                " ('A', 'hammer', 0.1, '2013-01-04 14:30+00'), ('A', 'theirs', 0.2, '2013-01-04 14:30+00')"
            )
        )
        before = rows(connection, "SELECT * FROM daily_patterns ORDER BY id")
        counts = write_analysis(connection, ONLY_PATTERNS, [window(hammers(bars, [3]))])
        assert counts.total == 0
        assert rows(connection, "SELECT * FROM daily_patterns ORDER BY id") == before


def test_latest_values_follow_the_newest_bar_and_never_go_back(engine: sa.Engine) -> None:
    analysis = analyse(random_bars("A", 300), DEFINITIONS)

    def latest() -> dict[str, tuple[str, dict[str, float]]]:
        with engine.connect() as connection:
            return {
                row.indicator_type: (row.day, row.value_data)
                for row in rows(
                    connection, "SELECT indicator_type, bar_time::date::text AS day, value_data FROM daily_indicators"
                )
            }

    def store(first: str, last: str) -> AnalysisCounts:
        with engine.begin() as connection:
            return write_analysis(connection, DEFINITIONS, [window(analysis, first, last)])

    store("2013-01-01", "2013-01-30")
    # 30 bars: averages of 50 bars and more and the MACD have no value yet
    assert sorted(latest()) == sorted(row.name for row in DEFINITIONS.indicators if row.min_bars_required <= 30)
    store("2013-10-01", "2013-10-31")
    assert len(latest()) == 18
    day, macd = latest()["macd"]
    assert day == "2013-10-27"
    columns = [DEFINITIONS.outputs.index(name) for name in ("macd", "macd_signal", "macd_hist")]
    assert macd == dict(zip(("macd", "macd_signal", "macd_hist"), analysis.values[-1][columns].tolist(), strict=True))
    before = latest()
    assert store("2013-02-01", "2013-02-28").latest_rows == 0
    assert latest() == before


def test_latest_values_of_a_bar_that_is_gone_are_replaced_by_those_of_the_bar_before(engine: sa.Engine) -> None:
    analysis = analyse(random_bars("A", 60), DEFINITIONS)
    without_last = replace(analysis, bars=analysis.bars[:-1], values=analysis.values[:-1], detections=())
    with engine.begin() as connection:
        write_analysis(connection, DEFINITIONS, [window(analysis)])
        write_analysis(connection, DEFINITIONS, [window(without_last)])
        days = rows(connection, "SELECT DISTINCT bar_time::date::text FROM daily_indicators")
        assert days == [("2013-02-28",)]
        nothing = replace(analysis, bars=analysis.bars[:0], values=analysis.values[:0], detections=())
        write_analysis(connection, DEFINITIONS, [window(nothing)])
        assert rows(connection, "SELECT * FROM daily_indicators") == []
        assert rows(connection, "SELECT * FROM bar_indicators") == []


def test_an_analysis_made_with_other_definitions_is_refused(engine: sa.Engine) -> None:
    analysis = analyse(random_bars("A", 30), DEFINITIONS)
    with engine.begin() as connection:
        with pytest.raises(ValueError, match="these definitions"):
            write_analysis(connection, ONLY_PATTERNS, [window(analysis)])
        with pytest.raises(ValueError, match="overlap"):
            write_analysis(connection, DEFINITIONS, [window(analysis), window(analysis, "2013-06-01")])
        assert write_analysis(connection, DEFINITIONS, []) == AnalysisCounts()


def test_a_transaction_that_fails_leaves_no_result(engine: sa.Engine) -> None:
    analysis = analyse(random_bars("A", 60), DEFINITIONS)
    with engine.connect() as connection:
        write_analysis(connection, DEFINITIONS, [window(analysis)])
        connection.rollback()
    with engine.connect() as connection:
        for table in ("bar_indicators", "daily_patterns", "daily_indicators"):
            assert rows(connection, f"SELECT count(*) FROM {table}") == [(0,)]


def test_latest_patterns_can_be_narrowed_down(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        items = [window(hammers(random_bars(symbol, 10), [3, 5])) for symbol in ("A", "B")]
        write_analysis(connection, ONLY_PATTERNS, items)
        everything = latest_patterns(connection)
        assert [(row.symbol, row.detection_timestamp.day) for row in everything] == [
            ("A", 6),
            ("B", 6),
            ("A", 4),
            ("B", 4),
        ]
        assert json.loads(json.dumps(everything[0].levels)) == everything[0].levels
        assert len(latest_patterns(connection, limit=1)) == 1
        assert {row.symbol for row in latest_patterns(connection, symbols=["B"])} == {"B"}
        assert latest_patterns(connection, timeframes=[Timeframe.WEEKLY]) == []
        assert latest_patterns(connection, patterns=["doji"]) == []
        assert len(latest_patterns(connection, since=everything[0].detection_timestamp)) == 2


def test_symbols_with_and_without_stored_results_are_written_together(engine: sa.Engine) -> None:
    analyses = [analyse(random_bars(symbol, 60, seed), DEFINITIONS) for symbol, seed in (("A", 1), ("B", 2), ("C", 3))]
    n_patterns = sum(len(one) for analysis in analyses for one in analysis.detections)
    with engine.begin() as connection:
        known = write_analysis(connection, DEFINITIONS, [window(analyses[1])])
        rest = write_analysis(connection, DEFINITIONS, [window(analysis) for analysis in analyses])
        assert (known.indicator_rows, rest.indicator_rows, rest.indicator_rows_deleted) == (60, 120, 0)
        assert known.patterns_found + rest.patterns_found == n_patterns
        stored = rows(connection, "SELECT symbol, values FROM bar_indicators ORDER BY symbol, time")
        values = np.array([row.values for row in stored], dtype=np.float64)
        assert values.tobytes() == np.concatenate([analysis.values for analysis in analyses]).tobytes()


def test_a_detection_that_the_consumer_commits_during_ours_stays_and_does_not_fail_ours(engine: sa.Engine) -> None:
    bars = random_bars("A", 10)
    with ThreadPoolExecutor(1) as thread, engine.connect() as theirs, engine.connect() as ours:
        pid = ours.scalar(sa.text("SELECT pg_backend_pid()"))
        theirs.execute(
            sa.text(
                "INSERT INTO daily_patterns (symbol, pattern_type, confidence, detection_timestamp)"
                " VALUES ('A', 'hammer', 0.1, '2013-01-04 14:30+00')"
            )
        )
        written = thread.submit(write_analysis, ours, ONLY_PATTERNS, [window(hammers(bars, [3, 5]))])
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as observer:
            while not observer.scalar(sa.text("SELECT cardinality(pg_blocking_pids(:pid))"), {"pid": pid}):
                assert not written.done(), "it did not wait"
        theirs.commit()
        counts = written.result(30)
        ours.commit()
        assert (counts.patterns_found, counts.patterns_changed) == (1, 0)
        assert rows(ours, "SELECT confidence FROM daily_patterns ORDER BY detection_timestamp") == [(0.1,), (0.8,)]


def test_any_name_of_a_pattern_and_its_values_is_stored_as_it_is(engine: sa.Engine) -> None:
    name = 'tab\t, line\n, "quote" and back\\slash\\n'
    analysis = hammers(random_bars("A", 10), [3])
    (found,) = analysis.detections
    odd = replace(found, pattern=name, levels={name: found.levels["stop"]}, context={name: found.context["body"]})
    with engine.begin() as connection:
        write_analysis(connection, ONLY_PATTERNS, [window(replace(analysis, detections=(odd,)))])
        (row,) = rows(connection, "SELECT pattern_type, levels, metadata FROM daily_patterns")
    assert row.pattern_type == name
    assert list(row.levels) == list(row.metadata["technical_context"]) == [name]
