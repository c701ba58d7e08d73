"""Detections of one pattern, as columns, and what is read off them.

A detection stands at the bar at which it is known: the last bar of its formation, or the bar that confirms it.
Confidence is a measure of form, 0 to 1: how clearly the bars show the pattern. It is no probability of anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from tickstock_pipeline.market.bar import BoolArray, FloatArray, IntArray

DirectionArray = NDArray[np.int8]

BULLISH, NEUTRAL, BEARISH = 1, 0, -1
DIRECTION_NAMES: Mapping[int, str] = {BULLISH: "bullish", NEUTRAL: "neutral", BEARISH: "bearish"}

STRONG_CONFIDENCE = 0.7
MODERATE_CONFIDENCE = 0.5


@dataclass(frozen=True, slots=True)
class Detections:
    """Detections of one pattern in one series, oldest first.

    Attributes
    ----------
    pattern : the definition's name
    index : (n,) int64, position of the bar at which each is known
    direction : (n,) int8, +1 bullish, 0 neutral, -1 bearish
    confidence : (n,) float64 in [0, 1]
    formation_bars : (n,) int64, bars that the formation spans
    volume_confirmed : (n,) bool, whether volume was well above its recent mean
    levels : price levels by name, (n,) float64 each, positive, in the prices analysed; NaN = that one has none
    context : what the bars looked like, by name, (n,) float64 each, finite
    """

    pattern: str
    index: IntArray
    direction: DirectionArray
    confidence: FloatArray
    formation_bars: IntArray
    volume_confirmed: BoolArray
    levels: Mapping[str, FloatArray]
    context: Mapping[str, FloatArray]

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: slice | IntArray | BoolArray) -> Self:
        """Some of the detections: a slice, a mask or an index array."""
        return replace(
            self,
            index=self.index[index],
            direction=self.direction[index],
            confidence=self.confidence[index],
            formation_bars=self.formation_bars[index],
            volume_confirmed=self.volume_confirmed[index],
            levels={name: values[index] for name, values in self.levels.items()},
            context={name: values[index] for name, values in self.context.items()},
        )


class Detection(NamedTuple):
    """One detection, without its bar: an element of :class:`Detections`, as a formation followed bar by bar gives it.

    Attributes
    ----------
    direction, confidence, formation_bars, volume_confirmed, levels, context : as in :class:`Detections`; each pattern
        has the same levels and the same context in all its detections
    """

    direction: int
    confidence: float
    formation_bars: int
    volume_confirmed: bool
    levels: Mapping[str, float]
    context: Mapping[str, float]


def in_columns(
    pattern: str, found: Sequence[tuple[int, Detection]], levels: Sequence[str], context: Sequence[str]
) -> Detections:
    """Detections as columns.

    Parameters
    ----------
    pattern : its name
    found : position of the bar and detection, oldest first, at most one at a bar
    levels, context : the names that the pattern's detections have, for when there is none
    """
    if not found:
        return _none(pattern, tuple(levels), tuple(context))
    return Detections(
        pattern=pattern,
        index=np.array([at for at, _ in found], np.int64),
        direction=np.array([one.direction for _, one in found], np.int8),
        confidence=np.array([one.confidence for _, one in found], np.float64),
        formation_bars=np.array([one.formation_bars for _, one in found], np.int64),
        volume_confirmed=np.array([one.volume_confirmed for _, one in found], np.bool_),
        levels={name: np.array([one.levels[name] for _, one in found], np.float64) for name in levels},
        context={name: np.array([one.context[name] for _, one in found], np.float64) for name in context},
    )


@cache
def _none(pattern: str, levels: Sequence[str], context: Sequence[str]) -> Detections:
    floats = np.empty(0, np.float64)
    integers = np.empty(0, np.int64)
    return Detections(
        pattern,
        integers,
        np.empty(0, np.int8),
        floats,
        integers,
        np.empty(0, np.bool_),
        dict.fromkeys(levels, floats),
        dict.fromkeys(context, floats),
    )


def signal_strength(confidence: float) -> str:
    """``strong`` from 0.7, ``moderate`` from 0.5, else ``weak``."""
    if confidence >= STRONG_CONFIDENCE:
        return "strong"
    return "moderate" if confidence >= MODERATE_CONFIDENCE else "weak"
