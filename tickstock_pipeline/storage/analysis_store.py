"""Storing the analysis of many symbols at once, in the caller's transaction.

Nothing is written that is there already, so a repeated analysis of the same bars writes no row. Rows are written in
the order of their keys. Coverage and the locking of inputs are the caller's: see ``ledger`` and ``coverage``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import sqlalchemy as sa

from tickstock_pipeline.analysis import DefinitionSet
from tickstock_pipeline.storage.analysed_window import AnalysedWindow
from tickstock_pipeline.storage.bar_indicators import write_bar_indicators
from tickstock_pipeline.storage.detections import RetractedDetection, write_detections
from tickstock_pipeline.storage.latest_indicators import write_latest_indicators


@dataclass(frozen=True, slots=True)
class AnalysisCounts:
    """Rows that a write touched.

    Attributes
    ----------
    indicator_rows, indicator_rows_deleted : bars whose indicator values were written; whose bar is gone
    patterns_found, patterns_changed, patterns_retracted : detections that are new or have come back; that hold with
        other values; that no longer hold
    latest_rows : symbols whose latest values were written or deleted
    retracted : the detections that no longer hold
    """

    indicator_rows: int = 0
    indicator_rows_deleted: int = 0
    patterns_found: int = 0
    patterns_changed: int = 0
    patterns_retracted: int = 0
    latest_rows: int = 0
    retracted: tuple[RetractedDetection, ...] = field(default=(), repr=False, compare=False)

    @property
    def total(self) -> int:
        """0 if everything was there already."""
        return (
            self.indicator_rows
            + self.indicator_rows_deleted
            + self.patterns_found
            + self.patterns_changed
            + self.patterns_retracted
            + self.latest_rows
        )


def write_analysis(
    connection: sa.Connection, definitions: DefinitionSet, items: Sequence[AnalysedWindow]
) -> AnalysisCounts:
    """Replace what is stored for the items' windows.

    Parameters
    ----------
    definitions : what was run; its timeframe is the rows'
    items : one for each symbol and window

    Raises
    ------
    ValueError
        If an item's analysis has another timeframe or other outputs than ``definitions``, or windows of one symbol
        overlap.
    """
    ordered = sorted(items, key=lambda item: (item.symbol, item.first_time))
    _check(definitions, ordered)
    if not ordered:
        return AnalysisCounts()
    indicator_rows, indicator_rows_deleted = write_bar_indicators(connection, definitions, ordered)
    found, changed, retracted = write_detections(connection, definitions.timeframe, ordered)
    return AnalysisCounts(
        indicator_rows=indicator_rows,
        indicator_rows_deleted=indicator_rows_deleted,
        patterns_found=found,
        patterns_changed=changed,
        patterns_retracted=len(retracted),
        retracted=tuple(retracted),
        latest_rows=write_latest_indicators(connection, ordered),
    )


def _check(definitions: DefinitionSet, items: Sequence[AnalysedWindow]) -> None:
    for item in items:
        if item.analysis.bars.timeframe != definitions.timeframe or item.analysis.outputs != definitions.outputs:
            raise ValueError(f"the analysis of {item.symbol} was not made with these definitions")
    for item, following in pairwise(items):
        if item.symbol == following.symbol and item.last_time >= following.first_time:
            raise ValueError(f"windows of {item.symbol} overlap")
