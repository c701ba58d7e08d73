"""Years that the provider or the account's plan does not have are empty there, and no failure."""

from datetime import date

import numpy as np
import pytest

from tickstock_pipeline.batch.outcome import failures
from tickstock_pipeline.errors import NotInPlanError
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline_tests.integration.batch.array_provider import ArrayProvider, days, minutes
from tickstock_pipeline_tests.integration.batch.import_runs import (
    FIRST,
    LAST,
    NOW,
    YEARS,
    partitions,
    provenance,
    run,
    scalar,
)


def test_years_before_the_providers_history_are_empty_there_and_no_failure(engine):
    provider = ArrayProvider([days("A", date(2020, 6, 1), LAST)])
    provider.begins = date(2020, 6, 1)

    outcomes = run(engine, provider, partitions("A"))

    assert provider.asked == [("A", Timeframe.DAILY, date(2020, 6, 1), LAST)]
    assert not failures(outcomes)
    assert outcomes[0].facts["note"] == "array has nothing before 2020-06-01"
    found = provenance(engine)
    assert (found[Partition("A", 2019)].outcome, found[Partition("A", 2019)].reason) == (
        "empty",
        "array has nothing before 2020-06-01",
    )
    assert found[Partition("A", 2020)].outcome == "complete"


def test_a_history_that_has_yet_to_begin_is_not_asked_for(engine):
    provider = ArrayProvider([days("A", FIRST, LAST)])
    provider.begins = NOW.date()

    outcomes = run(engine, provider, partitions("A", years=(2021, 2022)))

    assert not failures(outcomes)
    assert provider.asked == []
    assert provenance(engine)[Partition("A", 2022)].requested_through == date(2022, 5, 31)


def test_a_history_that_has_moved_on_leaves_what_was_fetched_before(engine):
    provider = ArrayProvider([days("A", FIRST, LAST)])
    run(engine, provider, partitions("A"))
    provider.begins = date(2021, 1, 1)

    run(engine, provider, partitions("A"))

    assert provenance(engine)[Partition("A", 2019)].outcome == "complete"
    assert scalar(engine, "SELECT count(*) FROM ohlcv_daily") == 757


@pytest.mark.parametrize("begins", [date(2020, 7, 4), date(2020, 1, 1), date(2021, 12, 31)])
def test_years_that_the_plan_refuses_are_empty_there_and_the_newer_ones_imported(engine, begins):
    provider = ArrayProvider([minutes(symbol, date(2020, 6, 25), date(2021, 1, 8)) for symbol in ("A", "B")])
    provider.plan_begins = begins

    outcomes = run(engine, provider, partitions("A", "B"), Timeframe.MINUTE)

    assert not failures(outcomes)
    n_bars = sum(len(bars.since(np.datetime64(begins, "us"))) for bars in provider.series.values())
    assert scalar(engine, "SELECT count(*) FROM ohlcv_1min") == n_bars
    found = provenance(engine, Timeframe.MINUTE)
    reason = f"the account's plan at array has nothing before {begins}"
    year_before = found[Partition("A", begins.year - 1)]
    assert (year_before.outcome, year_before.reason) == ("empty", reason)
    assert found[Partition("B", begins.year)].reason == (None if begins.day == begins.month == 1 else reason)
    of_second = [first for symbol, _, first, _ in provider.asked if symbol == "B"]
    assert of_second[:2] == [FIRST, begins]
    assert len(of_second) <= 2 + len(YEARS)
    assert len(provider.asked) < 25


def test_days_of_a_plan_that_begins_within_the_range_are_had_in_one_answer(engine):
    provider = ArrayProvider([days("A", FIRST, LAST)])
    provider.plan_begins = date(2020, 3, 2)

    outcomes = run(engine, provider, partitions("A"))

    assert not failures(outcomes)
    assert scalar(engine, "SELECT min(date)::text FROM ohlcv_daily") == "2020-03-02"
    assert scalar(engine, "SELECT count(DISTINCT date) FROM ohlcv_daily WHERE date >= '2021-01-01'") == 252


def test_a_symbol_that_the_plan_lacks_altogether_fails_alone_and_soon(engine):
    provider = ArrayProvider([days("A", FIRST, LAST), days("B", FIRST, LAST)])

    def refuse(symbol: str) -> None:
        if symbol == "A":
            raise NotInPlanError("array refuses A.")

    provider.before_answer = refuse
    outcomes = run(engine, provider, partitions("A", "B", years=(2019, 2021)))

    assert [outcome.error for outcome in outcomes] == ["array refuses A."] * 2 + ["", ""]
    assert sum(symbol == "A" for symbol, *_ in provider.asked) == 2


def test_a_plan_that_has_moved_on_leaves_what_was_fetched_before(engine):
    provider = ArrayProvider([days("A", FIRST, LAST)])
    run(engine, provider, partitions("A"))
    provider.plan_begins = date(2021, 1, 1)

    assert not failures(run(engine, provider, partitions("A")))

    assert provenance(engine)[Partition("A", 2019)].outcome == "complete"
    assert scalar(engine, "SELECT count(*) FROM ohlcv_daily") == 757
