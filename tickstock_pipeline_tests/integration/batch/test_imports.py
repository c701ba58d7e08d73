"""Which requests an import sends, and what is stored of the answers, whatever the provider does."""

import threading
import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
import sqlalchemy as sa
from limits import RateLimitItemPerMinute

from tickstock_pipeline.batch.completeness import completeness
from tickstock_pipeline.batch.days import import_days
from tickstock_pipeline.batch.due_imports import due_days
from tickstock_pipeline.batch.fetching import CANCELLED
from tickstock_pipeline.batch.imports import import_bars
from tickstock_pipeline.batch.outcome import Outcome, Status, failures
from tickstock_pipeline.batch.standing import Standing
from tickstock_pipeline.errors import (
    NotInPlanError,
    ProviderAnswerError,
    ProviderRefusedError,
    ProviderUnavailableError,
    UnknownSymbolError,
)
from tickstock_pipeline.market.adjustment import Dividend, Split
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.failover import FailoverProvider
from tickstock_pipeline.providers.limits import RequestBudget, window_of
from tickstock_pipeline.providers.windows import LocalWindows
from tickstock_pipeline.storage.provenance import read_provenance
from tickstock_pipeline.storage.symbols import read_symbols
from tickstock_pipeline_tests.integration.batch.array_provider import CALENDAR, ArrayProvider, days, minutes

FIRST, LAST = date(2019, 1, 1), date(2021, 12, 31)
YEARS = (2019, 2020, 2021)
NOW = datetime(2022, 6, 1, 12, tzinfo=UTC)


def partitions(*symbols: str, years: tuple[int, ...] = YEARS) -> list[Partition]:
    return [Partition(symbol, year) for symbol in symbols for year in years]


def run(engine, provider, wanted, timeframe=Timeframe.DAILY, **more):
    return import_bars(engine, provider, CALENDAR, timeframe, wanted, **({"now": NOW} | more))


def scalar(engine: sa.Engine, query: str) -> object:
    with engine.connect() as connection:
        return connection.exec_driver_sql(query).scalar()


def provenance(engine: sa.Engine, timeframe=Timeframe.DAILY):
    with engine.connect() as connection:
        return read_provenance(connection, timeframe)


def test_consecutive_years_of_days_are_one_request(engine):
    provider = ArrayProvider([days("A", FIRST, LAST)])

    outcomes = run(engine, provider, partitions("A"))

    assert provider.asked == [("A", Timeframe.DAILY, FIRST, LAST)]
    assert [outcome.facts["bars_fetched"] for outcome in outcomes] == [252, 253, 252]
    assert scalar(engine, "SELECT count(*) FROM ohlcv_daily") == 757
    assert {row.requested_from for row in provenance(engine).values()} == {date(year, 1, 1) for year in YEARS}


def test_years_that_are_apart_are_a_request_each(engine):
    provider = ArrayProvider([days("A", FIRST, LAST)])

    run(engine, provider, partitions("A", years=(2019, 2021)))

    assert [(first.year, last.year) for _, _, first, last in provider.asked] == [(2019, 2019), (2021, 2021)]
    assert scalar(engine, "SELECT count(*) FROM ohlcv_daily WHERE extract(year FROM date) = 2020") == 0


def test_minutes_are_asked_year_by_year_and_facts_once_a_symbol(engine):
    provider = ArrayProvider([minutes("A", date(2019, 12, 30), date(2020, 1, 3))])

    outcomes = run(engine, provider, partitions("A", years=(2019, 2020)), Timeframe.MINUTE)

    assert [(first.year, last.year) for _, _, first, last in provider.asked] == [(2019, 2019), (2020, 2020)]
    assert sorted(provider.asked_facts) == [("A", "dividends"), ("A", "splits")]
    assert [outcome.facts["bars_fetched"] for outcome in outcomes] == [2 * 390, 2 * 390]
    assert scalar(engine, "SELECT session_bars[364:365] FROM bar_provenance WHERE year = 2019") == [390, 390]


