"""What one bad row, one bad symbol, a different order or a concurrent writer must not change."""

import itertools

import pandas as pd
import pytest
import sqlalchemy as sa

from tickstock_pipeline.batch import analysis as batch_analysis
from tickstock_pipeline.batch.analysis import analyse_partitions
from tickstock_pipeline.batch.imports import import_bars
from tickstock_pipeline.batch.outcome import Status
from tickstock_pipeline.batch.plan import stale_targets
from tickstock_pipeline.batch.quality import sanity
from tickstock_pipeline.batch.roll_ups import roll_up_bars
from tickstock_pipeline.batch.views import view_partitions
from tickstock_pipeline.errors import ProviderError
from tickstock_pipeline.market.calendar import trading_calendar
from tickstock_pipeline.market.partition import Partition
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.providers.sample import SampleProvider

SYMBOLS, YEARS = ("AAA", "BBB", "CCC"), range(2018, 2021)
SESSIONS = 251 + 252 + 253  # of the NYSE in 2018 (a day of mourning), 2019 and 2020
PARTITIONS = [Partition(symbol, year) for symbol in SYMBOLS for year in YEARS]


def everything(engine: sa.Engine) -> dict[str, list[tuple[object, ...]]]:
    """All results, without what depends on when or in which order they were written."""
    queries = {
        **{
            f"ohlcv_{timeframe}": f"SELECT symbol, {key}, open, high, low, close, volume FROM ohlcv_{timeframe}"
            for timeframe, key in (("daily", "date"), ("weekly", "week_ending"), ("monthly", "month_ending"))
        },
        "indicators": "SELECT symbol, timeframe, time, l.outputs, v.values FROM bar_indicators v "
        "JOIN indicator_layouts l ON l.id = v.layout_id",
        "patterns": "SELECT symbol, timeframe, pattern_type, detection_timestamp, confidence, levels::text, "
        "metadata::text FROM daily_patterns WHERE retracted_at IS NULL",
        "latest": "SELECT symbol, timeframe, indicator_type, value_data::text FROM daily_indicators",
    }
    with engine.connect() as connection:
        return {
            name: [tuple(row) for row in connection.exec_driver_sql(f"{query} ORDER BY 1, 2, 3, 4")]
            for name, query in queries.items()
        }


class OneSymbolFails:
    """The sample, but the provider does not answer for one symbol."""

    def __init__(self, provider: SampleProvider, symbol: str) -> None:
        self._provider = provider
        self._symbol = symbol

    def __getattr__(self, name: str) -> object:
        return getattr(self._provider, name)

    def fetch_bars(self, symbol, *arguments):
        if symbol == self._symbol:
            raise ProviderError("the provider answered 503")
        return self._provider.fetch_bars(symbol, *arguments)


def test_a_corrupt_row_is_quarantined_and_every_other_bar_stored(engine, run_all, write_universe):
    path = write_universe(SYMBOLS, YEARS)
    rows = pd.read_csv(path)
    rows.loc[300, "high"] = rows.loc[300, "low"] - 1
    rows.to_csv(path, index=False)

    for _ in range(2):
        outcomes = run_all(engine, SampleProvider(path), PARTITIONS)

    with engine.connect() as connection:
        bars = connection.scalar(sa.text("SELECT count(*) FROM ohlcv_daily"))
        refused = connection.execute(sa.text("SELECT symbol, timeframe, bar_time, reason FROM quarantined_bars")).all()
    assert bars == len(rows) - 1
    assert refused == [("AAA", "daily", rows.loc[300, "date"], "high is below low")]
    assert {outcome.facts["bars_refused"] for outcome in outcomes["ohlcv_daily"]} == {0, 1}


def test_a_symbol_that_the_provider_fails_on_fails_alone(engine, write_universe):
    provider = OneSymbolFails(SampleProvider(write_universe(SYMBOLS, YEARS)), "BBB")

    outcomes = import_bars(engine, provider, trading_calendar(), Timeframe.DAILY, PARTITIONS)

    assert [outcome.partition for outcome in outcomes] == PARTITIONS
    failed = {outcome.partition.symbol: outcome.error for outcome in outcomes if outcome.status is Status.FAILED}
    assert failed == {"BBB": "the provider answered 503"}
    with engine.connect() as connection:
        stored = connection.execute(sa.text("SELECT symbol, count(*) FROM ohlcv_daily GROUP BY 1 ORDER BY 1")).all()
        recorded = connection.execute(sa.text("SELECT DISTINCT symbol, error FROM bar_provenance WHERE error <> ''"))
        assert recorded.all() == [("BBB", "the provider answered 503")]
    assert stored == [("AAA", SESSIONS), ("CCC", SESSIONS)]


