"""What is asked for next, decided from what is known of jobs."""

from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tickstock_pipeline.imports.launching import MOST_FRUITLESS, JobView, NextSteps, Work, next_steps, shared_out
from tickstock_pipeline.imports.planning import MOST_SYMBOLS_IN_A_RUN, chunks_of
from tickstock_pipeline.imports.status import reason_of, status_of
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage.job_progress import JobRun, JobSymbol, RunState
from tickstock_pipeline.storage.jobs import JobState, StoredJob

NOON = datetime(2024, 10, 30, 12, tzinfo=UTC)
ORDER = {f"S{number}": number for number in range(100)}


def job(**changes: Any) -> StoredJob:
    known: dict[str, Any] = {
        "job_id": "j",
        "job_type": "historical_load",
        "message": {},
        "source": "http",
        "accepted_at": NOON,
        "publish_after": NOON,
        "status": JobState.RUNNING,
        "timeframes": (Timeframe.DAILY,),
        "first_date": date(2023, 10, 30),
        "last_date": date(2024, 10, 30),
    }
    return StoredJob(**{**known, **changes})


def symbol(number: int, *done: str, chunk: int | None = 0, **errors: str) -> JobSymbol:
    return JobSymbol(f"S{number}", number, chunk, frozenset(done) | set(errors), errors)


def run(stage: str, status: RunState, *, chunk: int = 0, attempt: int = 1, n_owed: int = 1) -> JobRun:
    return JobRun("j", stage, chunk, attempt, n_owed, run_id=f"{stage}-{attempt}", status=status)


def steps(found_job: StoredJob, symbols: list[JobSymbol], *runs: JobRun) -> NextSteps:
    return next_steps(JobView(found_job, symbols, runs), ORDER)


def asked(found: NextSteps) -> list[tuple[str, tuple[str, ...]]]:
    return [(work.run.key, work.assets) for work in found.work]


def test_the_first_run_of_a_chunk_covers_its_symbols_and_whole_years() -> None:
    (work,) = steps(job(), [symbol(3), symbol(4), symbol(5)]).work

    assert (work.run.key, work.assets) == ("j/bars/0/1", ("ohlcv_daily",))
    assert (work.first, work.last) == (Partition("S3", 2023), Partition("S5", 2024))


def test_all_five_timeframes_go_from_minutes_to_roll_ups_stage_by_stage() -> None:
    everything = job(timeframes=tuple(Timeframe))

    assert asked(steps(everything, [symbol(0)])) == [("j/minutes/0/1", ("ohlcv_1min",))]
    assert asked(steps(everything, [symbol(0, "ohlcv_1min")])) == [("j/bars/0/1", ("ohlcv_hourly", "ohlcv_daily"))]
    half = symbol(0, "ohlcv_1min", "ohlcv_hourly")
    assert asked(steps(everything, [half])) == [("j/bars/0/1", ("ohlcv_daily",))]
    bars = symbol(0, "ohlcv_1min", "ohlcv_hourly", "ohlcv_daily")
    assert asked(steps(everything, [bars])) == [("j/roll_ups/0/1", ("ohlcv_weekly", "ohlcv_monthly"))]


def test_coarse_bars_bring_along_what_they_are_made_from() -> None:
    assert asked(steps(job(timeframes=(Timeframe.HOURLY,)), [symbol(0)])) == [("j/minutes/0/1", ("ohlcv_1min",))]
    assert asked(steps(job(timeframes=(Timeframe.MONTHLY,)), [symbol(0)])) == [("j/bars/0/1", ("ohlcv_daily",))]


def test_a_run_under_way_is_waited_for() -> None:
    found = steps(job(), [symbol(0)], run("bars", RunState.STARTED))

    assert found == NextSteps(is_over=False)


def test_a_run_that_was_asked_for_and_not_taken_up_is_asked_for_under_the_same_key() -> None:
    assert asked(steps(job(), [symbol(0)], run("bars", RunState.REQUESTED))) == [("j/bars/0/1", ("ohlcv_daily",))]


def test_a_killed_run_is_tried_again_over_what_is_left() -> None:
    symbols = [symbol(0, "ohlcv_daily"), symbol(1), symbol(2)]

    (work,) = steps(job(), symbols, run("bars", RunState.CANCELED)).work

    assert (work.run.attempt, work.first, work.last) == (2, Partition("S1", 2023), Partition("S2", 2024))