def test_facts_come_with_another_year_where_the_first_one_fails(engine):
    class WithoutFirstYear(ArrayProvider):
        def fetch_bars(self, symbol, timeframe, first, last):
            if first.year == 2019:
                raise ProviderAnswerError("cut off")
            return super().fetch_bars(symbol, timeframe, first, last)

    provider = WithoutFirstYear([minutes("A", date(2019, 12, 30), date(2020, 1, 3))])
    provider.splits = [Split("A", date(2020, 8, 31), 4.0)]

    outcomes = run(engine, provider, partitions("A", years=(2019, 2020)), Timeframe.MINUTE)

    assert [outcome.status for outcome in outcomes] == [Status.FAILED, Status.WRITTEN]
    assert scalar(engine, "SELECT ratio FROM splits") == 4.0
    assert sorted(provider.asked_facts) == [("A", "dividends"), ("A", "splits")]


def test_facts_are_stored_and_not_asked_again_the_same_day(engine):
    provider = ArrayProvider([days("A", FIRST, LAST)])
    provider.splits = [Split("A", date(2020, 8, 31), 4.0)]
    provider.dividends = [Dividend("A", date(2020, 8, 7), 0.82)]

    for _ in range(2):
        run(engine, provider, partitions("A"))

    assert len(provider.asked) == 2
    assert sorted(provider.asked_facts) == [("A", "dividends"), ("A", "splits")]
    assert scalar(engine, "SELECT ratio FROM splits") == 4.0
    assert scalar(engine, "SELECT amount FROM dividends") == 0.82
    with engine.begin() as connection:
        # midnight of New York is the border: what was asked the evening before knows no split of this morning
        connection.exec_driver_sql("UPDATE corporate_action_fetches SET fetched_at = '2022-05-31 23:59:59-04'")
    run(engine, provider, partitions("A"))
    assert len(provider.asked_facts) == 4


def test_a_split_that_is_only_announced_is_stored_on_its_day(engine):
    provider = ArrayProvider([days("A", FIRST, LAST)])
    provider.splits = [Split("A", date(2022, 6, 2), 4.0)]
    provider.dividends = [Dividend("A", date(2022, 6, 2), 0.82)]
    evening, next_morning = datetime(2022, 6, 1, 21, tzinfo=UTC), datetime(2022, 6, 2, 12, tzinfo=UTC)

    run(engine, provider, partitions("A"), now=evening)
    assert scalar(engine, "SELECT (SELECT count(*) FROM splits) + (SELECT count(*) FROM dividends)") == 0
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE corporate_action_fetches SET fetched_at = :at"), {"at": evening})
    run(engine, provider, partitions("A"), now=next_morning)

    assert scalar(engine, "SELECT ex_date FROM splits") == date(2022, 6, 2)
    assert scalar(engine, "SELECT ex_date FROM dividends") == date(2022, 6, 2)


@pytest.fixture
def listed(engine):
    """A provider whose two splits of A, and one that somebody else has entered, are stored."""
    provider = ArrayProvider([days("A", FIRST, LAST), days("B", FIRST, LAST)])
    provider.splits = [Split("A", date(2019, 6, 3), 2.0), Split("A", date(2020, 6, 1), 4.0)]
    run(engine, provider, partitions("A", "B"))
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO splits VALUES ('A', '2021-03-01', 3, 'external')")
    return provider


def ask_again(engine, provider):
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM corporate_action_fetches")
    run(engine, provider, partitions("A", "B"))


def test_a_split_that_its_provider_lists_no_longer_is_withdrawn_and_kept_for_the_record(engine, listed):
    listed.splits = [Split("A", date(2019, 6, 4), 2.0), Split("A", date(2021, 9, 1), 5.0)]
    ask_again(engine, listed)

    assert scalar(engine, "SELECT array_agg(ex_date::text || ' ' || ratio ORDER BY ex_date) FROM splits") == [
        "2019-06-03 2",
        "2021-03-01 3",
        "2021-09-01 5",
    ]
    gone = "SELECT array_agg(symbol || ' ' || ex_date || ' ' || ratio || ' ' || source) FROM withdrawn_splits"
    assert scalar(engine, gone) == ["A 2020-06-01 4 array"]
    assert scalar(engine, "SELECT now() - max(withdrawn_at) < interval '1 minute' FROM withdrawn_splits")


