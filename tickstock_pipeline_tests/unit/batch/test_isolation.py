"""Work on many items in which the bad ones fail alone, and what is nobody's fault ends it."""

import logging

import psycopg2
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from tickstock_pipeline.batch.isolation import apart, may_be_of_one
from tickstock_pipeline.errors import DefinitionError, LeaseLostError


class Work:
    """Doubles numbers; raises where one of them is bad."""

    def __init__(self, bad: set[int], error: Exception | None = None) -> None:
        self.bad, self.error, self.begun = bad, error or ZeroDivisionError("no number"), 0

    def __call__(self, items: list[int]) -> list[str]:
        self.begun += 1
        if self.bad & set(items):
            raise self.error
        return [f"{item} done" for item in items]

    def on(self, n_items: int) -> list[str]:
        return apart(range(n_items), self, lambda item, why: [f"{item} refused: {why}"], lambda item: f"item {item}")


@given(st.integers(0, 60).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, max(n - 1, 0))))))
def test_exactly_the_bad_items_are_refused_and_the_order_is_kept(case: tuple[int, set[int]]) -> None:
    n_items, bad = case
    work = Work(bad)

    found = work.on(n_items)

    assert found == [
        f"{item} refused: ZeroDivisionError: no number" if item in bad else f"{item} done" for item in range(n_items)
    ]
    assert work.begun <= max(2 * n_items - 1, 0)


def test_one_bad_item_of_fifty_costs_a_few_tries() -> None:
    work = Work({17})

    work.on(50)

    assert work.begun <= 13


class CodedError(psycopg2.OperationalError):
    """The driver's error with a code, which only the driver can set on its own."""

    def __init__(self, code: str | None) -> None:
        super().__init__("as the server says")
        self.code = code

    @property
    def pgcode(self) -> str | None:
        return self.code


def in_statement(error: Exception) -> sa.exc.DBAPIError:
    return sa.exc.DBAPIError("SELECT", {}, error)


@pytest.mark.parametrize(
    "error",
    [
        CodedError(None),
        CodedError("57P01"),
        CodedError("42P01"),
        CodedError("53100"),
        in_statement(CodedError(None)),
        sa.exc.TimeoutError("no connection is free"),
        MemoryError(),
        ConnectionResetError(),
        DefinitionError("a definition cannot run"),
        LeaseLostError("taken over"),
    ],
    ids=repr,
)
def test_what_is_nobodys_fault_ends_the_work_at_the_first_try(error: Exception) -> None:
    work = Work(set(range(50)), error)

    with pytest.raises(type(error)):
        work.on(50)

    assert work.begun == 1


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a value"),
        KeyError("a key"),
        FloatingPointError("overflow"),
        psycopg2.DataError("refused by the driver"),
        CodedError("22003"),
        CodedError("23514"),
        CodedError("P0001"),
        CodedError("54000"),
        CodedError("XX001"),
        in_statement(CodedError("23514")),
        sa.exc.StatementError("bind", "SELECT", {}, OverflowError("too large")),
    ],
    ids=repr,
)
def test_what_may_be_of_one_item_is_looked_for(error: Exception) -> None:
    assert may_be_of_one(error)
    assert [words.partition(" refused")[0] for words in Work({3}, error).on(4)] == ["0 done", "1 done", "2 done", "3"]


def test_each_bad_item_is_logged_by_name_and_a_repeated_traceback_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        Work({1, 2, 5}).on(8)

    messages = [record.getMessage() for record in caplog.records]
    assert [message.splitlines()[0] for message in messages] == [
        f"item {item} failed: ZeroDivisionError: no number" for item in (1, 2, 5)
    ]
    assert ["Traceback" in message for message in messages] == [True, False, False]
