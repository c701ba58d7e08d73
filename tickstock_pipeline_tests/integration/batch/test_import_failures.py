"""What fails, is stopped or cut short costs as little as it can, and is right after the next import."""

import threading
import time
from datetime import UTC, date, datetime, timedelta

import pytest
from limits import RateLimitItemPerMinute

from tickstock_pipeline.batch.fetching import CANCELLED
from tickstock_pipeline.batch.outcome import Status, failures
from tickstock_pipeline.errors import ProviderAnswerError, ProviderUnavailableError
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.limits import RequestBudget, window_of
from tickstock_pipeline.providers.windows import LocalWindows
from tickstock_pipeline.storage.symbols import read_symbols
from tickstock_pipeline_tests.integration.batch.array_provider import ArrayProvider, days, minutes
from tickstock_pipeline_tests.integration.batch.import_runs import FIRST, LAST, partitions, provenance, run, scalar


def test_a_symbol_that_the_provider_does_not_have_costs_one_request(engine):
    provider = ArrayProvider([minutes("A", date(2019, 12, 30), date(2020, 1, 3))])

    outcomes = run(engine, provider, partitions("XX", "A"), Timeframe.MINUTE)

    assert [symbol for symbol, *_ in provider.asked].count("XX") == 1
    assert {(one.partition.symbol, one.error) for one in failures(outcomes)} == {("XX", "array has no symbol 'XX'.")}
    assert len(failures(outcomes)) == 3
    with engine.connect() as connection:
        assert read_symbols(connection) == ["A"]


def test_an_answer_that_cannot_be_trusted_fails_its_year_alone(engine):
    provider = ArrayProvider([minutes("A", date(2019, 12, 30), date(2020, 1, 3))])

    def cut_off(symbol: str) -> None:
        if provider.asked[-1][2].year == 2019:
            raise ProviderAnswerError("page 2 is cut off")

    provider.before_answer = cut_off
    outcomes = run(engine, provider, partitions("A", years=(2019, 2020)), Timeframe.MINUTE)

    assert [outcome.status for outcome in outcomes] == [Status.FAILED, Status.WRITTEN]


def test_a_failure_does_not_make_unknown_what_was_fetched_before(engine):
    provider = ArrayProvider([days("A", FIRST, LAST)])
    run(engine, provider, partitions("A"))
    provider.before_answer = lambda symbol: (_ for _ in ()).throw(ProviderUnavailableError("no answer"))

    run(engine, provider, partitions("A"))

    row = provenance(engine)[Partition("A", 2020)]
    assert (row.outcome, row.error, row.n_bars, row.requested_through) == (
        "failed",
        "no answer",
        253,
        date(2020, 12, 31),
    )


def test_what_was_fetched_since_is_not_fetched_again_and_what_failed_is(engine):
    provider = ArrayProvider([days(symbol, FIRST, LAST) for symbol in ("A", "B")])
    accepted_at = datetime.now(UTC) - timedelta(seconds=1)

    def fails_on_b(symbol: str) -> None:
        if symbol == "B":
            raise ProviderUnavailableError("no answer")

    provider.before_answer = fails_on_b
    run(engine, provider, partitions("A", "B"), fresh_since=accepted_at)
    provider.asked.clear()
    provider.before_answer = lambda symbol: None

    outcomes = run(engine, provider, partitions("A", "B"), fresh_since=accepted_at)
    again = run(engine, provider, partitions("A"), fresh_since=datetime.now(UTC) + timedelta(seconds=1))

    assert [symbol for symbol, *_ in provider.asked] == ["B", "A"]
    assert [outcome.status for outcome in outcomes] == [Status.UNCHANGED] * 3 + [Status.WRITTEN] * 3
    assert outcomes[0].facts["note"] == "fetched already"
    assert outcomes[0].facts["bars"] == 252
    assert {outcome.status for outcome in again} == {Status.UNCHANGED}