def test_all_that_was_made_of_a_split_that_is_withdrawn_is_stale(engine, listed):
    revisions = "SELECT array_agg(revision ORDER BY symbol, year) FROM bar_ledger WHERE symbol = '{}'"
    before = {symbol: scalar(engine, revisions.format(symbol)) for symbol in ("A", "B")}
    listed.splits = listed.splits[:1]
    ask_again(engine, listed)

    after = scalar(engine, revisions.format("A"))
    assert all(new > old for old, new in zip(before["A"], after, strict=True))
    assert scalar(engine, revisions.format("B")) == before["B"]


def test_no_answer_and_an_answer_without_any_split_withdraw_nothing(engine, listed):
    listed.fail_facts = {"splits": ProviderRefusedError("array has no splits.")}
    ask_again(engine, listed)
    listed.fail_facts = {}
    listed.splits = []
    ask_again(engine, listed)

    assert scalar(engine, "SELECT count(*) FROM splits") == 3
    assert scalar(engine, "SELECT count(*) FROM withdrawn_splits") == 0


def test_splits_that_a_stand_in_does_not_list_are_not_withdrawn(engine, listed):
    behind = ArrayProvider([days("A", FIRST, LAST), days("B", FIRST, LAST)])
    behind.splits = listed.splits[:1]
    behind.name = "behind"
    listed.fail_facts = {"splits": ProviderUnavailableError("array does not answer.")}
    ask_again(engine, FailoverProvider([listed, behind], now=lambda: NOW))

    assert scalar(engine, "SELECT count(*) FROM splits") == 3


def test_a_plan_without_splits_does_not_keep_the_bars_away(engine):
    provider = ArrayProvider([days("A", FIRST, LAST)])
    provider.fail_facts = {"splits": ProviderRefusedError("not in your plan")}

    outcomes = run(engine, provider, partitions("A"))

    assert not failures(outcomes)
    assert outcomes[0].facts["note"] == "no splits: not in your plan"


def test_splits_that_cannot_be_had_now_fail_the_symbol_and_dividends_do_not(engine):
    provider = ArrayProvider([days("A", FIRST, LAST)])
    provider.fail_facts = {"splits": ProviderUnavailableError("503")}
    assert {outcome.error for outcome in run(engine, provider, partitions("A"))} == {"503"}
    assert scalar(engine, "SELECT count(*) FROM ohlcv_daily") == 0

    provider.fail_facts = {"dividends": ProviderUnavailableError("503")}
    assert not failures(run(engine, provider, partitions("A")))
    assert scalar(engine, "SELECT array_agg(kind) FROM corporate_action_fetches") == ["splits"]


def test_as_many_requests_are_under_way_as_the_provider_allows_and_never_more(engine):
    meeting = threading.Barrier(3)
    provider = ArrayProvider([days(symbol, FIRST, LAST) for symbol in "ABCDEF"], concurrency=3)
    provider.before_answer = lambda symbol: meeting.wait(timeout=30)

    outcomes = run(engine, provider, partitions(*"ABCDEF"))

    assert provider.most_at_once == 3
    assert {outcome.status for outcome in outcomes} == {Status.WRITTEN}


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


def test_a_symbol_is_told_of_once_its_bars_are_committed(engine):
    provider = ArrayProvider([days(symbol, FIRST, LAST) for symbol in "ABC"], concurrency=2)
    told = {}

    def on_symbol(symbol, outcomes):
        assert threading.current_thread() is threading.main_thread()
        stored = scalar(engine, f"SELECT count(*) FROM ohlcv_daily WHERE symbol = '{symbol}'")
        told[symbol] = (stored, [outcome.partition.year for outcome in outcomes])

    run(engine, provider, partitions("A", "XX", "B", "C"), on_symbol=on_symbol)

    assert told == {**dict.fromkeys("ABC", (757, list(YEARS))), "XX": (0, list(YEARS))}


