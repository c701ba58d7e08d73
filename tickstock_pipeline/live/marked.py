"""Candlesticks that recognisers marked at the newest bars of many series, graded together.

The newest bars of each marked series stand one after the other in one :class:`Measures`, as whole series do in a batch.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tickstock_pipeline.live.bar import RecentBars, newest_of_each
from tickstock_pipeline.live.plan import LivePlan
from tickstock_pipeline.patterns.detections import Detections
from tickstock_pipeline.patterns.grading import graded, part_of
from tickstock_pipeline.patterns.measures import WINDOW_BARS, Measures


class MarkedBar(NamedTuple):
    """The newest bar of a series that at least one recogniser marked.

    Attributes
    ----------
    series : whose it is, any number
    recent : bars of the series, that one the newest
    marks : one per candlestick of the plan; 0: not marked
    """

    series: int
    recent: RecentBars
    marks: Sequence[int]


def graded_marks(plan: LivePlan, marked: Sequence[MarkedBar]) -> dict[int, list[tuple[int, Detections]]]:
    """Detections among ``marked``: by series, the position of the definition and the detection of each."""
    ready = [bar for bar in marked if bar.recent.end - bar.recent.first >= WINDOW_BARS]
    if not ready:
        return {}
    windows = newest_of_each([bar.recent for bar in ready], WINDOW_BARS)
    newest = np.array([bar.recent.end - 1 for bar in ready])
    lasts = np.arange(1, len(ready) + 1) * WINDOW_BARS - 1
    marks = np.array([bar.marks for bar in ready])
    to_grade = []
    for column, candlestick in enumerate(plan.candlesticks):
        detector = candlestick.detector
        chosen = ((marks[:, column] != 0) & (newest >= detector.first)).nonzero()[0]
        to_grade.append(detector.marks(lasts[chosen], detector.directions(marks[chosen, column])))
    found: dict[int, list[tuple[int, Detections]]] = {}
    for candlestick, detections in zip(plan.candlesticks, graded(Measures(windows), to_grade), strict=True):
        rows = detections.index // WINDOW_BARS
        index = newest[rows]
        for place, row in enumerate(rows.tolist()):
            detection = part_of(detections, index, place, place + 1, detections.pattern)
            found.setdefault(ready[row].series, []).append((candlestick.position, detection))
    return found