def test_a_run_that_recorded_everything_and_was_killed_before_it_told_is_repeated() -> None:
    weekly = job(timeframes=(Timeframe.DAILY, Timeframe.WEEKLY))
    symbols = [symbol(0, "ohlcv_daily"), symbol(1, "ohlcv_daily")]

    (work,) = steps(weekly, symbols, run("bars", RunState.FAILED)).work

    assert (work.run.key, work.assets) == ("j/bars/0/2", ("ohlcv_daily",))
    assert (work.first.symbol, work.last.symbol) == ("S0", "S1")
    in_vain = [run("bars", RunState.FAILED, attempt=number + 1, n_owed=0) for number in range(MOST_FRUITLESS)]
    assert asked(steps(weekly, symbols, *in_vain)) == [("j/roll_ups/0/1", ("ohlcv_weekly",))]


def test_the_next_stage_waits_for_the_end_of_the_run_and_so_does_the_job() -> None:
    weekly = job(timeframes=(Timeframe.DAILY, Timeframe.WEEKLY))

    assert steps(weekly, [symbol(0, "ohlcv_daily")], run("bars", RunState.STARTED)) == NextSteps()
    assert steps(job(), [symbol(0, "ohlcv_daily")], run("bars", RunState.STARTED)) == NextSteps()


def test_what_is_left_after_three_runs_that_brought_nothing_has_failed_with_the_reason() -> None:
    runs = [run("bars", RunState.FAILED, attempt=number + 1) for number in range(MOST_FRUITLESS)]

    found = steps(job(), [symbol(0, "ohlcv_daily"), symbol(1)], *runs)

    assert found.work == ()
    (given_up,) = found.given_up
    assert (given_up.symbols, given_up.step) == (("S1",), "ohlcv_daily")
    assert given_up.reason == "its run ended 3 times before it had done any of it (run bars-3 failed)"


def test_runs_that_bring_something_may_be_killed_any_number_of_times() -> None:
    runs = [run("bars", RunState.CANCELED, attempt=number + 1, n_owed=9 - number) for number in range(7)]

    assert asked(steps(job(), [symbol(0), symbol(1)], *runs)) == [("j/bars/0/8", ("ohlcv_daily",))]


def test_a_run_that_failed_for_some_symbols_is_not_tried_again() -> None:
    found = steps(job(), [symbol(0, "ohlcv_daily"), symbol(1, ohlcv_daily="unknown")], run("bars", RunState.FAILED))

    assert found == NextSteps(is_over=True)


def test_what_lacks_its_input_is_not_tried() -> None:
    weekly = job(timeframes=(Timeframe.WEEKLY,), run_analysis=True)

    found = steps(weekly, [symbol(0, ohlcv_daily="unknown symbol")])

    assert found == NextSteps(is_over=True)


def test_a_symbol_without_minutes_still_gets_its_days() -> None:
    both = job(timeframes=(Timeframe.HOURLY, Timeframe.DAILY))

    assert asked(steps(both, [symbol(0, **{"ohlcv_1min": "not in the plan"})])) == [("j/bars/0/1", ("ohlcv_daily",))]


def test_analysis_at_the_end_waits_for_the_bars_of_all_chunks() -> None:
    symbols = [symbol(0, "ohlcv_daily"), symbol(1, chunk=1)]

    at_the_end = steps(job(run_analysis=True), symbols)
    progressive = steps(job(run_analysis=True, analysis_mode="per_symbol"), symbols)

    assert [work.run.key for work in at_the_end.work] == ["j/bars/1/1"]
    assert [work.run.key for work in progressive.work] == ["j/analysis/0/1", "j/bars/1/1"]
    assert progressive.work[0].assets == ("indicators_daily", "patterns_daily")


def test_checks_of_whole_tables_are_run_once_a_stage() -> None:
    found = steps(job(), [symbol(0), symbol(1, chunk=1), symbol(2, chunk=2)])

    assert [work.is_checked for work in found.work] == [False, False, True]


def test_a_chunk_that_no_longer_stands_side_by_side_is_given_up() -> None:
    found = steps(job(), [symbol(0), symbol(7)])

    assert found.work == ()
    assert "order of the partitions has changed" in found.given_up[0].reason