def test_every_symbol_is_told_of_also_where_nothing_is_asked(engine):
    provider = ArrayProvider([days("A", FIRST, LAST)])
    provider.timeframes = frozenset({Timeframe.DAILY})
    provider.begins = date(2022, 1, 1)
    told = []

    for timeframe in (Timeframe.MINUTE, Timeframe.DAILY):
        run(engine, provider, partitions("A", "B"), timeframe, on_symbol=lambda symbol, _: told.append(symbol))

    assert told == ["A", "B", "A", "B"]
    assert provider.asked == []


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


def test_bars_are_written_while_later_symbols_are_still_fetched(engine):
    symbols = [f"S{number:02}" for number in range(40)]
    provider = ArrayProvider([days(symbol, FIRST, LAST) for symbol in symbols])
    seen = []

    def look(symbol: str) -> None:
        if symbol == symbols[-1]:
            seen.append(scalar(engine, "SELECT count(*) FROM ohlcv_daily"))

    provider.before_answer = look
    run(engine, provider, partitions(*symbols))

    assert seen[0] >= 10_000


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


@pytest.mark.parametrize("timeframe", [Timeframe.DAILY, Timeframe.MINUTE])
def test_an_unfinished_session_is_not_stored_and_comes_with_the_next_import(engine, timeframe):
    make = days if timeframe is Timeframe.DAILY else minutes
    provider = ArrayProvider([make("A", date(2021, 3, 8), date(2021, 3, 12))])
    table, key = ("ohlcv_daily", "date") if timeframe is Timeframe.DAILY else ("ohlcv_1min", "timestamp")
    thursday_afternoon = datetime(2021, 3, 11, 19, tzinfo=UTC)
    five_past_the_close = datetime(2021, 3, 11, 21, 5, tzinfo=UTC)
    evening = datetime(2021, 3, 11, 23, tzinfo=UTC)

    stored = []
    for now in (thursday_afternoon, five_past_the_close, evening):
        run(engine, provider, partitions("A", years=(2021,)), timeframe, now=now)
        stored.append(str(scalar(engine, f"SELECT max({key})::date FROM {table}")))
        assert provenance(engine, timeframe)[Partition("A", 2021)].requested_through.isoformat() == stored[-1]

    assert stored == ["2021-03-10", "2021-03-10", "2021-03-11"]


def test_a_volume_that_grows_after_the_close_is_right_after_the_next_session(engine):
    provider = ArrayProvider([days("A", date(2020, 12, 1), date(2021, 1, 29))])
    whole = provider.series["A", Timeframe.DAILY]
    is_short = whole.time == np.datetime64("2020-12-31", "us")
    provider.series = {("A", Timeframe.DAILY): replace(whole, volume=np.where(is_short, 1, whole.volume))}
    soon_after = datetime(2020, 12, 31, 21, 25, tzinfo=UTC)
    run(engine, provider, partitions("A", years=(2020,)), now=soon_after)
    volume = "SELECT volume FROM ohlcv_daily WHERE date = '2020-12-31'"
    assert scalar(engine, volume) == 1

    provider.series = {("A", Timeframe.DAILY): whole}
    next_session = datetime(2021, 1, 4, 21, 25, tzinfo=UTC)
    with engine.connect() as connection:
        assert not due_days(connection, provider, CALENDAR, datetime(2021, 1, 3, 12, tzinfo=UTC))
        due = due_days(connection, provider, CALENDAR, next_session)
    run(engine, provider, due, now=next_session)

    assert scalar(engine, volume) == int(whole.volume[is_short][0])


def test_a_year_that_has_not_begun_is_skipped(engine):
    provider = ArrayProvider([days("A", FIRST, LAST)])

    outcomes = run(engine, provider, partitions("A", years=(2021, 2022)), now=datetime(2022, 1, 2, tzinfo=UTC))

    assert provider.asked == [("A", Timeframe.DAILY, date(2021, 1, 1), date(2021, 12, 31))]
    assert outcomes[1].status is Status.UNCHANGED
    assert outcomes[1].facts["note"] == "no session of 2022 has ended yet"
    assert set(provenance(engine)) == {Partition("A", 2021)}


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


