"""Yahoo's prices turned back into the prices that were traded.

Yahoo adjusts every price and volume for every later split, whatever it is asked for: prices are divided by the ratio,
volumes multiplied. Bars are stored as traded, so this is undone with the splits that came in the same answer:

1. A row before a split is multiplied by its ratio, a row before several by their product; its volume is divided.
2. Yahoo keeps six decimals of an adjusted price and sends them as a float of 32 bits. Multiplied by a ratio of 28 the
   error is 1e-4, so 702.10 comes back as 702.100021. The price that was traded is taken to be the number with the
   fewest decimals, two to six, that lies within this error. A larger price never becomes the smaller one.
3. Sometimes Yahoo lists a new split days before it adjusts the prices before it. The jump at the split shows it, and
   undoing what was never done would multiply those prices; such an answer must not be used. Nor must one be in which
   nothing was traded since a split of these days, as on its morning: it cannot be told which prices these are.
"""

import math
from collections.abc import Iterable
from datetime import date

import numpy as np

from tickstock_pipeline.market.adjustment import Split
from tickstock_pipeline.market.bar import FloatArray, TimeArray

_YAHOO_DECIMALS = 6
_FLOAT32_ERROR = 2.0**-24
_FEWEST_DECIMALS = 2
# The multiplication here rounds as well, in the sixteenth digit.
_SLACK = 1.000001

# The jump of a price that has not been adjusted is the ratio, but for one night's change of the market. Below a ratio
# of 3:2 the two cannot be told apart.
_SMALLEST_RATIO_SEEN = math.log(1.4)
_TOLERANCE = 0.25
_LONGEST_GAP = np.timedelta64(10, "D")


def as_traded(prices: FloatArray, divisors: FloatArray) -> FloatArray:
    """Prices, or amounts for one share, before Yahoo adjusted them.

    Parameters
    ----------
    prices : (n,) float64, as Yahoo gives them; NaN where there is none
    divisors : (n,) float64, what Yahoo divided each by, see :func:`market.adjustment.price_divisors`

    Returns
    -------
    (n,) float64; never further from ``prices * divisors`` than Yahoo's own rounding, or than half of the sixth decimal.
    """
    undone = prices * divisors
    error = divisors * (0.5 * 10.0**-_YAHOO_DECIMALS + np.abs(prices) * _FLOAT32_ERROR) * _SLACK
    traded: FloatArray = np.round(undone, _YAHOO_DECIMALS)
    for decimals in range(_YAHOO_DECIMALS - 1, _FEWEST_DECIMALS - 1, -1):
        rounded = np.round(undone, decimals)
        traded = np.where(np.abs(rounded - undone) <= error, rounded, traded)
    return traded


def volume_as_traded(volume: FloatArray, divisors: FloatArray) -> FloatArray:
    """Volumes before Yahoo adjusted them: (n,) float64, whole shares."""
    return np.rint(volume / divisors)


def undecided_split(days: TimeArray, splits: Iterable[Split], today: date) -> Split | None:
    """The first split of the last days that no row follows; None if there is none.

    Parameters
    ----------
    days : (n_rows,) datetime64[D], ascending, dates on the exchange
    splits : of the same answer
    """
    for split in splits:
        is_recent = np.datetime64(today, "D") - np.datetime64(split.ex_date, "D") <= _LONGEST_GAP
        if is_recent and len(days) and days[-1] < np.datetime64(split.ex_date, "D"):
            return split
    return None


def unadjusted_split(days: TimeArray, open_: FloatArray, close: FloatArray, splits: Iterable[Split]) -> Split | None:
    """The first split that Yahoo lists and has not adjusted the prices before it for; None if there is none.

    Splits below 3:2, and those without a price within days on both sides, cannot be judged and count as adjusted.

    Parameters
    ----------
    days : (n_rows,) datetime64[D], ascending, dates on the exchange
    open_, close : (n_rows,) float64, as Yahoo gives them
    splits : of the same answer
    """
    for split in splits:
        ratio = math.log(split.ratio)
        at = int(np.searchsorted(days, np.datetime64(split.ex_date, "D")))
        if abs(ratio) < _SMALLEST_RATIO_SEEN or at in (0, len(days)) or days[at] - days[at - 1] > _LONGEST_GAP:
            continue
        before, after = float(close[at - 1]), float(open_[at])
        if before > 0 and after > 0 and abs(math.log(before / after) - ratio) < _TOLERANCE * abs(ratio):
            return split
    return None
