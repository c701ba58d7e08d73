"""When symbols that another program holds up are tried again, and how long the one to blame is looked for."""

import pytest
from sqlalchemy.exc import OperationalError

from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.streaming.held_up import MOST_WAITS, HeldUp, LockWaits

MINUTE = Timeframe.MINUTE


class DriverError(Exception):
    def __init__(self, pgcode: str) -> None:
        super().__init__(pgcode)
        self.pgcode = pgcode


def failed(waits: LockWaits, symbols: list[str], pgcode: str = "55P03") -> None:
    with pytest.raises(OperationalError), waits.counted(symbols):
        raise OperationalError("INSERT", {}, DriverError(pgcode))


def test_a_symbol_is_tried_again_after_pauses_that_double_up_to_five_seconds() -> None:
    now = [100.0]
    held_up = HeldUp(lambda: now[0])
    pauses = []
    for _ in range(7):
        held_up.note(MINUTE, ["A"])
        begun = now[0]
        while held_up.must_wait(MINUTE, "A"):
            now[0] += 0.25
        pauses.append(now[0] - begun)
    assert pauses == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0]


def test_a_symbol_is_shown_after_its_second_failure_and_told_of_once() -> None:
    held_up = HeldUp(lambda: 0.0)
    assert held_up.note(MINUTE, ["B", "A"]) == ["A", "B"]
    assert held_up.symbols == []
    assert held_up.note(MINUTE, ["A"]) == []
    assert held_up.symbols == ["A"]
    held_up.clear(Timeframe.HOURLY, ["A"])
    assert held_up.symbols == ["A"]
    held_up.clear(MINUTE, ["A"])
    assert held_up.symbols == []
    assert not held_up.must_wait(MINUTE, "A")


def test_the_one_that_stands_alone_is_to_blame_and_another_error_counts_for_nothing() -> None:
    waits = LockWaits()
    failed(waits, ["A", "B"])
    assert waits.symbols == set()
    failed(waits, ["B"])
    assert waits.symbols == {"B"}
    failed(waits, ["C"], "23505")
    assert (waits.symbols, waits.n_waits) == ({"B"}, 2)


def test_after_too_many_waits_the_others_are_left_for_later() -> None:
    waits = LockWaits()
    for _ in range(MOST_WAITS):
        assert not waits.are_spent(["X"])
        failed(waits, ["A", "B"])
    assert waits.are_spent(["X", "Y"])
    assert waits.symbols == {"X", "Y"}