def test_a_symbol_that_the_database_refuses_fails_alone(engine, write_universe):
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE ohlcv_daily ADD CONSTRAINT no_bbb CHECK (symbol <> 'BBB')")

    outcomes = import_bars(
        engine, SampleProvider(write_universe(SYMBOLS, YEARS)), trading_calendar(), Timeframe.DAILY, PARTITIONS
    )

    failed = [outcome for outcome in outcomes if outcome.status is Status.FAILED]
    assert {outcome.partition.symbol for outcome in failed} == {"BBB"}
    assert all("no_bbb" in outcome.error for outcome in failed)
    assert {outcome.status for outcome in outcomes if outcome not in failed} == {Status.WRITTEN}


@pytest.mark.parametrize("order", list(itertools.permutations(YEARS)), ids=str)
def test_years_that_arrive_in_any_order_end_in_the_same_tables(engine, second_engine, run_all, write_universe, order):
    provider = SampleProvider(write_universe(SYMBOLS, YEARS))
    run_all(second_engine, provider, PARTITIONS)

    for year in order:
        run_all(engine, provider, [partition for partition in PARTITIONS if partition.year == year])
    # what an earlier year made stale in a later one is known, and is all that is left to do
    with engine.connect() as connection:
        targets = stale_targets(connection, provider, trading_calendar(), YEARS[0])
    assert all(year > min(order) for partitions in targets.values() for _, year in partitions)
    assert bool(any(targets.values())) == (list(order) != sorted(order))
    run_all(engine, provider, PARTITIONS)

    assert everything(engine) == everything(second_engine)
    with engine.connect() as connection:
        assert not any(stale_targets(connection, provider, trading_calendar(), YEARS[0]).values())


def test_a_bar_that_is_corrected_during_the_analysis_is_in_the_result(
    engine, second_engine, run_all, write_universe, monkeypatch
):
    path = write_universe(SYMBOLS, YEARS)
    provider = SampleProvider(path)
    import_bars(engine, provider, trading_calendar(), Timeframe.DAILY, PARTITIONS)
    correction = sa.text("UPDATE ohlcv_daily SET close = (high + low) / 2 WHERE symbol = 'BBB' AND date = '2019-03-01'")
    rounds = []
    compute = batch_analysis.analyse_many

    def analyse_while_somebody_writes(series, definitions, firsts):
        if any(bars.symbol == "BBB" for bars in series):
            rounds.append(series)
            if len(rounds) == 1:
                with engine.begin() as connection:
                    connection.execute(correction)
        return compute(series, definitions, firsts)

    monkeypatch.setattr(batch_analysis, "analyse_many", analyse_while_somebody_writes)
    outcomes = analyse_partitions(engine, trading_calendar(), Timeframe.DAILY, PARTITIONS)

    assert {outcome.status for outcome in outcomes} == {Status.WRITTEN}
    assert len(rounds) == 2
    import_bars(second_engine, provider, trading_calendar(), Timeframe.DAILY, PARTITIONS)
    with second_engine.begin() as connection:
        connection.execute(correction)
    analyse_partitions(second_engine, trading_calendar(), Timeframe.DAILY, PARTITIONS)
    assert everything(engine)["indicators"] == everything(second_engine)["indicators"]
    assert everything(engine)["patterns"] == everything(second_engine)["patterns"]


def test_a_changed_definition_makes_stale_what_it_touches_and_nothing_else(engine, run_all, write_universe):
    provider = SampleProvider(write_universe(SYMBOLS, YEARS))
    run_all(engine, provider, PARTITIONS)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE pattern_definitions SET applicable_timeframes = '{daily}' WHERE name = 'harami'"
        )
        targets = stale_targets(connection, provider, trading_calendar(), YEARS[0])

    assert {asset for asset, partitions in targets.items() if partitions} == {
        "indicators_weekly",
        "patterns_weekly",
        "indicators_monthly",
        "patterns_monthly",
    }


def test_bars_that_are_gone_leave_nothing_behind_that_was_made_of_them(engine, second_engine, run_all, write_universe):
    provider = SampleProvider(write_universe(SYMBOLS, YEARS))
    run_all(engine, provider, PARTITIONS)
    deletion = "DELETE FROM ohlcv_daily WHERE symbol = 'AAA' AND date >= '2020-07-06'"
    with engine.begin() as connection:
        connection.exec_driver_sql(deletion)

    roll_up_and_analyse(engine)

    import_bars(second_engine, provider, trading_calendar(), Timeframe.DAILY, PARTITIONS)
    with second_engine.begin() as connection:
        connection.exec_driver_sql(deletion)
    roll_up_and_analyse(second_engine)
    assert everything(engine) == everything(second_engine)