def test_who_gave_the_bars_instead_is_recorded_with_the_reason(engine):
    provider = ArrayProvider([days("A", FIRST, LAST)], source="another", reason="array: 503")

    outcomes = run(engine, provider, partitions("A"))

    assert (outcomes[0].facts["source"], outcomes[0].facts["reason"]) == ("another", "array: 503")
    assert scalar(engine, "SELECT array_agg(DISTINCT source) FROM ohlcv_daily") == ["another"]
    row = provenance(engine)[Partition("A", 2020)]
    assert (row.source, row.reason) == ("another", "array: 503")


def test_a_part_that_a_stand_in_has_is_stored_as_a_part_and_the_rest_stays_to_be_asked_for(engine):
    behind = ArrayProvider([days("A", FIRST, LAST)])
    behind.name, behind.begins = "behind", date(2020, 12, 1)
    first = ArrayProvider([days("A", FIRST, LAST)])

    def refuse(_: str) -> None:
        raise ProviderUnavailableError("array does not answer.")

    first.before_answer = refuse
    provider = FailoverProvider([first, behind], now=lambda: NOW)

    outcomes = run(engine, provider, partitions("A"))

    assert [outcome.status for outcome in outcomes] == [Status.FAILED, Status.WRITTEN, Status.WRITTEN]
    assert scalar(engine, "SELECT min(date)::text FROM ohlcv_daily") == "2020-12-01"
    found = provenance(engine)
    part = found[Partition("A", 2020)]
    assert (part.outcome, part.source, part.requested_from) == ("partial", "behind", date(2020, 12, 1))
    assert part.reason == "array: array does not answer.; behind: its history begins on 2020-12-01"
    assert (found[Partition("A", 2021)].outcome, found[Partition("A", 2019)].outcome) == ("complete", "failed")
    with engine.connect() as connection:
        (judged,) = completeness(connection, CALENDAR, Timeframe.DAILY, now=NOW)
    assert judged.counts[Standing.COMPLETE] == 22 + 252
    assert judged.counts[Standing.NOT_ASKED] == 231

    first.before_answer = lambda _: None
    assert not failures(run(engine, provider, partitions("A")))
    first.before_answer = refuse
    run(engine, provider, partitions("A"))
    # what was had before is not forgotten
    assert provenance(engine)[Partition("A", 2020)].requested_from == date(2020, 1, 1)
    assert scalar(engine, "SELECT count(*) FROM ohlcv_daily") == 757


def test_a_fall_back_fills_in_and_replaces_nothing_that_the_provider_asked_gave(engine):
    of_asked, of_other = days("A", FIRST, date(2020, 6, 30)), days("A", FIRST, LAST, seed=1)
    run(engine, ArrayProvider([of_asked]), partitions("A"))
    run(engine, ArrayProvider([of_other], source="another", reason="503"), partitions("A"))

    assert scalar(engine, "SELECT max(date) FROM ohlcv_daily WHERE source = 'array'") == date(2020, 6, 30)
    assert scalar(engine, "SELECT min(date) FROM ohlcv_daily WHERE source = 'another'") == date(2020, 7, 1)
    run(engine, ArrayProvider([days("A", FIRST, LAST)]), partitions("A"))
    assert scalar(engine, "SELECT array_agg(DISTINCT source) FROM ohlcv_daily") == ["array"]


def test_one_corrupted_bar_of_a_year_is_in_quarantine_and_everything_else_stored(engine):
    series = days("A", FIRST, LAST)
    series.low[300] = series.high[300] + 1
    provider = ArrayProvider([series])

    outcomes = run(engine, provider, partitions("A"))

    assert [outcome.facts["bars_refused"] for outcome in outcomes] == [0, 1, 0]
    assert scalar(engine, "SELECT count(*) FROM ohlcv_daily") == 756
    assert scalar(engine, "SELECT bar_time FROM quarantined_bars") == str(series.time[300].astype("datetime64[D]"))


