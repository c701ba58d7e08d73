"""Splits and dividends that providers list twice, or several of on one day."""

from datetime import date

import pytest

from tickstock_pipeline.market.adjustment import Dividend, Split
from tickstock_pipeline.providers.corporate_actions import dividends_by_day, splits_by_day

FIRST, SECOND = date(2012, 2, 9), date(2012, 8, 9)


def test_a_split_that_is_listed_twice_is_one() -> None:
    assert splits_by_day("A", [(SECOND, 3.0), (FIRST, 2.0), (SECOND, 3.0)]) == (
        Split("A", FIRST, 2.0),
        Split("A", SECOND, 3.0),
    )


def test_splits_of_one_day_follow_each_other() -> None:
    assert splits_by_day("A", [(FIRST, 2.0), (FIRST, 3.0)]) == (Split("A", FIRST, 6.0),)


def test_splits_that_undo_each_other_are_none() -> None:
    # 1 / 49 * 49 is not 1 in float64
    assert splits_by_day("A", [(FIRST, 1 / 49), (FIRST, 49.0), (SECOND, 1.0)]) == ()


def test_two_ratios_that_are_none_are_not_a_product_that_is_one() -> None:
    with pytest.raises(ValueError, match="positive"):
        splits_by_day("A", [(FIRST, -2.0), (FIRST, -3.0)])


def test_a_dividend_that_is_listed_twice_is_one_and_a_special_one_is_added() -> None:
    listed = [(SECOND, 0.1, "CD"), (SECOND, 0.1, "CD"), (SECOND, 0.2, "SC"), (FIRST, 1.0, "CD"), (FIRST, 0.0, "CD")]

    assert dividends_by_day("A", listed) == (Dividend("A", FIRST, 1.0), Dividend("A", SECOND, 0.30000000000000004))


def test_a_special_dividend_as_large_as_the_regular_one_counts() -> None:
    assert dividends_by_day("A", [(FIRST, 0.5, "CD"), (FIRST, 0.5, "SC")]) == (Dividend("A", FIRST, 1.0),)


@pytest.mark.parametrize("amount", [-1.0, float("nan"), float("inf")])
def test_an_amount_that_cannot_be_is_not_left_out(amount: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        dividends_by_day("A", [(FIRST, 1.0, ""), (FIRST, amount, "")])
