"""A symbol that something unexpected happens to fails alone and is named; its neighbours go on."""

import logging
from collections import Counter

import numpy as np
import pytest
import sqlalchemy as sa

from tickstock_pipeline.batch.analysis import analyse_partitions, stale_partitions
from tickstock_pipeline.batch.imports import import_bars
from tickstock_pipeline.batch.outcome import Outcome, Status, failures
from tickstock_pipeline.batch.roll_ups import roll_up_bars
from tickstock_pipeline.errors import DatabaseUnreachableError
from tickstock_pipeline.indicators.parameters import Parameters
from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.patterns import registry
from tickstock_pipeline.patterns.detections import Detections, in_columns
from tickstock_pipeline.patterns.function import PatternFunction
from tickstock_pipeline.patterns.measures import Measures
from tickstock_pipeline.providers.sample import SampleProvider

SYMBOLS = [f"S{number:02}" for number in range(50)]
PARTITIONS = [Partition(symbol, 2019) for symbol in SYMBOLS]
POISON = 13
SESSIONS = 252


@pytest.fixture
def stored(engine: sa.Engine, write_universe) -> sa.Engine:
    """Fifty symbols' days of 2019."""
    provider = SampleProvider(write_universe(SYMBOLS, range(2019, 2020)))
    import_bars(engine, provider, trading_calendar(), Timeframe.DAILY, PARTITIONS)
    return engine


class Faulty:
    """A pattern function with a fault that only bars of a certain volume bring to light."""

    def __init__(self) -> None:
        self.calls: Counter[bool] = Counter()

    def __call__(self, measures: Measures, parameters: Parameters) -> Detections:
        is_poisoned = bool((measures.inputs.shares == POISON).any())
        self.calls[is_poisoned] += 1
        if is_poisoned:
            return in_columns("faulty", np.linalg.inv(np.zeros((2, 2))), (), ())
        return in_columns("faulty", [], (), ())


@pytest.fixture
def faulty(stored: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> Faulty:
    function = Faulty()
    entry = PatternFunction("faulty", (), lambda parameters: 1, function)
    monkeypatch.setitem(registry.FUNCTIONS, "faulty", entry)
    execute(
        stored,
        "INSERT INTO pattern_definitions (name, display_name, category, applicable_timeframes, min_bars_required,"
        " function) VALUES ('faulty', 'Faulty', 'event', ARRAY['daily'], 1, 'faulty')",
    )
    return function


def execute(engine: sa.Engine, statement: str, **parameters: object) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text(statement), parameters)


def poison(engine: sa.Engine, *symbols: str) -> None:
    execute(
        engine,
        "UPDATE ohlcv_daily SET volume = :volume WHERE symbol = ANY (:symbols) AND date = '2019-06-03'",
        volume=POISON,
        symbols=list(symbols),
    )


def analysed(engine: sa.Engine) -> list[Outcome]:
    return analyse_partitions(engine, trading_calendar(), Timeframe.DAILY, PARTITIONS)


def stale(engine: sa.Engine) -> set[str]:
    with engine.connect() as connection:
        return {one.symbol for one in stale_partitions(connection, Timeframe.DAILY)}


def test_a_symbol_on_which_a_pattern_function_raises_fails_alone_with_its_traceback_in_the_log(
    stored: sa.Engine, faulty: Faulty, caplog: pytest.LogCaptureFixture
) -> None:
    poison(stored, "S07")

    with caplog.at_level(logging.ERROR):
        outcomes = analysed(stored)

    assert [outcome.partition for outcome in outcomes] == PARTITIONS
    assert [(one.partition, one.error) for one in failures(outcomes)] == [
        (Partition("S07", 2019), "LinAlgError: Singular matrix")
    ]
    assert stale(stored) == {"S07"}
    (record,) = caplog.records
    assert record.getMessage().startswith("analysis of S07, daily bars of 2019, failed: LinAlgError")
    assert "linalg" in caplog.text
    execute(stored, "UPDATE ohlcv_daily SET volume = 14 WHERE volume = :poison", poison=POISON)
    assert not failures(analysed(stored))
    assert stale(stored) == set()


def test_if_every_symbol_fails_each_is_tried_twice_at_most(stored: sa.Engine, faulty: Faulty) -> None:
    poison(stored, *SYMBOLS)

    outcomes = analysed(stored)

    assert len(failures(outcomes)) == 50
    assert faulty.calls == {True: faulty.calls[True]}
    assert faulty.calls[True] <= 2 * 50
    with stored.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM analysis_failures")) == 50


def test_a_symbol_that_somebody_elses_trigger_refuses_fails_alone(stored: sa.Engine) -> None:
    execute(
        stored,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'not this one'; END$$",
    )
    execute(
        stored,
        "CREATE TRIGGER refuse BEFORE INSERT ON bar_indicators FOR EACH ROW WHEN (NEW.symbol = 'S31')"
        " EXECUTE FUNCTION refuse()",
    )

    outcomes = analysed(stored)

    assert [(one.partition.symbol, one.error) for one in failures(outcomes)] == [("S31", "not this one")]
    assert stale(stored) == {"S31"}


def test_a_symbol_whose_stored_facts_cannot_be_read_fails_alone(stored: sa.Engine) -> None:
    execute(stored, "ALTER TABLE splits DROP CONSTRAINT splits_ratio")
    execute(stored, "INSERT INTO splits (symbol, ex_date, ratio) VALUES ('S11', '2019-03-01', 0)")

    for timeframe in (Timeframe.DAILY, Timeframe.WEEKLY):
        roll_up_bars(stored, trading_calendar(), Timeframe.WEEKLY, PARTITIONS)
        outcomes = analyse_partitions(stored, trading_calendar(), timeframe, PARTITIONS)
        (failure,) = failures(outcomes)
        assert failure.partition.symbol == "S11"
        assert "ratio of a split" in failure.error
        assert {one.status for one in outcomes if one is not failure} == {Status.WRITTEN}


class OneSymbolSurprises(SampleProvider):
    """The sample, whose library stumbles over one symbol's answer."""

    def fetch_bars(self, symbol: str, *arguments: object):
        if symbol == "S23":
            return super().fetch_bars(symbol, *arguments).results
        return super().fetch_bars(symbol, *arguments)


def test_a_symbol_on_which_a_providers_library_raises_fails_alone(engine: sa.Engine, write_universe) -> None:
    provider = OneSymbolSurprises(write_universe(SYMBOLS, range(2019, 2020)))

    outcomes = import_bars(engine, provider, trading_calendar(), Timeframe.DAILY, PARTITIONS)

    (failure,) = failures(outcomes)
    assert failure.partition.symbol == "S23"
    assert failure.error.startswith("AttributeError: ")
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM ohlcv_daily")) == 49 * SESSIONS


def test_a_database_that_is_gone_ends_the_chunk_at_once(stored: sa.Engine) -> None:
    begun = []
    sa.event.listen(stored, "begin", begun.append)
    execute(
        stored,
        "CREATE FUNCTION hang_up() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END$$",
    )
    execute(
        stored,
        "CREATE TRIGGER hang_up BEFORE INSERT ON bar_indicators FOR EACH ROW EXECUTE FUNCTION hang_up()",
    )
    begun.clear()

    with pytest.raises(DatabaseUnreachableError):
        analysed(stored)

    assert len(begun) <= 4
