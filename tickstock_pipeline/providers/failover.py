"""Several providers as one: each symbol from the first of them that can give it.

1. A question goes to the providers in their order. One is passed over without being asked where it does not have the
   timeframe, where the range begins before its history, and while it is left out (see 5).
2. What it answers is taken whole. One that refuses, does not answer, has no quota left, answers what cannot be
   trusted or does not know the symbol is passed over with its reason.
3. Bars that another provider than the first gave say so, with the reasons of those before it.
4. Where none of them gives the whole range, one whose history begins within it gives what it has, and it is said from
   which date on (``begins``).
5. One that fails for several symbols in a row is left out for a while, which doubles each time that it fails again.
   After it, one question goes to it, and the rest follow once that is answered. Where no other provider can help, one
   that is left out is asked all the same. See :mod:`tickstock_pipeline.providers.failover_member`.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import partial
from typing import TypeVar

from tickstock_pipeline.errors import (
    NotInPlanError,
    ProviderError,
    ProviderRefusedError,
    ProviderUnavailableError,
    RateLimitedError,
    UnknownSymbolError,
)
from tickstock_pipeline.market.adjustment import Dividend, Split
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.base import FetchedBars, HistoricalProvider, Listing, SplitsOfAnother
from tickstock_pipeline.providers.failover_member import Member

T = TypeVar("T")


class FailoverProvider:
    """Providers in the order in which they are asked.

    Parameters
    ----------
    providers : at least one; the first gives its name to all of them
    now : the time in UTC, from which histories are counted
    clock : seconds, monotonic
    """

    def __init__(
        self,
        providers: Sequence[HistoricalProvider],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not providers:
            raise ValueError("at least one provider is needed")
        self._members = [Member(provider, clock) for provider in providers]
        self._now = now

    @property
    def name(self) -> str:
        """The first one's."""
        return self._members[0].provider.name

    @property
    def timeframes(self) -> frozenset[Timeframe]:
        """What any of them has."""
        return frozenset().union(*(member.provider.timeframes for member in self._members))

    @property
    def concurrency(self) -> int:
        """The largest of theirs; each is held to its own."""
        return max(member.provider.concurrency for member in self._members)

    def earliest(self, timeframe: Timeframe, today: date) -> date | None:
        """The earliest of those that have the timeframe; None if one of them says nothing."""
        days = [
            member.provider.earliest(timeframe, today)
            for member in self._members
            if timeframe in member.provider.timeframes
        ]
        known = [day for day in days if day is not None]
        return min(known) if known and len(known) == len(days) else None

    def fetch_bars(self, symbol: str, timeframe: Timeframe, first: date, last: date) -> FetchedBars:
        """See :meth:`HistoricalProvider.fetch_bars`."""
        if timeframe not in self.timeframes:
            raise ProviderError(
                f"None of the providers {self._names()} has {timeframe.value} bars.",
                advice="Ask for daily or 1min bars; the others are rolled up from them.",
            )
        today = self._now().date()

        def obstacle(provider: HistoricalProvider) -> str:
            if timeframe not in provider.timeframes:
                return f"it has no {timeframe.value} bars"
            earliest = provider.earliest(timeframe, today)
            return f"its history begins on {earliest}" if earliest is not None and first < earliest else ""

        def bars_of(provider: HistoricalProvider, reasons: str) -> FetchedBars:
            fetched = provider.fetch_bars(symbol, timeframe, first, last)
            if provider is self._members[0].provider:
                return fetched
            return replace(fetched, source=provider.name, reason=reasons)

        what = f"{timeframe.value} bars of {symbol}"
        try:
            return self._first_answer(symbol, what, bars_of, obstacle)
        except NotInPlanError:
            # the one that refused has newer dates, and maybe more of them than another
            raise
        except ProviderError as error:
            reasons = error.message.removeprefix(_nobody_gave(what))
            found = self._newer_part(symbol, timeframe, (first, last), reasons)
            if found is None:
                raise
            return found

    def _newer_part(
        self, symbol: str, timeframe: Timeframe, dates: tuple[date, date], reasons: str
    ) -> FetchedBars | None:
        """What the first one has that can give the end of a range, though not its beginning."""
        first, last = dates
        for member in self._members:
            provider = member.provider
            earliest = provider.earliest(timeframe, self._now().date()) if timeframe in provider.timeframes else None
            if earliest is None or not first < earliest <= last:
                continue
            with suppress(ProviderError):
                fetched = member.ask(symbol, partial(provider.fetch_bars, symbol, timeframe, earliest, last))
                source = "" if member is self._members[0] else provider.name
                return replace(fetched, source=source, reason=reasons, begins=earliest)
        return None

    def fetch_splits(self, symbol: str) -> tuple[Split, ...]:
        """See :meth:`HistoricalProvider.fetch_splits`."""

        def splits_of(provider: HistoricalProvider, _: str) -> tuple[Split, ...]:
            found = provider.fetch_splits(symbol)
            return found if provider is self._members[0].provider else SplitsOfAnother(found)

        return self._first_answer(symbol, f"splits of {symbol}", splits_of, lambda _: "")

    def fetch_dividends(self, symbol: str) -> tuple[Dividend, ...]:
        """See :meth:`HistoricalProvider.fetch_dividends`."""
        return self._first_answer(
            symbol, f"dividends of {symbol}", lambda provider, _: provider.fetch_dividends(symbol), lambda _: ""
        )

    def catalogue(self) -> tuple[Listing, ...]:
        """The first one's: what another has says nothing about how far the first one's bars reach."""
        return self._members[0].provider.catalogue()

    def _first_answer(
        self,
        symbol: str,
        what: str,
        ask: Callable[[HistoricalProvider, str], T],
        obstacle: Callable[[HistoricalProvider], str],
    ) -> T:
        reasons: dict[str, str] = {}
        errors: list[ProviderError] = []
        left_out: list[Member] = []

        def answer_of(member: Member) -> T:
            name = member.provider.name
            others = _listed({other: reason for other, reason in reasons.items() if other != name})
            try:
                return member.ask(symbol, lambda: ask(member.provider, others))
            except ProviderError as error:
                reasons[name] = error.message
                errors.append(error)
                raise

        for member in self._members:
            if reason := obstacle(member.provider):
                reasons[member.provider.name] = reason
            elif reason := member.rest():
                reasons[member.provider.name] = reason
                left_out.append(member)
            else:
                with suppress(ProviderError):
                    return answer_of(member)
        for member in left_out:
            with suppress(ProviderError):
                return answer_of(member)
        raise _all_failed(what, reasons, errors)

    def _names(self) -> str:
        return ", ".join(member.provider.name for member in self._members)


