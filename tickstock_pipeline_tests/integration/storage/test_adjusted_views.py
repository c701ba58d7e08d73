"""Dividends, and the views of adjusted daily bars, against real prices and the arithmetic of the analysis."""

import csv
import gzip
import importlib.util
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tickstock_pipeline.market.adjustment import Dividend, Split, price_divisors, split_adjusted
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.sample import SampleProvider
from tickstock_pipeline.storage.bars import write_bars
from tickstock_pipeline.storage.dividends import read_dividends, write_dividends
from tickstock_pipeline.storage.splits import write_splits

ADJUSTED = "SELECT * FROM adjusted_ohlcv_daily WHERE symbol = :symbol ORDER BY date"
TOTAL_RETURN = "SELECT * FROM total_return_daily WHERE symbol = :symbol ORDER BY date"

# Apple's press releases on its quarterly results: $2.65 a share, ex-dates by Nasdaq's dividend history
APPLE_DIVIDENDS = tuple(Dividend("AAPL", day, 2.65) for day in (date(2012, 8, 9), date(2012, 11, 7), date(2013, 2, 7)))


def rows_of(connection: sa.Connection, query: str, symbol: str = "X") -> list[sa.Row[tuple[object, ...]]]:
    return list(connection.execute(sa.text(query), {"symbol": symbol}))


def flat(symbol: str, days: list[str], prices: list[float], volumes: list[int] | None = None) -> Bars:
    price = np.array(prices)
    volume = np.array(volumes or [100] * len(days))
    return Bars(symbol, Timeframe.DAILY, np.array(days, "datetime64[us]"), price, price, price, price, volume)


def published_adjusted_closes(symbol: str) -> dict[date, float]:
    """Closes adjusted for splits and dividends by whoever published the sample data, not by us."""
    spec = importlib.util.find_spec("bokeh_sampledata")
    assert spec is not None
    assert spec.submodule_search_locations
    path = Path(spec.submodule_search_locations[0]) / "_data" / "stocks.csv.gz"
    with gzip.open(path, "rt") as file:
        return {
            date.fromisoformat(row["Date"]): float(row["Adj Close"])
            for row in csv.DictReader(file)
            if row["Ticker"] == symbol
        }


@pytest.fixture
def apple(engine: sa.Engine) -> sa.Engine:
    """AAPL's bars of 2000-03-01 to 2013-03-01 as traded, with its splits and dividends of that time."""
    provider = SampleProvider()
    fetched = provider.fetch_bars("AAPL", Timeframe.DAILY, date(2000, 1, 1), date(2013, 12, 31))
    with engine.begin() as connection:
        write_bars(connection, [fetched.bars], "sample")
        write_splits(connection, provider.fetch_splits("AAPL"), "sample")
        write_dividends(connection, APPLE_DIVIDENDS, "test")
    return engine


def test_apple_before_its_split_of_2005_is_at_half_its_price_and_double_its_volume(apple: sa.Engine) -> None:
    with apple.connect() as connection:
        rows = {row.date: row for row in rows_of(connection, ADJUSTED, "AAPL")}

    friday, monday, before_both = rows[date(2005, 2, 25)], rows[date(2005, 2, 28)], rows[date(2000, 6, 20)]
    # traded: 89.62, 89.91, 88.19, 88.99, 16,348,400 shares
    assert tuple(friday)[2:] == (44.81, 44.955, 44.095, 44.495, 32_696_800, 2.0)
    assert tuple(monday)[2:] == (44.68, 45.14, 43.96, 44.86, 11_635_900, 1.0)
    # two splits of 2:1 followed; traded at 101.25
    assert (before_both.close, before_both.split_divisor) == (25.3125, 4.0)


