"""Confidence: the geometric mean of four graded components of a formation's form. A candlestick's are:

1. *body*: how far the bodies exceed what the pattern's definition asks of them;
2. *shadow*: the same of shadows, or of what stands for them where a pattern has none;
3. *trend*: whether prices moved, before the formation, in the direction that the pattern claims to end;
4. *volume*: volume at the last bar against its recent mean.

Events and chart patterns have others, which stand with each of them; volume is mostly the fourth.

Each component is graded from :data:`FLOOR` (just what the recogniser accepts, or nothing of it) to 1 (as the textbook
draws it). The floor keeps one weak component from wiping out three good ones; with the geometric mean it costs dearly
all the same: one component at the floor and three at 1 give 0.56.

Arithmetic is limited to operations that IEEE 754 rounds correctly (no ``log``, no ``pow``), so that the same bars give
the same bits at any position of an array and on any machine.
"""

from math import sqrt

import numpy as np

from tickstock_pipeline.market.bar import FloatArray

FLOOR = 0.1
"""The least that a component can be."""


def grade(value: FloatArray, weak: float, strong: float) -> FloatArray:
    """Grade a measure linearly: :data:`FLOOR` at ``weak`` or below, 1 at ``strong`` or above.

    Parameters
    ----------
    value : (n,) float64, more is better
    weak, strong : in the unit of ``value``, ``weak < strong``
    """
    share = value - weak
    share /= strong - weak
    # Three times as fast as np.clip on the short arrays that this sees
    np.maximum(share, 0.0, out=share)
    np.minimum(share, 1.0, out=share)
    share *= 1.0 - FLOOR
    share += FLOOR
    return share


def both(first: FloatArray, second: FloatArray) -> FloatArray:
    """The geometric mean of two grades, where one component has two sides."""
    mean: FloatArray = np.sqrt(first * second)
    return mean


def confidence(
    body: FloatArray | float, shadow: FloatArray | float, trend: FloatArray, volume: FloatArray
) -> FloatArray:
    """The geometric mean of the four components, each (n,) float64 in [FLOOR, 1]; rises with each of them.

    With a 1.0 in the place of a component it is the most that there can be, in exact terms: each operation rounds
    monotonically.
    """
    mean: FloatArray = np.sqrt(np.sqrt(body * shadow * (trend * volume)))
    return mean


def ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """``numerator / denominator``, 0 where the denominator is 0; both are never negative."""
    if denominator.all():
        return numerator / denominator
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator != 0.0)


def graded(value: float, weak: float, strong: float) -> float:
    """:func:`grade` of one value; ``weak > strong`` where less is better."""
    share = (value - weak) / (strong - weak)
    # Six times as fast as min(max(…))
    if share <= 0.0:
        return FLOOR
    return 1.0 if share >= 1.0 else FLOOR + (1.0 - FLOOR) * share


def mean_of_two(first: float, second: float) -> float:
    """:func:`both` of one formation."""
    return sqrt(first * second)


def mean_of_four(first: float, second: float, third: float, fourth: float) -> float:
    """:func:`confidence` of one formation: of four components of any kind."""
    return sqrt(sqrt(first * second * (third * fourth)))