def test_a_stop_ends_the_import_and_what_is_left_is_cancelled_and_not_marked_as_failed(engine):
    symbols = [f"S{number:02}" for number in range(30)]
    provider = ArrayProvider([days(symbol, FIRST, LAST) for symbol in symbols])

    outcomes = run(engine, provider, partitions(*symbols), should_stop=lambda: len(provider.asked) >= 3)

    done = [outcome for outcome in outcomes if outcome.status is Status.WRITTEN]
    assert {outcome.error for outcome in failures(outcomes)} == {"cancelled"}
    assert len(done) == len(provider.asked) * 3
    assert 3 <= len(provider.asked) < 30
    assert scalar(engine, "SELECT count(DISTINCT symbol) FROM bar_provenance") == len(provider.asked)
    assert scalar(engine, "SELECT count(*) FROM bar_provenance WHERE outcome = 'failed'") == 0


def test_an_error_of_the_program_fails_the_symbol_that_it_is_met_on_and_is_in_the_log(engine, caplog):
    provider = ArrayProvider([days("A", FIRST, LAST), days("B", FIRST, LAST)])

    def stumble(symbol: str) -> None:
        if symbol == "A":
            raise ZeroDivisionError

    provider.before_answer = stumble

    outcomes = run(engine, provider, partitions("A", "B"))

    assert {one.partition.symbol: one.error for one in outcomes if one.status is Status.FAILED} == {
        "A": "ZeroDivisionError"
    }
    assert {one.partition.symbol for one in outcomes if one.status is Status.WRITTEN} == {"B"}
    assert "in stumble" in caplog.text


def test_what_is_no_symbols_fault_ends_the_import(engine):
    provider = ArrayProvider([days("A", FIRST, LAST)])
    provider.before_answer = lambda symbol: (_ for _ in ()).throw(MemoryError)

    with pytest.raises(MemoryError):
        run(engine, provider, partitions("A"))


def test_a_stop_ends_the_wait_for_a_quota_that_lasts_for_minutes(engine):
    provider = ArrayProvider([days("A", FIRST, LAST)])
    item = RateLimitItemPerMinute(1)
    windows = LocalWindows([window_of(item)])
    budget = RequestBudget("array", [window_of(item)], None, windows)
    budget.acquire()
    is_waiting = threading.Event()

    def ask(_: str) -> None:
        is_waiting.set()
        budget.acquire()

    provider.before_answer = ask
    began = time.monotonic()
    outcomes = run(engine, provider, partitions("A"), should_stop=is_waiting.is_set)

    assert time.monotonic() - began < 10
    assert {outcome.error for outcome in outcomes} == {CANCELLED}
    # the place in the queue is given to whoever comes next
    assert windows.reserve(0.0).wait < 62
    assert windows.reserve(0.0).wait > 50
    assert scalar(engine, "SELECT count(*) FROM bar_provenance") == 0


def test_an_import_cut_short_and_begun_again_ends_in_the_tables_of_an_undisturbed_one(engine, second_engine):
    symbols = [f"S{number:02}" for number in range(30)]
    series = [days(symbol, FIRST, LAST, seed=seed) for seed, symbol in enumerate(symbols)]
    run(second_engine, ArrayProvider(series), partitions(*symbols))

    accepted_at = datetime.now(UTC) - timedelta(seconds=1)
    broken = ArrayProvider(series, concurrency=4)

    def break_down(symbol: str) -> None:
        if symbol == "S20":
            raise KeyboardInterrupt

    broken.before_answer = break_down
    with pytest.raises(KeyboardInterrupt):
        run(engine, broken, partitions(*symbols), fresh_since=accepted_at)
    done = scalar(engine, "SELECT count(DISTINCT symbol) FROM bar_provenance")
    second = ArrayProvider(series, concurrency=4)
    run(engine, second, partitions(*symbols), fresh_since=accepted_at)

    assert len(second.asked) == len(symbols) - done
    query = "SELECT md5(string_agg(b::text, '' ORDER BY symbol, date)) FROM ohlcv_daily b"
    assert scalar(engine, query) == scalar(second_engine, query)
