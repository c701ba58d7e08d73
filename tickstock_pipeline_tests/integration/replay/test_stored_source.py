"""Bars of our own tables, served again."""

from datetime import date

import numpy as np
import pytest
import sqlalchemy as sa

from tickstock_pipeline.errors import UnknownSymbolError
from tickstock_pipeline.market.adjustment import Dividend, Split
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.replay.stored import StoredSource
from tickstock_pipeline.storage.bars import write_bars
from tickstock_pipeline.storage.dividends import write_dividends
from tickstock_pipeline.storage.splits import write_splits
from tickstock_pipeline.storage.symbols import add_symbols

YEAR = date(2005, 1, 1), date(2005, 12, 31)


@pytest.fixture
def filled(engine: sa.Engine, bars_of_2005: dict[str, Bars]) -> StoredSource:
    minute = Bars(
        "IBM",
        Timeframe.MINUTE,
        np.array(["2005-01-03T14:30", "2005-01-03T20:59", "2005-01-04T14:30"], "datetime64[us]"),
        *(np.array([97.0, 98.0, 99.0]),) * 4,
        np.array([1, 2, 3]),
    )
    with engine.begin() as connection:
        add_symbols(connection, ["IBM", "AAPL", "NONE"])
        write_bars(connection, list(bars_of_2005.values()), "test")
        write_bars(connection, [minute], "test")
        write_splits(connection, [Split("AAPL", date(2005, 2, 28), 2.0)], "test")
        write_dividends(connection, [Dividend("IBM", date(2005, 2, 8), 0.18)], "test")
    return StoredSource(engine)


def test_symbols_with_bars_are_listed_those_of_the_product_first(filled: StoredSource) -> None:
    listings = filled.listings()

    assert [listing.symbol for listing in listings] == ["IBM", "AAPL", "BRK.B"]
    assert (listings[0].first, listings[0].last) == (date(2005, 1, 3), date(2005, 12, 30))


def test_days_come_back_as_stored(filled: StoredSource, bars_of_2005: dict[str, Bars]) -> None:
    found = filled.bars("AAPL", Timeframe.DAILY, *YEAR)

    assert found.time.tolist() == bars_of_2005["AAPL"].time.tolist()
    assert found.close.tolist() == bars_of_2005["AAPL"].close.tolist()


def test_minutes_of_a_date_on_the_exchange(filled: StoredSource) -> None:
    assert filled.bars("IBM", Timeframe.MINUTE, YEAR[0], date(2005, 1, 3)).close.tolist() == [97.0, 98.0]
    assert filled.bars("IBM", Timeframe.MINUTE, date(2005, 1, 4), YEAR[1]).close.tolist() == [99.0]


def test_splits_and_dividends_come_back(filled: StoredSource) -> None:
    assert filled.splits("AAPL") == (Split("AAPL", date(2005, 2, 28), 2.0),)
    assert filled.dividends("IBM") == (Dividend("IBM", date(2005, 2, 8), 0.18),)


def test_a_symbol_without_bars_of_a_kind_is_not_unknown(filled: StoredSource) -> None:
    assert len(filled.bars("AAPL", Timeframe.MINUTE, *YEAR)) == 0
    with pytest.raises(UnknownSymbolError):
        filled.bars("NONE", Timeframe.DAILY, *YEAR)