def test_total_returns_of_apple_are_those_that_others_publish(apple: sa.Engine) -> None:
    published = published_adjusted_closes("AAPL")
    with apple.connect() as connection:
        rows = rows_of(connection, TOTAL_RETURN, "AAPL")

    ours = np.array([row.total_return_close for row in rows])
    theirs = np.array([published[row.date] for row in rows])
    assert len(rows) == 3270
    # theirs are also adjusted for what came after the last bar, which is one factor for all of them
    np.testing.assert_allclose(ours / ours[-1], theirs / theirs[-1], rtol=1e-9)


def test_a_day_with_a_dividend_returns_its_price_change_and_the_dividend(apple: sa.Engine) -> None:
    with apple.connect() as connection:
        rows = {row.date: row for row in rows_of(connection, TOTAL_RETURN, "AAPL")}

    before, ex_date = rows[date(2013, 2, 6)], rows[date(2013, 2, 7)]
    assert ex_date.total_return_close / before.total_return_close == pytest.approx((468.22 + 2.65) / 457.35, rel=1e-14)
    assert (ex_date.close, ex_date.dividend_factor, ex_date.total_return_close) == (468.22, 1.0, 468.22)
    assert before.close == 457.35


def test_a_dividend_whose_ex_date_has_no_bar_yet_changes_nothing(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        write_bars(connection, [flat("X", ["2026-03-02", "2026-03-03"], [10.0, 11.0])], "test")
        write_dividends(connection, [Dividend("X", date(2026, 3, 4), 1.0)], "test")
        assert [row.total_return_close for row in rows_of(connection, TOTAL_RETURN)] == [10.0, 11.0]
        write_bars(connection, [flat("X", ["2026-03-05"], [9.0])], "test")
        assert [row.total_return_close for row in rows_of(connection, TOTAL_RETURN)] == [9.0, 9.9, 9.0]


def test_a_dividend_on_the_day_of_a_split_is_for_a_share_after_it(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        write_bars(connection, [flat("X", ["2026-03-02", "2026-03-03"], [100.0, 48.0])], "test")
        write_splits(connection, [Split("X", date(2026, 3, 3), 2.0)], "test")
        write_dividends(connection, [Dividend("X", date(2026, 3, 3), 2.0)], "test")
        first, second = rows_of(connection, TOTAL_RETURN)
    # (48 + 2) / 50: nothing was won or lost
    assert first.total_return_close == pytest.approx(second.total_return_close, rel=1e-15)


def test_a_symbol_is_untouched_by_splits_and_dividends_of_others(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        write_bars(
            connection, [flat("X", ["2026-03-02"], [10.0], [2**53 + 1]), flat("Y", ["2026-03-02"], [7.0])], "test"
        )
        write_splits(connection, [Split("Y", date(2026, 3, 3), 3.0)], "test")
        (row,) = rows_of(connection, ADJUSTED)
        assert tuple(row)[2:] == (10.0, 10.0, 10.0, 10.0, 2**53 + 1, 1.0)
        assert rows_of(connection, ADJUSTED, "Y")[0].close == 7.0 / 3
        assert rows_of(connection, TOTAL_RETURN)[0].total_return_close == 10.0


@pytest.mark.parametrize("view", ["adjusted_ohlcv_daily", "total_return_daily"])
def test_one_symbol_is_read_without_going_through_those_of_others(engine: sa.Engine, view: str) -> None:
    query = f"EXPLAIN (COSTS OFF) SELECT * FROM {view} WHERE symbol = 'X' AND date >= '2020-01-01'"
    with engine.connect() as connection:
        # the tables are empty, so that only what is impossible is read in sequence
        connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
        plan = [line.strip() for line in connection.scalars(sa.text(query))]
    assert not [line for line in plan if "Seq Scan" in line]
    conditions = [line for line in plan if line.startswith("Index Cond")]
    assert "Index Cond: ((symbol = 'X'::text) AND (date >= '2020-01-01'::date))" in conditions
    assert all("symbol = 'X'" in line or "symbol = dividend" in line for line in conditions)


SESSIONS = trading_calendar().sessions(date(2020, 1, 1), date(2020, 2, 14))
splits = st.lists(
    st.builds(
        Split,
        st.just("X"),
        st.dates(date(2019, 12, 30), date(2020, 2, 17)),
        st.sampled_from([2.0, 3.0, 1.5, 7.0, 20.0, 0.1, 1 / 3, 1 / 8, 0.05, 1.0]) | st.floats(0.1, 10.0),
    ),
    max_size=8,
    unique_by=lambda split: split.ex_date,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(splits, st.integers(0, 2**32 - 1))
def test_the_view_has_the_bits_of_the_analysis_for_any_chain_of_splits(
    engine: sa.Engine, chain: list[Split], seed: int
) -> None:
    random = np.random.default_rng(seed)
    low, open_, close, high = np.sort(random.lognormal(3, 1, (4, len(SESSIONS))), axis=0)
    volume = random.integers(0, 2**28, len(SESSIONS))
    bars = Bars("X", Timeframe.DAILY, SESSIONS.astype("datetime64[us]"), open_, high, low, close, volume)
    expected = split_adjusted(bars, chain)
    with engine.connect() as connection:
        write_bars(connection, [bars], "test")
        write_splits(connection, chain, "test")
        rows = rows_of(connection, ADJUSTED)
        connection.rollback()
    for name in ("open", "high", "low", "close", "volume"):
        assert [getattr(row, name) for row in rows] == getattr(expected, name).tolist()
    assert [row.split_divisor for row in rows] == price_divisors(bars, chain).tolist()


def test_dividends_are_read_back_oldest_first_and_written_once(engine: sa.Engine) -> None:
    late, early = Dividend("A", date(2014, 5, 8), 3.29), Dividend("A", date(2014, 2, 6), 3.05)
    with engine.begin() as connection:
        assert write_dividends(connection, [late, early], "test") == 2
        assert write_dividends(connection, [late, early], "test") == 0
        assert write_dividends(connection, [Dividend("A", late.ex_date, 3.3)], "test") == 1
        assert write_dividends(connection, [], "test") == 0
        expected = {"A": (early, Dividend("A", late.ex_date, 3.3)), "B": ()}
        assert read_dividends(connection, ["A", "B"]) == expected
        assert read_dividends(connection, []) == {}


def test_a_regular_and_a_special_dividend_of_one_day_are_added_up(engine: sa.Engine) -> None:
    day = date(2012, 12, 10)
    with engine.begin() as connection:
        both = [Dividend("COST", day, 7.0), Dividend("COST", day, 0.275)]
        assert write_dividends(connection, both, "test") == 1
        assert write_dividends(connection, both[::-1], "test") == 0
        assert read_dividends(connection, ["COST"]) == {"COST": (Dividend("COST", day, 7.275),)}


@pytest.mark.parametrize("amount", ["0", "-1", "'NaN'", "'Infinity'"])
def test_an_impossible_dividend_is_refused_by_the_table(engine: sa.Engine, amount: str) -> None:
    insert = f"INSERT INTO dividends (symbol, ex_date, amount) VALUES ('A', '2014-05-08', {amount})"
    with engine.connect() as connection, pytest.raises(sa.exc.IntegrityError, match="dividends_amount"):
        connection.execute(sa.text(insert))


def test_a_dividend_makes_no_analysis_stale_and_a_split_does(engine: sa.Engine) -> None:
    stale = sa.text("SELECT stale_from IS NOT NULL FROM analysis_coverage")
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO analysis_coverage (symbol, timeframe, year, definition_digest, n_bars)"
                " VALUES ('A', 'daily', 2014, 'x', 1)"
            )
        )
        write_dividends(connection, [Dividend("A", date(2014, 5, 8), 3.29)], "test")
        assert connection.scalars(stale).all() == [False]
        write_splits(connection, [Split("A", date(2014, 6, 9), 7.0)], "test")
        assert connection.scalars(stale).all() == [True]