def test_the_latest_values_of_a_symbol_whose_newest_year_is_gone_are_those_of_the_year_before(
    engine, second_engine, run_all, write_universe
):
    provider = SampleProvider(write_universe(SYMBOLS, YEARS))
    run_all(engine, provider, PARTITIONS)
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM ohlcv_daily WHERE symbol = 'AAA' AND date >= '2020-01-01'")

    roll_up_and_analyse(engine)

    kept = [partition for partition in PARTITIONS if partition != ("AAA", 2020)]
    import_bars(second_engine, provider, trading_calendar(), Timeframe.DAILY, kept)
    roll_up_and_analyse(second_engine)
    assert everything(engine)["latest"] == everything(second_engine)["latest"]


def test_a_listing_that_has_grown_is_imported_up_to_its_new_end(engine, run_all, write_universe):
    path = write_universe(SYMBOLS, YEARS)
    rows = pd.read_csv(path)
    rows[rows["date"] < "2020-07-01"].to_csv(path, index=False)
    run_all(engine, SampleProvider(path), PARTITIONS)
    rows.to_csv(path, index=False)

    provider = SampleProvider(path)
    with engine.connect() as connection:
        targets = stale_targets(connection, provider, trading_calendar(), YEARS[0])
    run_all(engine, provider, targets["ohlcv_daily"])

    assert targets["ohlcv_daily"] == [Partition(symbol, 2020) for symbol in SYMBOLS]
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM ohlcv_daily")) == len(rows)
        assert not any(stale_targets(connection, provider, trading_calendar(), YEARS[0]).values())


def test_bars_that_a_provider_gave_are_not_replaced_by_derived_ones(engine, write_universe):
    import_bars(engine, SampleProvider(write_universe(SYMBOLS, YEARS)), trading_calendar(), Timeframe.DAILY, PARTITIONS)
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO ohlcv_weekly VALUES ('AAA', '2019-03-01', 1, 2, 1, 2, 3, 'a provider')")
        connection.exec_driver_sql(
            "INSERT INTO bar_provenance (symbol, timeframe, year, source, outcome, n_bars) "
            "VALUES ('AAA', 'weekly', 2019, 'a provider', 'complete', 1)"
        )

    outcomes = roll_up_bars(engine, trading_calendar(), Timeframe.WEEKLY, PARTITIONS)

    unchanged = {outcome.partition for outcome in outcomes if outcome.status is Status.UNCHANGED}
    assert unchanged == {Partition("AAA", 2019)}
    with engine.connect() as connection:
        bars = connection.scalar(
            sa.text("SELECT count(*) FROM ohlcv_weekly WHERE symbol = 'AAA' AND extract(year FROM week_ending) = 2019")
        )
    assert bars == 1


def test_a_missing_table_ends_the_chunk_and_is_blamed_on_no_symbol(engine, write_universe):
    provider = SampleProvider(write_universe(SYMBOLS, YEARS))
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE quarantined_bars RENAME TO elsewhere")
        connection.exec_driver_sql("ALTER TABLE splits RENAME TO elsewhere_too")
        connection.exec_driver_sql("ALTER TABLE ohlcv_daily RENAME TO not_here")

    with pytest.raises(sa.exc.ProgrammingError, match="ohlcv_daily"):
        import_bars(engine, provider, trading_calendar(), Timeframe.DAILY, PARTITIONS)


def test_a_detection_whose_bar_is_gone_is_not_drawn(engine, run_all, write_universe):
    run_all(engine, SampleProvider(write_universe(SYMBOLS, YEARS)), PARTITIONS)
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM ohlcv_daily WHERE date >= '2020-06-01'")

    views = view_partitions(engine, trading_calendar(), Timeframe.DAILY, PARTITIONS)

    for view in views.values():
        assert all(index < len(view.bars) for index, _, _ in view.marks)


def test_a_quarantined_bar_that_was_mended_is_not_warned_of(engine, run_all, write_universe):
    path = write_universe(SYMBOLS, YEARS)
    good = pd.read_csv(path)
    bad = good.copy()
    bad.loc[300, "high"] = bad.loc[300, "low"] - 1
    bad.to_csv(path, index=False)
    run_all(engine, SampleProvider(path), PARTITIONS)
    with engine.connect() as connection:
        assert sanity(connection, Timeframe.DAILY).refused == {"AAA": 1}

    good.to_csv(path, index=False)
    run_all(engine, SampleProvider(path), PARTITIONS)

    with engine.connect() as connection:
        assert sanity(connection, Timeframe.DAILY).refused == {}


def roll_up_and_analyse(engine: sa.Engine) -> None:
    for into in (Timeframe.WEEKLY, Timeframe.MONTHLY):
        roll_up_bars(engine, trading_calendar(), into, PARTITIONS)
    for timeframe in (Timeframe.DAILY, Timeframe.WEEKLY, Timeframe.MONTHLY):
        analyse_partitions(engine, trading_calendar(), timeframe, PARTITIONS)