def test_a_provider_that_gives_more_than_was_asked_does_not_touch_other_years(engine):
    class Generous(ArrayProvider):
        def fetch_bars(self, symbol, timeframe, first, last):
            return super().fetch_bars(symbol, timeframe, FIRST, LAST)

    run(engine, Generous([days("A", FIRST, LAST)]), partitions("A", years=(2020,)))

    assert scalar(engine, "SELECT array_agg(DISTINCT extract(year FROM date)::int) FROM ohlcv_daily") == [2020]


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


def test_days_that_the_provider_lacks_are_filled_from_minutes_and_its_own_bar_takes_their_place(engine):
    march = (date(2021, 3, 8), date(2021, 3, 12))
    of_minutes = minutes("A", *march)
    run(engine, ArrayProvider([of_minutes]), partitions("A", years=(2021,)), Timeframe.MINUTE)
    all_days = days("A", *march, seed=5)
    without_wednesday = all_days[np.array([0, 1, 3, 4])]

    def import_from(series: Bars):
        return import_days(engine, ArrayProvider([series]), CALENDAR, partitions("A", years=(2021,)), now=NOW)

    def sources():
        with engine.connect() as connection:
            return [source for (source,) in connection.exec_driver_sql("SELECT source FROM ohlcv_daily ORDER BY date")]

    (outcome,) = import_from(without_wednesday)

    assert sources() == ["array", "array", "derived:1min", "array", "array"]
    assert (outcome.status, outcome.facts["bars"], outcome.facts["bars_from_minutes"]) == (Status.WRITTEN, 5, 1)
    row = provenance(engine)[Partition("A", 2021)]
    assert (row.source, row.n_bars, row.n_provisional) == ("array", 4, 1)
    wednesday = of_minutes[of_minutes.time.astype("datetime64[D]") == np.datetime64("2021-03-10")]
    assert scalar(engine, "SELECT volume FROM ohlcv_daily WHERE source <> 'array'") == wednesday.volume.sum()

    import_from(all_days)
    assert sources() == ["array"] * 5
    assert provenance(engine)[Partition("A", 2021)].n_provisional == 0
    assert scalar(engine, "SELECT close FROM ohlcv_daily WHERE date = '2021-03-10'") == all_days.close[2]
    import_from(without_wednesday)
    assert sources() == ["array"] * 5


def test_a_symbol_is_reported_once_its_days_are_filled_from_minutes_too(engine):
    run(engine, ArrayProvider([minutes("A", date(2021, 3, 8), date(2021, 3, 9))]), partitions("A", years=(2021,)),
        Timeframe.MINUTE)  # fmt: skip
    lacking = ArrayProvider([days("A", date(2021, 3, 8), date(2021, 3, 8))])

    def killed_here(symbol: str, outcomes: list[Outcome]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_days(engine, lacking, CALENDAR, partitions("A", years=(2021,)), now=NOW, on_symbol=killed_here)

    assert scalar(engine, "SELECT array_agg(source ORDER BY date) FROM ohlcv_daily") == ["array", "derived:1min"]


def test_unknown_symbols_with_stored_minutes_still_get_their_days(engine):
    run(engine, ArrayProvider([minutes("A", date(2021, 3, 8), date(2021, 3, 9))]), partitions("A", years=(2021,)),
        Timeframe.MINUTE)  # fmt: skip
    provider = ArrayProvider([days("B", FIRST, LAST)])
    provider.before_answer = lambda symbol: (_ for _ in ()).throw(UnknownSymbolError("no A here"))

    (outcome,) = import_days(engine, provider, CALENDAR, partitions("A", years=(2021,)), now=NOW)

    assert (outcome.status, outcome.error) == (Status.FAILED, "no A here")
    assert scalar(engine, "SELECT count(*) FROM ohlcv_daily WHERE source = 'derived:1min'") == 2
    row = provenance(engine)[Partition("A", 2021)]
    assert (row.outcome, row.error, row.n_provisional) == ("failed", "no A here", 2)