def test_a_job_that_is_not_cut_into_runs_yet_is_not_over() -> None:
    assert not steps(job(), [symbol(0, chunk=None)]).is_over


def test_jobs_take_turns_and_room_is_kept() -> None:
    large = [_work("large", number) for number in range(5)]
    small = [_work("small", 0)]

    chosen = shared_out([large, small], 4)

    assert [(work.run.job_id, work.run.chunk) for work in chosen] == [
        ("large", 0),
        ("small", 0),
        ("large", 1),
        ("large", 2),
    ]
    assert shared_out([large], 0) == shared_out([large], -3) == []


def _work(job_id: str, chunk: int) -> Work:
    return Work(JobRun(job_id, "bars", chunk, 1), (), Partition("A", 2024), Partition("A", 2024), is_checked=False)


@given(st.lists(st.integers(0, 400), unique=True, max_size=200), st.integers(1, 5))
def test_chunks_hold_each_symbol_once_side_by_side_and_no_more_than_a_run_takes(places: list[int], step: int) -> None:
    order = {f"S{place}": place * step for place in places}

    chunks = chunks_of(sorted(order), order)

    assert sorted(symbol for chunk in chunks for symbol in chunk) == sorted(order)
    for chunk in chunks:
        assert 0 < len(chunk) <= MOST_SYMBOLS_IN_A_RUN
        assert [order[symbol] for symbol in chunk] == list(range(order[chunk[0]], order[chunk[0]] + len(chunk)))
    # no two chunks could have been one
    for before, after in pairwise(chunks):
        assert order[after[0]] != order[before[-1]] + 1 or len(before) == MOST_SYMBOLS_IN_A_RUN


def test_the_status_counts_symbols_and_never_more_than_is_done() -> None:
    symbols = [symbol(0, "ohlcv_daily"), symbol(1, ohlcv_daily="unknown symbol"), symbol(2), symbol(3)]

    status = status_of(job(started_at=NOON), symbols, [run("bars", RunState.STARTED)]).as_document()

    assert status == {
        "job_id": "j",
        "status": "running",
        "progress": 50,
        "total_symbols": 4,
        "processed_symbols": 2,
        "successful_symbols": ["S0"],
        "failed_symbols": ["S1"],
        "error_message": None,
        "started_at": "2024-10-30T12:00:00",
        "completed_at": None,
        "phase": "importing",
        "message": "Importing 2/4",
        "errors": {"S1": "unknown symbol"},
        "run_ids": ["bars-1"],
    }


def test_the_phase_is_analyzing_once_all_bars_have_ended() -> None:
    symbols = [symbol(0, "ohlcv_daily"), symbol(1, "ohlcv_daily", "analysis_daily")]

    status = status_of(job(run_analysis=True), symbols)

    assert (status.phase, status.progress, status.message) == ("analyzing", 75, "Analyzing 1/2")
    assert status.processed_symbols == 2


def test_a_symbol_that_failed_twice_for_one_reason_says_it_once() -> None:
    assert reason_of(symbol(0, ohlcv_1min="no such symbol", ohlcv_daily="no such symbol")) == "no such symbol"
    assert reason_of(symbol(0, ohlcv_1min="not in the plan", ohlcv_daily="cut off")) == "not in the plan; cut off"


STEP_SETS = st.lists(st.sampled_from(["ohlcv_daily", "ohlcv_weekly", "analysis_daily", "analysis_weekly"]))


@given(st.lists(STEP_SETS, min_size=1, max_size=6), st.data())
def test_progress_never_falls_as_steps_end(done: list[list[str]], data: st.DataObject) -> None:
    large = job(timeframes=(Timeframe.DAILY, Timeframe.WEEKLY), run_analysis=True)
    before = [symbol(number, *of_symbol) for number, of_symbol in enumerate(done)]
    after = [
        JobSymbol(s.symbol, s.position, s.chunk, s.steps_done | {step}, {step: "x"} if data.draw(st.booleans()) else {})
        for s, step in (
            (s, data.draw(st.sampled_from(["ohlcv_daily", "ohlcv_weekly", "analysis_daily"]))) for s in before
        )
    ]

    first, second = status_of(large, before), status_of(large, after)

    assert 0 <= first.progress <= second.progress <= 100
    assert first.processed_symbols <= second.processed_symbols
