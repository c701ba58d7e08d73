"""What an analysis is fed: the stale part of each symbol's years, and its bars from the anchor on.

Where a year is covered and only its later bars have changed, what was analysed before them holds: it is neither read,
except as warm-up, nor computed. That is certain only in the transaction that stores the result: see
:meth:`StaleYear.holds_still`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import sqlalchemy as sa

from tickstock_pipeline.analysis import DefinitionSet
from tickstock_pipeline.batch.outcome import Outcome, Status
from tickstock_pipeline.batch.quality import refusal
from tickstock_pipeline.batch.series import Series, read_series
from tickstock_pipeline.batch.windows import Window, since
from tickstock_pipeline.market.bar import Bars, empty_bars
from tickstock_pipeline.market.calendar import TradingCalendar
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.storage.coverage import CoverageState, read_coverage
from tickstock_pipeline.storage.instants import plain
from tickstock_pipeline.storage.ledger import input_revisions

Span = tuple[int | None, int]
"""First and last year of what an analysis is fed with; None is open."""


@dataclass(frozen=True)
class StaleYear:
    """A year to analyse.

    Attributes
    ----------
    windows : in ascending order; they keep what is stale, and leave out what comes before it
    anchor : of the year as a whole
    holds_before : the first time that is stale, where what was analysed before it holds; None: nothing holds
    """

    windows: Sequence[Window]
    anchor: np.datetime64 | None
    holds_before: np.datetime64 | None

    def holds_still(self, known: CoverageState | None, digest: str) -> bool:
        """Whether what comes before the windows is analysed with the definitions of ``digest``.

        Parameters
        ----------
        known : as of the transaction that stores the result, after it has locked the input
        """
        if self.holds_before is None:
            return True
        if known is None or known.definition_digest != digest:
            return False
        return known.stale_from is None or bool(plain(known.stale_from) >= self.holds_before)


@dataclass(frozen=True)
class AnalysisInput:
    """One symbol's series, its stale years in ascending order, and the revision of what was read."""

    series: Series
    years: Mapping[int, StaleYear]
    revision: int

    @property
    def symbol(self) -> str:
        """Whose bars."""
        return self.series.bars.symbol

    def partitions(self) -> list[tuple[Partition, StaleYear]]:
        """The years as partitions."""
        return [(Partition(self.symbol, number), year) for number, year in self.years.items()]

    def bars_of(self, year: StaleYear) -> Bars:
        """The bars whose results are kept."""
        return self.series.bars.since(year.windows[0].first).until(year.windows[-1].last)

    def passes(self) -> Iterator[tuple[slice, list[Window]]]:
        """Windows that are fed from the same first bar, and the bars that they are fed."""
        time = self.series.bars.time
        by_start: dict[int, list[Window]] = {}
        for window in (window for year in self.years.values() for window in year.windows):
            start = 0 if window.anchor is None else int(np.searchsorted(time, window.anchor))
            by_start.setdefault(start, []).append(window)
        for start, found in by_start.items():
            yield slice(start, int(np.searchsorted(time, found[-1].last, side="right"))), found


def input_years(of_year: Mapping[int, Sequence[Window]]) -> Span:
    """First and last year of what the windows are fed with; None is open."""
    anchors = [window.anchor for found in of_year.values() for window in found]
    known = [anchor for anchor in anchors if anchor is not None]
    return None if len(known) < len(anchors) else min(known).astype(object).year, max(of_year)


def read_inputs(
    engine: sa.Engine,
    calendar: TradingCalendar,
    definitions: DefinitionSet,
    wanted: Mapping[str, Sequence[int]],
    of_year: Mapping[int, Sequence[Window]],
    span: Span,
) -> list[AnalysisInput | Outcome]:
    """What each symbol is fed with.

    Parameters
    ----------
    wanted : symbol -> stale years
    of_year : year -> its windows
    span : the years of which to note the revision

    Returns
    -------
    An input for each symbol, and the outcomes of what has none: UNCHANGED for a year that somebody else has analysed
    meanwhile, FAILED for those of a symbol one of whose bars breaks a rule.
    """
    timeframe, digest = definitions.timeframe, definitions.digest
    years: dict[str, dict[int, StaleYear]] = {}
    found: list[AnalysisInput | Outcome] = []
    with engine.connect() as connection:
        revisions = input_revisions(connection, timeframe, wanted, *span)
        # after the revisions: whatever makes more of it stale from here on changes them as well
        known = read_coverage(connection, timeframe, wanted)
        for symbol, numbers in wanted.items():
            for number in numbers:
                state = known.get((symbol, number))
                if state is not None and state.definition_digest == digest and state.stale_from is None:
                    found.append(Outcome(Partition(symbol, number), Status.UNCHANGED))
                else:
                    years.setdefault(symbol, {})[number] = _stale_year(of_year[number], state, digest)
        needed = [window for of_symbol in years.values() for year in of_symbol.values() for window in year.windows]
        if not needed:
            return found
        anchors = [window.anchor for window in needed]
        first = None if None in anchors else min(anchor for anchor in anchors if anchor is not None)
        last = max(window.last for window in needed)
        series = read_series(connection, calendar, timeframe, list(years), first, last)
    for symbol, of_symbol in years.items():
        fed = series.get(symbol) or Series(empty_bars(symbol, timeframe), np.empty(0))
        reason = refusal(fed.bars)
        if reason is None:
            found.append(AnalysisInput(fed, of_symbol, revisions[symbol]))
        else:
            found += [Outcome(Partition(symbol, year), Status.FAILED, error=reason) for year in of_symbol]
    return found


def _stale_year(of_year: Sequence[Window], known: CoverageState | None, digest: str) -> StaleYear:
    anchor = of_year[0].anchor
    first_stale = None if known is None or known.stale_from is None else plain(known.stale_from)
    if (
        known is None
        or known.definition_digest != digest
        or first_stale is None
        or first_stale <= of_year[0].first
        # weeks and months are read from the first one on anyway, and are few
        or anchor is None
    ):
        return StaleYear(of_year, anchor, None)
    return StaleYear(since(of_year, first_stale), anchor, first_stale)