def _listed(reasons: dict[str, str]) -> str:
    return "; ".join(f"{name}: {reason}" for name, reason in reasons.items())


def _nobody_gave(what: str) -> str:
    return f"No provider gave {what}. "


def _all_failed(what: str, reasons: dict[str, str], errors: Sequence[ProviderError]) -> ProviderError:
    message = f"{_nobody_gave(what)}{_listed(reasons)}"
    advice = next((error.advice for error in errors if error.advice), "Name another provider in TICKSTOCK_PROVIDER.")
    limited = [error for error in errors if isinstance(error, RateLimitedError)]
    if limited:
        waits = [error.retry_after_seconds for error in limited if error.retry_after_seconds is not None]
        return RateLimitedError(message, retry_after_seconds=min(waits, default=None), advice=advice)
    if any(isinstance(error, ProviderUnavailableError) for error in errors):
        return ProviderUnavailableError(message, advice=advice)
    if errors and all(isinstance(error, UnknownSymbolError) for error in errors):
        return UnknownSymbolError(message, advice=advice)
    if errors and all(isinstance(error, ProviderRefusedError | UnknownSymbolError) for error in errors):
        # newer dates may be had from the one whose plan they are in
        is_partly = any(isinstance(error, NotInPlanError) for error in errors)
        return (NotInPlanError if is_partly else ProviderRefusedError)(message, advice=advice)
    return ProviderError(message, advice=advice)
