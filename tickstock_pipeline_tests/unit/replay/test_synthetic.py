"""The universe that does not exist."""

from datetime import date

import numpy as np
import pytest

from tickstock_pipeline.errors import UnknownSymbolError
from tickstock_pipeline.market.bar import refusal_reasons
from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.replay.synthetic import SyntheticSource

FIRST, LAST = date(2012, 1, 1), date(2012, 12, 31)


def test_it_has_as_many_symbols_as_asked_for() -> None:
    assert [listing.symbol for listing in SyntheticSource(3, FIRST, LAST).listings()] == [
        "SYN0001",
        "SYN0002",
        "SYN0003",
    ]


def test_every_session_has_a_good_bar_in_cents() -> None:
    bars = SyntheticSource(1, FIRST, LAST).bars("SYN0001", Timeframe.DAILY, FIRST, LAST)
    prices = np.concatenate((bars.open, bars.high, bars.low, bars.close))

    assert bars.time.astype("datetime64[D]").tolist() == trading_calendar().sessions(FIRST, LAST).tolist()
    assert set(refusal_reasons(bars.open, bars.high, bars.low, bars.close, bars.volume * 1.0)) == {""}
    assert (np.rint(prices * 100) / 100 == prices).all()


def test_the_same_seed_gives_the_same_bars_and_another_one_others() -> None:
    closes = [
        SyntheticSource(2, FIRST, LAST, seed=seed).bars("SYN0002", Timeframe.DAILY, FIRST, LAST).close.tolist()
        for seed in (1, 1, 2)
    ]

    assert closes[0] == closes[1] != closes[2]


def test_a_symbol_beyond_the_last_is_unknown() -> None:
    with pytest.raises(UnknownSymbolError):
        SyntheticSource(1, FIRST, LAST).bars("SYN0002", Timeframe.DAILY, FIRST, LAST)


@pytest.mark.parametrize(("n_symbols", "first"), [(0, FIRST), (1, date(2012, 12, 30))])
def test_an_empty_universe_is_refused(n_symbols: int, first: date) -> None:
    with pytest.raises(ValueError, match="symbol|session"):
        SyntheticSource(n_symbols, first, date(2012, 12, 30))
