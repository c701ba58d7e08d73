"""Request budgets of one process, on a clock that only waiting moves."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limits import RateLimitItem, RateLimitItemPerDay, RateLimitItemPerMinute

from tickstock_pipeline.errors import RateLimitedError
from tickstock_pipeline.providers.limits import LONGEST_WAIT, RequestBudget, account_of, window_of
from tickstock_pipeline.providers.windows import LocalWindows, Window

MINUTE = 60.0


class Clock:
    """Stands still except while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.late = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds + self.late
        self.late = 0.0


def budget(clock: Clock, *items: RateLimitItem, longest_wait: float = LONGEST_WAIT) -> RequestBudget:
    windows = [window_of(item) for item in items]
    return RequestBudget(
        "polygon",
        windows,
        None,
        LocalWindows(windows, clock),
        longest_wait=longest_wait,
        clock=clock,
        sleep=clock.sleep,
    )


def times_of(clock: Clock, tested: RequestBudget, n_requests: int) -> list[float]:
    times = []
    for _ in range(n_requests):
        tested.acquire()
        times.append(clock.now)
    return times


def most_in(times: Sequence[float], seconds: float) -> int:
    """The largest number of requests in any window, closed at both ends."""
    return max(sum(first <= time <= first + seconds for time in times) for first in times)


@pytest.mark.parametrize("nonsense", [1.7e12, 1e300])
def test_a_provider_cannot_hold_up_an_account_for_ever(nonsense: float) -> None:
    clock = Clock()
    tested = budget(clock, longest_wait=1e9)

    tested.penalise(nonsense)
    tested.acquire()

    # a day that has an hour more
    assert clock.now - 1000.0 == 25 * 3600


def test_never_one_request_over_and_little_time_lost() -> None:
    clock = Clock()
    times = times_of(clock, budget(clock, RateLimitItemPerMinute(5)), 100)

    assert most_in(times, MINUTE) == 5
    needed = (100 / 5 - 1) * MINUTE
    assert needed <= times[-1] - times[0] <= needed * 1.05


@given(st.integers(1, 400))
def test_every_budget_is_used_to_19_of_20_parts_at_least(per_minute: int) -> None:
    window = window_of(RateLimitItemPerMinute(per_minute))

    assert window.seconds > MINUTE
    assert window.item.amount <= per_minute
    assert (window.item.amount / window.seconds) >= (per_minute / MINUTE) / 1.05


def test_one_call_is_kept_back_where_there_is_room() -> None:
    assert window_of(RateLimitItemPerMinute(5)).item.amount == 5
    assert window_of(RateLimitItemPerMinute(60)).item.amount == 59
    assert window_of(RateLimitItemPerDay(25)).item.amount == 24


def test_both_limits_hold() -> None:
    clock = Clock()
    tested = budget(clock, RateLimitItemPerMinute(5), RateLimitItemPerDay(12), longest_wait=1e9)
    times = times_of(clock, tested, 40)

    assert most_in(times, MINUTE) == 5
    assert most_in(times, 24 * 60 * MINUTE) == 12


def test_without_a_limit_nothing_is_waited_for() -> None:
    clock = Clock()
    tested = budget(clock)

    assert times_of(clock, tested, 1000)[-1] == 1000.0
    assert not tested.is_limited


def test_a_spent_quota_is_said_with_the_time_when_it_is_free_again() -> None:
    clock = Clock()
    tested = budget(clock, RateLimitItemPerDay(3))
    times_of(clock, tested, 3)

    with pytest.raises(RateLimitedError, match="3 per 1 day") as refused:
        tested.acquire()

    assert refused.value.retry_after_seconds == pytest.approx(24 * 60 * MINUTE, rel=0.01)
    assert refused.value.advice
    assert clock.now == 1000.0


def test_a_request_that_was_given_up_uses_nothing() -> None:
    clock = Clock()
    tested = budget(clock, RateLimitItemPerMinute(1), longest_wait=1.0)
    tested.acquire()
    for _ in range(10):
        with pytest.raises(RateLimitedError):
            tested.acquire()
    clock.now += 62.0

    tested.acquire()


def test_a_pause_that_the_provider_asks_for_is_kept() -> None:
    clock = Clock()
    tested = budget(clock)
    tested.penalise(30.0)
    tested.penalise(10.0)
    tested.acquire()

    assert clock.now == 1030.0


def test_after_a_pause_the_limit_holds_as_before() -> None:
    clock = Clock()
    tested = budget(clock, RateLimitItemPerMinute(5))
    times = times_of(clock, tested, 8)
    tested.penalise(None)
    times += times_of(clock, tested, 20)

    assert most_in(times, MINUTE) == 5
    assert times[8] >= times[7] + MINUTE


def test_a_pause_that_begins_while_somebody_waits_holds_him_up_too() -> None:
    clock = Clock()
    tested = budget(clock, RateLimitItemPerMinute(1))
    tested.acquire()
    sleep = clock.sleep

    def penalised_while_asleep(seconds: float) -> None:
        tested._sleep = sleep
        clock.now += 10.0
        tested.penalise(300.0)
        clock.now += seconds - 10.0

    tested._sleep = penalised_while_asleep
    tested.acquire()

    assert clock.now == pytest.approx(1310.0)


def test_a_slot_that_is_given_back_or_void_gives_nobody_more_than_the_limit() -> None:
    clock = Clock()
    windows = LocalWindows([Window(RateLimitItemPerMinute(5), MINUTE)], clock)
    slots = [windows.reserve(300.0) for _ in range(11)]
    assert [slot.wait for slot in slots] == [0.0] * 5 + [MINUTE] * 5 + [2 * MINUTE]

    windows.give_back(slots[10])
    windows.give_back(slots[9])
    assert [windows.reserve(300.0).wait for _ in range(2)] == [MINUTE, 2 * MINUTE]

    # shorter than the window: what was sent counts on
    windows.pause(1.0)
    assert all(windows.is_void(slot) for slot in slots)
    assert [windows.reserve(300.0).wait for _ in range(6)] == [MINUTE] * 5 + [2 * MINUTE]


def test_a_process_that_was_held_up_takes_another_slot() -> None:
    clock = Clock()
    tested = budget(clock, RateLimitItemPerMinute(2))
    times = times_of(clock, tested, 2)
    clock.late = 50.0
    times += times_of(clock, tested, 6)

    assert most_in(times, MINUTE) == 2


def test_an_account_does_not_show_its_key() -> None:
    account = account_of("my-secret-key")

    assert account == account_of("my-secret-key") != account_of("another")
    assert "secret" not in account
