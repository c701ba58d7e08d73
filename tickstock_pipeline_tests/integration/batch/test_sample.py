"""The packaged sample through the whole path, against what plain pandas makes of the same CSV."""

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from bokeh_sampledata import stocks

from tickstock_pipeline.batch.outcome import Status
from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.providers.sample import SampleProvider

BAR_TABLES = {"ohlcv_daily": "date", "ohlcv_weekly": "week_ending", "ohlcv_monthly": "month_ending"}


@pytest.fixture
def raw() -> pd.DataFrame:
    """The CSV as its package reads it."""
    return stocks.data.rename(columns={"ticker": "symbol"})


def table(engine: sa.Engine, name: str) -> pd.DataFrame:
    key = BAR_TABLES[name]
    with engine.connect() as connection:
        rows = connection.execute(
            sa.text(f"SELECT symbol, {key} AS key, open, high, low, close, volume FROM {name} ORDER BY symbol, {key}")
        ).all()
    return pd.DataFrame(rows, columns=["symbol", "key", "open", "high", "low", "close", "volume"])


def counts(engine: sa.Engine) -> dict[str, int]:
    names = [*BAR_TABLES, "bar_indicators", "daily_patterns", "daily_indicators", "quarantined_bars"]
    with engine.connect() as connection:
        return {name: connection.scalar(sa.text(f"SELECT count(*) FROM {name}")) for name in names}


def test_daily_bars_are_those_of_the_file_and_one_for_every_session(engine, run_all, sample_partitions, raw):
    run_all(engine, SampleProvider(None), sample_partitions)

    stored = table(engine, "ohlcv_daily")
    expected = raw.sort_values(["symbol", "date"], ignore_index=True)
    assert stored["key"].tolist() == expected["date"].dt.date.tolist()
    for column in ("symbol", "open", "high", "low", "close", "volume"):
        assert stored[column].tolist() == expected[column].tolist()
    sessions = sum(
        len(trading_calendar().sessions(np.datetime64(dates.min(), "D"), np.datetime64(dates.max(), "D")))
        for _, dates in raw.groupby("symbol")["date"]
    )
    assert len(stored) == sessions == 12_154


@pytest.mark.parametrize(("name", "period"), [("ohlcv_weekly", "W-SUN"), ("ohlcv_monthly", "M")])
def test_coarser_bars_are_what_pandas_rolls_up(engine, run_all, sample_partitions, raw, name, period):
    run_all(engine, SampleProvider(None), sample_partitions)

    ordered = raw.sort_values(["symbol", "date"])
    expected = (
        ordered.groupby(["symbol", ordered["date"].dt.to_period(period)])
        .agg(
            open=("open", "first"),
            high=("high", "max"),
            low=("low", "min"),
            close=("close", "last"),
            volume=("volume", "sum"),
        )
        .reset_index()
    )
    stored = table(engine, name)
    assert pd.PeriodIndex(stored["key"], freq=period).tolist() == expected["date"].tolist()
    for column in ("symbol", "open", "high", "low", "close", "volume"):
        assert stored[column].tolist() == expected[column].tolist()


def test_every_bar_has_its_analysis(engine, run_all, sample_partitions):
    run_all(engine, SampleProvider(None), sample_partitions)

    found = counts(engine)
    assert found["bar_indicators"] == sum(found[name] for name in BAR_TABLES)
    assert found["daily_patterns"] > 1_000
    assert found["quarantined_bars"] == 0


def test_a_second_run_writes_nothing_and_says_so(engine, run_all, sample_partitions):
    first = run_all(engine, SampleProvider(None), sample_partitions)
    with engine.connect() as connection:
        before = connection.scalar(sa.text("SELECT pg_current_wal_insert_lsn()"))
    before_counts = counts(engine)

    second = run_all(engine, SampleProvider(None), sample_partitions)

    assert {outcome.status for outcomes in first.values() for outcome in outcomes} == {Status.WRITTEN}
    assert {outcome.status for outcomes in second.values() for outcome in outcomes} == {Status.UNCHANGED}
    assert counts(engine) == before_counts
    with engine.connect() as connection:
        written = connection.scalar(
            sa.text("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), :lsn)"), {"lsn": before}
        )
    # provenance is refreshed, with its time; 54 partitions' rows are a few kilobytes, the bars would be megabytes
    assert written < 1_000_000


def test_no_pattern_and_no_indicator_sees_a_crash_on_the_day_of_a_split(engine, run_all, sample_partitions):
    run_all(engine, SampleProvider(None), sample_partitions)

    with engine.connect() as connection:
        rows = connection.execute(
            sa.text("""
                SELECT v.symbol, v.values[array_position(l.outputs, 'atr')] / b.close
                FROM bar_indicators v JOIN indicator_layouts l ON l.id = v.layout_id
                JOIN ohlcv_daily b ON b.symbol = v.symbol AND b.date = (v.time AT TIME ZONE 'UTC')::date
                WHERE v.timeframe = 'daily' AND (v.symbol, b.date) IN
                    (('AAPL', '2005-02-28'), ('MSFT', '2003-02-18'))
            """)
        ).all()
    # Raw, half the price would be lost that day, and a fourteenth of it in the range: more than 7 %. As adjusted to
    # today's shares, AAPL's later splits included in the divisor, the day was like others: 1 to 5 % of the price.
    assert len(rows) == 2
    assert all(0.005 < ratio < 0.05 for _, ratio in rows)


def test_levels_are_as_traded_on_the_day(engine, run_all, sample_partitions):
    run_all(engine, SampleProvider(None), sample_partitions)

    with engine.connect() as connection:
        rows = connection.execute(
            sa.text("""
                SELECT (p.levels->>'entry')::float8, b.close FROM daily_patterns p
                JOIN ohlcv_daily b ON b.symbol = p.symbol AND b.date = (p.bar_time AT TIME ZONE 'UTC')::date
                WHERE p.symbol = 'AAPL' AND p.timeframe = 'daily' AND p.bar_time < '2005-02-28' AND p.levels ? 'entry'
            """)
        ).all()
    assert len(rows) > 50
    assert [entry for entry, _ in rows] == pytest.approx([close for _, close in rows], rel=1e-12)
