"""What every provider of historical data does; the tests of each inherit :class:`ProviderContract`."""

import json
from datetime import date, timedelta

import numpy as np
import pytest

from tickstock_pipeline.errors import ProviderError, UnknownSymbolError
from tickstock_pipeline.market.bar import Bars, refusal_reasons
from tickstock_pipeline.market.calendar import exchange_date, trading_calendar
from tickstock_pipeline.market.symbol import normalise_symbol
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.base import HistoricalProvider


class ProviderContract:
    """Subclasses give the fixture ``provider`` and set the class attributes to facts about what it holds.

    Attributes
    ----------
    symbol, timeframe : something the provider has
    first, last : sessions, between which it has bars on every session
    raw_close : a date and the close as traded then, before a later split, so that adjusted prices would differ
    """

    symbol: str
    timeframe: Timeframe
    first: date
    last: date
    raw_close: tuple[date, float]

    def fetch(self, provider: HistoricalProvider, first: date, last: date) -> Bars:
        return provider.fetch_bars(self.symbol, self.timeframe, first, last).bars

    def dates(self, bars: Bars) -> list[date]:
        return (exchange_date(bars.time) if bars.timeframe.is_intraday else bars.time.astype("datetime64[D]")).tolist()

    def test_name_is_a_word(self, provider: HistoricalProvider) -> None:
        assert provider.name.isidentifier()
        assert provider.name == provider.name.lower()

    def test_bars_are_of_what_was_asked_for(self, provider: HistoricalProvider) -> None:
        bars = self.fetch(provider, self.first, self.last)
        assert (bars.symbol, bars.timeframe) == (self.symbol, self.timeframe)

    def test_bars_are_sorted_and_unique_and_of_the_types_that_are_promised(self, provider: HistoricalProvider) -> None:
        bars = self.fetch(provider, self.first, self.last)
        assert len(bars) > 1
        assert (np.diff(bars.time) > np.timedelta64(0)).all()
        assert bars.time.dtype == np.dtype("datetime64[us]")
        assert bars.volume.dtype == np.int64
        assert all(getattr(bars, name).dtype == np.float64 for name in ("open", "high", "low", "close"))

    def test_bars_break_no_rule(self, provider: HistoricalProvider) -> None:
        bars = self.fetch(provider, self.first, self.last)
        assert not any(refusal_reasons(bars.open, bars.high, bars.low, bars.close, bars.volume.astype(np.float64)))

    def test_range_includes_its_first_and_last_day_and_no_other(self, provider: HistoricalProvider) -> None:
        sessions = trading_calendar().sessions(self.first, self.last).tolist()
        inner = self.dates(self.fetch(provider, sessions[1], sessions[-2]))
        assert (inner[0], inner[-1]) == (sessions[1], sessions[-2])
        assert set(inner) == set(sessions[1:-1])

    def test_two_ranges_that_meet_give_what_the_whole_gives(self, provider: HistoricalProvider) -> None:
        middle = self.first + (self.last - self.first) / 2
        whole = self.fetch(provider, self.first, self.last)
        parts = [
            self.fetch(provider, self.first, middle),
            self.fetch(provider, middle + timedelta(days=1), self.last),
        ]
        for name in ("time", "open", "high", "low", "close", "volume"):
            np.testing.assert_array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(whole, name))

    def test_the_same_question_has_the_same_answer(self, provider: HistoricalProvider) -> None:
        once, again = (self.fetch(provider, self.first, self.last) for _ in range(2))
        np.testing.assert_array_equal(once.time, again.time)
        np.testing.assert_array_equal(once.close, again.close)

    def test_prices_are_as_traded(self, provider: HistoricalProvider) -> None:
        day, close = self.raw_close
        assert self.fetch(provider, day, day).close.tolist()[-1] == pytest.approx(close, rel=1e-9)
        assert any(split.ex_date > day for split in provider.fetch_splits(self.symbol))

    @pytest.mark.parametrize(
        ("first", "last"),
        [
            (date(1800, 1, 1), date(1800, 12, 31)),
            (date(2013, 3, 30), date(2013, 3, 31)),  # a weekend
            (date(2010, 6, 2), date(2010, 6, 1)),
        ],
    )
    def test_range_without_a_bar_gives_no_bars_and_no_error(
        self, provider: HistoricalProvider, first: date, last: date
    ) -> None:
        fetched = provider.fetch_bars(self.symbol, self.timeframe, first, last)
        assert len(fetched.bars) == 0
        assert (fetched.bars.symbol, fetched.bars.timeframe) == (self.symbol, self.timeframe)

    def test_unknown_symbol_is_refused_by_name(self, provider: HistoricalProvider) -> None:
        with pytest.raises(UnknownSymbolError, match="NOSUCHSYMBOL"):
            provider.fetch_bars("NOSUCHSYMBOL", self.timeframe, self.first, self.last)
        with pytest.raises(UnknownSymbolError, match="NOSUCHSYMBOL"):
            provider.fetch_splits("NOSUCHSYMBOL")

    @pytest.mark.parametrize("timeframe", list(Timeframe))
    def test_timeframe_that_it_does_not_have_is_refused(
        self, provider: HistoricalProvider, timeframe: Timeframe
    ) -> None:
        if timeframe not in provider.timeframes:
            with pytest.raises(ProviderError, match=timeframe.value) as refused:
                provider.fetch_bars(self.symbol, timeframe, self.first, self.last)
            assert refused.value.advice
            assert not isinstance(refused.value, UnknownSymbolError)

    def test_splits_are_of_the_symbol_and_oldest_first(self, provider: HistoricalProvider) -> None:
        splits = provider.fetch_splits(self.symbol)
        assert {split.symbol for split in splits} <= {self.symbol}
        assert [split.ex_date for split in splits] == sorted(split.ex_date for split in splits)

    def test_refused_bars_can_be_stored_as_json(self, provider: HistoricalProvider) -> None:
        for refused in provider.fetch_bars(self.symbol, self.timeframe, self.first, self.last).refused:
            assert refused.reason
            assert "\\u0000" not in json.dumps(refused.raw, allow_nan=False)

    def test_catalogue_lists_symbols_once_with_the_range_that_they_have(self, provider: HistoricalProvider) -> None:
        listings = provider.catalogue()
        assert len({listing.symbol for listing in listings}) == len(listings)
        assert listings == provider.catalogue()
        for listing in listings:
            assert normalise_symbol(listing.symbol) == listing.symbol
            assert listing.first <= listing.last
        for listing in listings:
            if listing.symbol == self.symbol:
                bars = self.fetch(provider, listing.first, listing.last)
                assert listing.first <= self.dates(bars)[0] <= self.dates(bars)[-1] <= listing.last
