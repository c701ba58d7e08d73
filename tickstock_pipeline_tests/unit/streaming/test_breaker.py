"""When analysis is left for later, and when it is taken up again."""

from tickstock_pipeline.streaming.breaker import Breaker, Limits


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def breaker() -> tuple[Breaker, Clock]:
    clock = Clock()
    return Breaker(Limits(), clock), clock


def test_it_opens_after_three_failures_in_a_row_and_closes_by_itself() -> None:
    found, clock = breaker()
    for _ in range(2):
        found.saw_failure("KeyError")
    found.saw_success()
    for _ in range(2):
        found.saw_failure("KeyError")
    assert found.allows_analysis(0.0)
    found.saw_failure("KeyError")
    assert (found.state, found.reason) == ("open", "analysis failed 3 times in a row: KeyError")
    assert not found.allows_analysis(0.0)
    clock.now += 30.0
    assert found.allows_analysis(0.0)


def test_it_opens_after_an_analysis_that_took_too_long() -> None:
    found, _ = breaker()
    found.saw_failure("ZeroDivisionError", 3.9)
    assert found.state == "closed"
    found.saw_failure("TimeoutError", 4.01)
    assert (found.state, found.reason) == ("open", "analysis took 4.0 s")


def test_busy_processors_alone_are_no_reason() -> None:
    found, clock = breaker()
    for _ in range(10):
        found.saw_load(95.0)
        clock.now += 1.0
    assert found.allows_analysis(1.9)
    assert not found.allows_analysis(2.1)


def test_a_short_peak_of_load_is_no_reason() -> None:
    found, clock = breaker()
    found.saw_load(100.0)
    clock.now += 1.0
    found.saw_load(100.0)
    assert found.allows_analysis(3.0)


def test_being_far_behind_is_a_reason_whatever_the_load() -> None:
    found, _ = breaker()
    found.saw_load(1.0)
    assert not found.allows_analysis(15.1)


def test_more_than_ten_errors_in_a_minute_are_unhealthy() -> None:
    found, clock = breaker()
    for _ in range(10):
        found.saw_error()
    assert not found.is_unhealthy
    found.saw_error()
    assert found.is_unhealthy
    clock.now += 61.0
    assert not found.is_unhealthy
