"""How far back the account's plan at a provider reaches, where the provider itself does not know.

A plan that has five years refuses every range that begins earlier, without saying which part of it could be had. So the
first refusal is followed by a search: single weeks are asked for until the first day that is granted is known. What
lies before it is not asked for again. Of another symbol that is refused the same day is tried first.
"""

import threading
from datetime import date, timedelta

from tickstock_pipeline.errors import NotInPlanError
from tickstock_pipeline.market.bar import empty_bars
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.base import FetchedBars, HistoricalProvider

_DAY = timedelta(days=1)


class PlanHistory:
    """Bars as far as the plan reaches, of one timeframe; may be used by several threads.

    Parameters
    ----------
    until : the newest date that is worth asking for
    """

    def __init__(self, provider: HistoricalProvider, timeframe: Timeframe, until: date) -> None:
        self._provider = provider
        self.timeframe = timeframe
        self._until = until
        self._begins: dict[str, date] = {}
        self._found: date | None = None
        self._search = threading.Lock()

    def begins(self, symbol: str) -> date | None:
        """The first date that the plan has of a symbol, once it has refused one; None: it has refused none."""
        return self._begins.get(symbol)

    def fetch_bars(self, symbol: str, first: date, last: date) -> FetchedBars:
        """See :meth:`HistoricalProvider.fetch_bars`; what lies before :meth:`begins` is left out.

        Raises
        ------
        NotInPlanError
            If the plan does not have the symbol, however new the bars are.
        """
        try:
            return self._from(symbol, first, last)
        except NotInPlanError:
            # one thread searches, the others learn from it
            with self._search:
                if self._begins.get(symbol, first) <= first:
                    self._begins[symbol] = self._found = self._first_granted(symbol, first)
            return self._from(symbol, first, last)

    def _from(self, symbol: str, first: date, last: date) -> FetchedBars:
        start = max(first, self._begins.get(symbol, first))
        if start > last:
            return FetchedBars(empty_bars(symbol, self.timeframe))
        return self._provider.fetch_bars(symbol, self.timeframe, start, last)

    def _first_granted(self, symbol: str, refused: date) -> date:
        hint = self._found
        if hint is not None and hint > refused and self._is_granted(symbol, hint):
            return hint
        granted = self._until
        # a symbol that the plan lacks altogether is refused now as well
        self._provider.fetch_bars(symbol, self.timeframe, granted, granted)
        while granted - refused > _DAY:
            middle = refused + (granted - refused) / 2
            if self._is_granted(symbol, middle):
                granted = middle
            else:
                refused = middle
        return granted

    def _is_granted(self, symbol: str, day: date) -> bool:
        try:
            # a day without a session is not asked for; a holiday and a weekend are four of them at most
            self._provider.fetch_bars(symbol, self.timeframe, day, min(day + 6 * _DAY, self._until))
        except NotInPlanError:
            return False
        return True
