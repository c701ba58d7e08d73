"""Work that does not end by itself is ended, and what is done in time is left alone."""

import signal
import threading
import time

import pytest

from tickstock_pipeline.streaming.time_limit import time_limit


def deaf_once() -> None:
    try:
        while True:
            pass
    except TimeoutError:
        while True:
            pass


def test_work_without_an_end_is_ended_even_if_it_takes_the_first_word_for_its_own() -> None:
    with pytest.raises(TimeoutError, match=r"more than 0\.05 s"), time_limit(0.05):
        deaf_once()


def test_nothing_rings_after_work_that_was_done_in_time() -> None:
    with time_limit(0.05):
        pass
    deadline = time.monotonic() + 0.1
    while time.monotonic() < deadline:
        pass


def test_an_error_of_the_work_is_its_own() -> None:
    with pytest.raises(ZeroDivisionError), time_limit(5.0):
        _ = 1 / 0


def test_an_alarm_that_was_set_before_rings_when_it_would_have_rung() -> None:
    rung: list[int] = []
    handler = signal.signal(signal.SIGALRM, lambda number, _: rung.append(number))
    before = signal.setitimer(signal.ITIMER_REAL, 0.1)
    began = time.monotonic()
    try:
        with time_limit(5.0):
            while time.monotonic() - began < 0.05:
                pass
        assert not rung
        while not rung and time.monotonic() - began < 2.0:
            pass
        assert rung == [signal.SIGALRM]
    finally:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *before)


def test_in_another_thread_there_is_no_limit() -> None:
    done = threading.Event()

    def work() -> None:
        with time_limit(0.01):
            time.sleep(0.05)
            done.set()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(5.0)
    assert done.is_set()
