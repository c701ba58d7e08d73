"""An analysis that fails, or has to be ended: bars go on, and so do the other symbols."""

from collections.abc import Callable

import pytest
import redis
import sqlalchemy as sa

from tickstock_pipeline.indicators.parameters import Parameters
from tickstock_pipeline.messaging.bar_event import LiveBar
from tickstock_pipeline.messaging.bar_stream import BarStream
from tickstock_pipeline.messaging.channels import MARKET_DATA
from tickstock_pipeline.patterns import registry
from tickstock_pipeline.patterns.detections import Detections, in_columns
from tickstock_pipeline.patterns.function import PatternFunction
from tickstock_pipeline.patterns.measures import Measures
from tickstock_pipeline.streaming.breaker import Limits
from tickstock_pipeline.streaming.worker import LiveWorker
from tickstock_pipeline_tests.integration.streaming.conftest import (
    UNLIMITED,
    MakeWorker,
    live,
    minutes,
    table,
    until_idle,
)

POISON = 13
ANALYSIS_S = 0.4

Execute = Callable[[str], None]


def endless(measures: Measures, parameters: Parameters) -> Detections:
    """A detector that comes to no end over bars of a certain volume, whatever is raised in it once."""
    try:
        while (measures.inputs.shares == POISON).any():
            pass
    except TimeoutError:
        while (measures.inputs.shares == POISON).any():
            pass
    return in_columns("endless", [], (), ())


def raising(measures: Measures, parameters: Parameters) -> Detections:
    """A detector that fails on the same bars."""
    if (measures.inputs.shares == POISON).any():
        raise ZeroDivisionError("a range of nothing")
    return in_columns("endless", [], (), ())


@pytest.fixture
def execute(engine: sa.Engine) -> Execute:
    def run(statement: str) -> None:
        with engine.begin() as connection:
            connection.execute(sa.text(statement))

    return run


@pytest.fixture(autouse=True)
def endless_pattern(request: pytest.FixtureRequest, execute: Execute, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = getattr(request, "param", endless)
    monkeypatch.setitem(registry.FUNCTIONS, "endless", PatternFunction("endless", (), lambda parameters: 1, detector))
    execute(
        "INSERT INTO pattern_definitions (name, display_name, category, applicable_timeframes, min_bars_required,"
        " function) VALUES ('endless', 'Endless', 'event', ARRAY['1min'], 1, 'endless')"
    )


def limits(**changes: float) -> Limits:
    return Limits(cpu_percent=UNLIMITED.cpu_percent, lag_s=1e9, busy_lag_s=1e9, **{"analysis_s": ANALYSIS_S, **changes})


def series(symbol: str) -> list[LiveBar]:
    return live(minutes(symbol, "2026-03-02", "2026-03-02")[:30])


def test_an_analysis_without_an_end_is_ended_and_its_bars_are_stored_and_published(
    engine: sa.Engine, client: "redis.Redis", stream: BarStream, make_worker: MakeWorker, execute: Execute
) -> None:
    bars = series("AAPL")
    worker = make_worker(limits=limits(pause_s=3600.0))
    stream.append(bars[:20])
    until_idle(worker)
    listener = client.pubsub(ignore_subscribe_messages=True)
    listener.subscribe(MARKET_DATA)
    listener.get_message(timeout=1.0)

    stream.append([bars[20]._replace(volume=float(POISON))])
    worker.turn()
    stream.append(bars[21:])
    worker.turn()

    assert len(table(engine, "SELECT 1 FROM ohlcv_1min")) == 30
    assert sum(1 for _ in iter(lambda: listener.get_message(timeout=0.2), None)) == 10
    assert len(table(engine, "SELECT 1 FROM live_backlog WHERE timeframe = '1min'")) == 10
    assert worker.breaker.state == "open"
    assert worker.breaker.reason.startswith("analysis took 0.")
    listener.close()
    worker.close()
    execute("UPDATE pattern_definitions SET enabled = false WHERE name = 'endless'")
    successor = make_worker("two", limits=limits())
    until_idle(successor)
    assert table(engine, "SELECT 1 FROM live_backlog") == []
    assert len(table(engine, "SELECT 1 FROM bar_indicators WHERE timeframe = '1min'")) == 30


def turn_until_analysed(worker: LiveWorker, engine: sa.Engine, expected: list[tuple[str, int]]) -> None:
    analysed = "SELECT symbol, n_bars FROM analysis_coverage WHERE timeframe = '1min' ORDER BY symbol"
    for _ in range(50):
        worker.turn()
        if table(engine, analysed) == expected:
            return
    raise AssertionError(table(engine, analysed))


@pytest.mark.parametrize("endless_pattern", [endless, raising], indirect=True, ids=["endless", "raising"])
def test_the_neighbours_of_a_symbol_whose_analysis_fails_are_analysed(
    engine: sa.Engine, stream: BarStream, make_worker: MakeWorker
) -> None:
    symbols = ("AAPL", "BAD", "MSFT")
    bars = {symbol: series(symbol) for symbol in symbols}
    bars["BAD"][0] = bars["BAD"][0]._replace(volume=float(POISON))
    worker = make_worker(limits=limits())
    for at in (0, 15):
        stream.append([bar for symbol in symbols for bar in bars[symbol][at : at + 15]])
        turn_until_analysed(worker, engine, [("AAPL", at + 15), ("MSFT", at + 15)])

    assert table(engine, "SELECT symbol, count(*) FROM live_backlog WHERE timeframe = '1min' GROUP BY 1") == [
        ("BAD", 30)
    ]
    assert worker.breaker.state == "closed"
    assert worker.breaker.errors_last_minute >= 1
