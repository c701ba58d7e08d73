"""Several providers as one: whose answer is taken, what is said of the others, and who is left out."""

import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime

import pytest

from tickstock_pipeline.errors import (
    NotInPlanError,
    ProviderAnswerError,
    ProviderError,
    ProviderRefusedError,
    ProviderUnavailableError,
    RateLimitedError,
    UnknownSymbolError,
)
from tickstock_pipeline.market.adjustment import Dividend, Split
from tickstock_pipeline.market.bar import empty_bars
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.base import FetchedBars, HistoricalProvider, Listing
from tickstock_pipeline.providers.failover import FailoverProvider
from tickstock_pipeline.providers.failover_member import FAILURES_IN_A_ROW, FIRST_REST, LONGEST_REST
from tickstock_pipeline.providers.sample import SampleProvider
from tickstock_pipeline_tests.unit.providers.contract import ProviderContract

RANGE = (date(2012, 1, 1), date(2012, 12, 31))
TODAY = date(2026, 1, 2)


class Scripted:
    """A provider that raises, or answers with bars that can be told apart by ``outside_session``."""

    concurrency = 2

    def __init__(
        self,
        name: str,
        mark: int,
        *,
        error: ProviderError | None = None,
        timeframes: Iterable[Timeframe] = (Timeframe.DAILY,),
        earliest: date | None = None,
    ) -> None:
        self.name = name
        self.mark = mark
        self.error = error
        self.timeframes = frozenset(timeframes)
        self.first_date = earliest
        self.asked: list[str] = []
        self.ranges: list[tuple[date, date]] = []
        self.during: Callable[[], None] = lambda: None

    def earliest(self, timeframe: Timeframe, today: date) -> date | None:
        return self.first_date

    def fetch_bars(self, symbol: str, timeframe: Timeframe, first: date, last: date) -> FetchedBars:
        self._answer(symbol)
        self.ranges.append((first, last))
        return FetchedBars(empty_bars(symbol, timeframe), outside_session=self.mark)

    def fetch_splits(self, symbol: str) -> tuple[Split, ...]:
        self._answer(symbol)
        return (Split(symbol, date(2012, 1, 3), float(self.mark)),)

    def fetch_dividends(self, symbol: str) -> tuple[Dividend, ...]:
        self._answer(symbol)
        return (Dividend(symbol, date(2012, 1, 3), float(self.mark)),)

    def catalogue(self) -> tuple[Listing, ...]:
        return (Listing(self.name.upper(), self.name, *RANGE),)

    def _answer(self, symbol: str) -> None:
        self.asked.append(symbol)
        self.during()
        if self.error is not None:
            raise self.error


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def first() -> Scripted:
    return Scripted("first", 1)


@pytest.fixture
def second() -> Scripted:
    return Scripted("second", 2)


@pytest.fixture
def both(first: Scripted, second: Scripted, clock: Clock) -> FailoverProvider:
    return FailoverProvider(
        [first, second], now=lambda: datetime(TODAY.year, TODAY.month, TODAY.day, tzinfo=UTC), clock=clock
    )


def fetch(provider: HistoricalProvider, symbol: str = "AAPL", timeframe: Timeframe = Timeframe.DAILY) -> FetchedBars:
    return provider.fetch_bars(symbol, timeframe, *RANGE)


class TestContract(ProviderContract):
    symbol = "AAPL"
    timeframe = Timeframe.DAILY
    first = date(2004, 6, 1)
    last = date(2005, 12, 30)
    raw_close = (date(2005, 2, 25), 88.99)

    @pytest.fixture
    def provider(self) -> HistoricalProvider:
        class Other(SampleProvider):
            name = "other"

        return FailoverProvider([SampleProvider(), Other()])


def test_the_first_one_gives_what_it_has_and_nobody_else_is_asked(both: FailoverProvider, second: Scripted) -> None:
    fetched = fetch(both)

    assert (fetched.outside_session, fetched.source, fetched.reason) == (1, "", "")
    assert both.fetch_splits("AAPL")[0].ratio == 1.0
    assert both.fetch_dividends("AAPL")[0].amount == 1.0
    assert second.asked == []
    assert both.name == "first"


