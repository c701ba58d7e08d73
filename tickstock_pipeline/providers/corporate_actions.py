"""Splits and dividends as providers list them, turned into one of each kind a day.

Providers list the same fact twice at times (https://github.com/polygon-io/issues/issues/162), and several that fall on
one day. The two must not be taken for each other: a dividend that is added to itself doubles, and a split that is
multiplied by itself makes every price before it wrong.
"""

import math
from collections.abc import Iterable
from datetime import date

from tickstock_pipeline.market.adjustment import Dividend, Split


def splits_by_day(symbol: str, listed: Iterable[tuple[date, float]]) -> tuple[Split, ...]:
    """One split a day, oldest first.

    One that is listed again with the same ratio is the same split. Others of one day are carried out one after the
    other, such as 1:100 and then 100:1 to pay out small holders: their product counts, and one of 1:1 is none.

    Parameters
    ----------
    listed : ex date and ratio, in any order

    Raises
    ------
    ValueError
        If a ratio is not positive and finite.
    """
    ratios: dict[date, set[float]] = {}
    for split in (Split(symbol, day, ratio) for day, ratio in listed):
        ratios.setdefault(split.ex_date, set()).add(split.ratio)
    found = (Split(symbol, day, math.prod(sorted(ratios[day]))) for day in sorted(ratios))
    return tuple(split for split in found if not math.isclose(split.ratio, 1.0))


def dividends_by_day(symbol: str, listed: Iterable[tuple[date, float, str]]) -> tuple[Dividend, ...]:
    """One dividend a day, oldest first: a regular and a special one are added up.

    One that is listed again with the same amount and kind is the same dividend; one of nothing is none.

    Parameters
    ----------
    listed : ex date, amount for one share and kind, in any order; the kind is empty where the provider has none

    Raises
    ------
    ValueError
        If an amount is negative or not finite.
    """
    amounts: dict[date, list[float]] = {}
    for day, amount, _ in sorted({one for one in listed if one[1] != 0}):
        amounts.setdefault(day, []).append(Dividend(symbol, day, amount).amount)
    return tuple(Dividend(symbol, day, math.fsum(amounts[day])) for day in sorted(amounts))