@pytest.mark.parametrize(
    "error",
    [
        ProviderRefusedError("first refuses daily bars of AAPL"),
        ProviderUnavailableError("first does not answer"),
        RateLimitedError("the quota of first is spent", retry_after_seconds=3600.0),
        ProviderAnswerError("the answer of first cannot be trusted"),
        UnknownSymbolError("first has no symbol AAPL"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_the_next_one_is_asked_and_the_reason_kept(
    error: ProviderError, both: FailoverProvider, first: Scripted
) -> None:
    first.error = error
    fetched = fetch(both)

    assert (fetched.outside_session, fetched.source) == (2, "second")
    assert fetched.reason == f"first: {error.message}"
    assert both.fetch_splits("AAPL")[0].ratio == 2.0
    assert both.fetch_dividends("AAPL")[0].amount == 2.0


def test_a_fault_of_ours_is_not_passed_over(both: FailoverProvider, first: Scripted) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    first.during = fail
    with pytest.raises(ZeroDivisionError):
        fetch(both)


def test_one_without_the_timeframe_is_not_asked(both: FailoverProvider, first: Scripted, second: Scripted) -> None:
    second.timeframes = frozenset({Timeframe.MINUTE})
    fetched = fetch(both, timeframe=Timeframe.MINUTE)

    assert both.timeframes == {Timeframe.DAILY, Timeframe.MINUTE}
    assert (fetched.source, fetched.reason) == ("second", "first: it has no 1min bars")
    assert first.asked == []


def test_one_whose_history_begins_too_late_is_not_asked(both: FailoverProvider, first: Scripted) -> None:
    first.first_date = date(2024, 1, 2)

    assert fetch(both).reason == "first: its history begins on 2024-01-02"
    assert both.fetch_bars("AAPL", Timeframe.DAILY, date(2024, 1, 2), TODAY).source == ""
    assert first.asked == ["AAPL"]


def test_one_whose_history_begins_within_the_range_gives_what_it_has_where_nobody_gives_all(
    both: FailoverProvider, first: Scripted, second: Scripted
) -> None:
    first.error = ProviderUnavailableError("polygon does not answer.")
    second.first_date = date(2012, 6, 1)

    found = fetch(both)

    assert (found.source, found.begins, found.outside_session) == ("second", date(2012, 6, 1), 2)
    assert found.reason == "first: polygon does not answer.; second: its history begins on 2012-06-01"
    assert second.ranges == [(date(2012, 6, 1), RANGE[1])]
    second.first_date = date(2013, 1, 1)
    with pytest.raises(ProviderUnavailableError):
        fetch(both)
    first.error, second.first_date = None, date(2012, 6, 1)
    assert fetch(both).begins is None


def test_a_plan_that_may_have_newer_dates_comes_before_a_part_of_another_history(
    both: FailoverProvider, first: Scripted, second: Scripted
) -> None:
    first.error = NotInPlanError("not in the plan")
    second.first_date = date(2012, 6, 1)

    with pytest.raises(NotInPlanError):
        fetch(both)
    assert second.asked == []


def test_refusals_of_dates_do_not_leave_a_provider_out(both: FailoverProvider, first: Scripted) -> None:
    first.error = NotInPlanError("not in the plan")
    for number in range(2 * FAILURES_IN_A_ROW):
        assert fetch(both, f"S{number}").reason == "first: not in the plan"


def test_history_is_as_long_as_the_longest(both: FailoverProvider, first: Scripted, second: Scripted) -> None:
    first.first_date, second.first_date = date(2024, 1, 2), date(2003, 9, 10)
    assert both.earliest(Timeframe.DAILY, TODAY) == date(2003, 9, 10)

    second.timeframes = frozenset()
    assert both.earliest(Timeframe.DAILY, TODAY) == date(2024, 1, 2)

    first.first_date = None
    assert both.earliest(Timeframe.DAILY, TODAY) is None


def test_when_all_fail_each_one_s_reason_is_given(both: FailoverProvider, first: Scripted, second: Scripted) -> None:
    first.first_date = date(2024, 1, 2)
    second.error = ProviderUnavailableError("no answer within 30 s", advice="Try again later.")

    with pytest.raises(ProviderUnavailableError) as raised:
        fetch(both)
    assert raised.value.message == (
        "No provider gave daily bars of AAPL. first: its history begins on 2024-01-02; second: no answer within 30 s"
    )
    assert raised.value.advice == "Try again later."


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ((UnknownSymbolError("x"), UnknownSymbolError("x")), UnknownSymbolError),
        ((UnknownSymbolError("x"), ProviderUnavailableError("x")), ProviderUnavailableError),
        ((ProviderUnavailableError("x"), RateLimitedError("x", retry_after_seconds=9.0)), RateLimitedError),
        ((ProviderRefusedError("x"), ProviderAnswerError("x")), ProviderError),
        ((ProviderRefusedError("x"), UnknownSymbolError("x")), ProviderRefusedError),
        ((ProviderRefusedError("x"), ProviderRefusedError("x")), ProviderRefusedError),
    ],
)
def test_what_all_say_together_is_the_most_hopeful(
    errors: tuple[ProviderError, ProviderError],
    expected: type[ProviderError],
    both: FailoverProvider,
    first: Scripted,
    second: Scripted,
) -> None:
    first.error, second.error = errors

    with pytest.raises(ProviderError) as raised:
        fetch(both)
    assert type(raised.value) is expected
    assert raised.value.advice
    if isinstance(raised.value, RateLimitedError):
        assert raised.value.retry_after_seconds == 9.0


def failed_for(provider: FailoverProvider, symbols: Iterable[str]) -> list[str]:
    return [fetch(provider, symbol).reason for symbol in symbols]


def test_one_that_fails_for_symbols_in_a_row_is_left_out_and_that_is_logged_once(
    both: FailoverProvider, first: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    first.error = ProviderUnavailableError("no answer")
    symbols = [f"S{n}" for n in range(10)]
    reasons = failed_for(both, symbols)

    assert first.asked == symbols[:FAILURES_IN_A_ROW]
    assert reasons[0] == "first: no answer"
    assert reasons[-1].startswith("first: left out for a while")
    assert "no answer" in reasons[-1]
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_failures_for_one_symbol_or_with_answers_between_do_not_count(both: FailoverProvider, first: Scripted) -> None:
    for symbol in ("A", "A", "A", "A", "B", "GOOD", "C", "D", "UNKNOWN", "E", "F"):
        first.error = ProviderUnavailableError("no answer")
        if symbol == "GOOD":
            first.error = None
        elif symbol == "UNKNOWN":
            first.error = UnknownSymbolError("no such symbol")
        fetch(both, symbol)

    assert len(first.asked) == 11


def test_one_that_was_left_out_is_tried_again_and_taken_back(
    both: FailoverProvider, first: Scripted, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    first.error = ProviderUnavailableError("no answer")
    failed_for(both, ["A", "B", "C", "D"])
    clock.now += FIRST_REST
    first.error = None
    caplog.clear()
    with caplog.at_level("INFO"):
        assert fetch(both, "E").source == ""

    assert "answers again" in caplog.text
    assert fetch(both, "F").source == ""


def test_while_it_is_tried_again_the_others_go_elsewhere(both: FailoverProvider, first: Scripted, clock: Clock) -> None:
    first.error = ProviderUnavailableError("no answer")
    failed_for(both, ["A", "B", "C"])
    clock.now += FIRST_REST
    first.error = None
    meanwhile: list[str] = []

    def ask_another() -> None:
        first.during = lambda: None
        meanwhile.append(fetch(both, "OTHER").source)

    first.during = ask_another

    assert fetch(both, "TRIAL").source == ""
    assert meanwhile == ["second"]


def test_each_time_that_it_fails_again_it_is_left_out_for_longer(
    both: FailoverProvider, first: Scripted, clock: Clock
) -> None:
    first.error = ProviderUnavailableError("no answer")
    failed_for(both, ["A", "B", "C"])
    rests = []
    for _ in range(8):
        before, asked = clock.now, len(first.asked)
        while len(first.asked) == asked:
            clock.now += 1.0
            fetch(both, "D")
        rests.append(clock.now - before)

    assert rests[:3] == [FIRST_REST, 2 * FIRST_REST, 4 * FIRST_REST]
    assert rests[-1] == LONGEST_REST


def test_a_trial_that_takes_long_to_fail_counts_like_a_short_one(
    both: FailoverProvider, first: Scripted, clock: Clock
) -> None:
    first.error = ProviderUnavailableError("silent for 30 s, five times")
    failed_for(both, ["A", "B", "C"])
    clock.now += FIRST_REST

    def take_long() -> None:
        clock.now += 150.0

    first.during = take_long
    fetch(both, "TRIAL")
    asked = len(first.asked)
    clock.now += 2 * FIRST_REST - 1
    fetch(both, "E")

    assert len(first.asked) == asked


def test_a_trial_that_ends_in_a_fault_of_ours_is_made_again(
    both: FailoverProvider, first: Scripted, clock: Clock
) -> None:
    first.error = ProviderUnavailableError("no answer")
    failed_for(both, ["A", "B", "C"])
    clock.now += FIRST_REST

    def fail() -> None:
        raise ZeroDivisionError

    first.during = fail
    with pytest.raises(ZeroDivisionError):
        fetch(both, "TRIAL")
    first.during, first.error = (lambda: None), None

    assert fetch(both, "E").source == ""


def test_where_nobody_else_can_help_one_that_is_left_out_is_asked_all_the_same(
    both: FailoverProvider, first: Scripted, second: Scripted
) -> None:
    first.error = ProviderUnavailableError("no answer")
    failed_for(both, ["A", "B", "C", "D"])
    second.error = UnknownSymbolError("no such symbol")
    first.error = None

    fetched = fetch(both, "E")
    assert (fetched.outside_session, fetched.source) == (1, "")


def test_each_is_asked_by_no_more_threads_than_it_allows(first: Scripted, second: Scripted) -> None:
    first.concurrency, second.concurrency = 1, 3
    both = FailoverProvider([first, second])
    running = threading.Semaphore(1)
    crowded: list[str] = []

    def count() -> None:
        if not running.acquire(blocking=False):
            crowded.append("two at once")
            return
        time.sleep(0.005)
        running.release()

    first.during = count
    threads = [threading.Thread(target=fetch, args=(both, f"S{n}")) for n in range(both.concurrency * 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert both.concurrency == 3
    assert len(first.asked) == 6
    assert not crowded


def test_the_catalogue_is_that_of_the_first(both: FailoverProvider) -> None:
    assert [listing.symbol for listing in both.catalogue()] == ["FIRST"]
