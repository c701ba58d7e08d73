"""The relation ``daily_indicators``: a row an indicator out of one stored row a series, and what others may do."""

import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tickstock_pipeline.analysis import Analysis, analyse, definition_set
from tickstock_pipeline.indicators.defaults import DEFAULT_INDICATORS
from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.storage import schema
from tickstock_pipeline.storage.analysed_window import AnalysedWindow
from tickstock_pipeline.storage.analysis_store import write_analysis
from tickstock_pipeline.storage.engine import create_engine

DEFINITIONS = definition_set(Timeframe.DAILY, DEFAULT_INDICATORS, ())
INSERT = sa.text(
    "INSERT INTO daily_indicators (symbol, indicator_type, value_data, calculation_timestamp, expiration_date,"
    " timeframe, metadata) VALUES (:symbol, :indicator, :value, '2013-05-01', '2013-06-01', 'daily', :metadata)"
)


def analysis_of(symbol: str, n_bars: int) -> Analysis:
    random = np.random.default_rng(7)
    close = np.round(50 * np.exp(np.cumsum(random.normal(0, 0.02, n_bars))), 2)
    time = (np.datetime64("2013-01-01") + np.arange(n_bars)).astype("datetime64[us]")
    volume = random.integers(1, 10**6, n_bars)
    return analyse(Bars(symbol, Timeframe.DAILY, time, close, close + 1, close - 1, close, volume), DEFINITIONS)


def store(connection: sa.Connection, analysis: Analysis) -> None:
    times = analysis.bars.time
    item = AnalysedWindow(analysis, np.ones(len(times)), times, times[0], times[-1])
    write_analysis(connection, DEFINITIONS, [item])


def shown(connection: sa.Connection, symbol: str = "A") -> dict[str, str]:
    query = sa.text(
        "SELECT indicator_type, value_data::text AS value_data FROM daily_indicators WHERE symbol = :symbol"
    )
    rows = connection.execute(query, {"symbol": symbol}).all()
    assert len({row.indicator_type for row in rows}) == len(rows)
    return {row.indicator_type: row.value_data for row in rows}


def expected(connection: sa.Connection, analysis: Analysis) -> dict[str, str]:
    values = dict(zip(DEFINITIONS.outputs, analysis.values[len(analysis.bars) - 1].tolist(), strict=True))
    given_values = {
        definition.name: {name: values[name] for name in definition.outputs if not np.isnan(values[name])}
        for definition in DEFINITIONS.indicators
    }
    return {
        name: connection.scalar(sa.text("SELECT cast(:text AS jsonb)::text"), {"text": json.dumps(inside)})
        for name, inside in given_values.items()
        if inside
    }


@pytest.mark.parametrize("n_bars", [4, 30, 60, 300])
def test_each_indicator_that_has_a_value_at_the_newest_bar_has_a_row(engine: sa.Engine, n_bars: int) -> None:
    analysis = analysis_of("A", n_bars)
    with engine.begin() as connection:
        store(connection, analysis)
        assert shown(connection) == expected(connection, analysis)
        assert len(shown(connection)) == {4: 0, 300: 18}.get(n_bars, len(shown(connection)))


@hypothesis_settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=20, max_size=200))
def test_a_number_is_shown_with_the_digits_that_json_gives_it(engine: sa.Engine, values: list[float]) -> None:
    values += [100.0, -0.0, 1e15, 123456789012345.0, 0.1 + 0.2, 5e-324, 1e16, 1.7976931348623157e308]
    with engine.connect() as connection:
        rows = connection.execute(
            sa.text(
                "SELECT value, json_of_float(value)::text, cast(text AS jsonb)::text"
                " FROM unnest(cast(:values AS float8[]), cast(:texts AS text[])) AS given (value, text)"
            ),
            {"values": "{" + ",".join(map(repr, values)) + "}", "texts": [json.dumps(value) for value in values]},
        )
        for value, ours, theirs in rows:
            assert float(ours) == value
            # beyond 2 ** 53 PostgreSQL may need a digit more
            assert ours == theirs or abs(value) > 2**53


def test_a_program_replaces_a_value_of_ours_and_the_next_analysis_replaces_its(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        store(connection, analysis_of("A", 300))
        ours = shown(connection)
        given_row = {"symbol": "A", "indicator": "sma_20", "value": '{"sma_20": 1.5}', "metadata": '{"by": "them"}'}
        connection.execute(sa.text("DELETE FROM daily_indicators WHERE symbol = 'A' AND indicator_type = 'sma_20'"))
        assert shown(connection) == {name: value for name, value in ours.items() if name != "sma_20"}
        connection.execute(INSERT, given_row)
        connection.execute(INSERT, given_row | {"indicator": "theirs", "value": "{}"})
        assert shown(connection) == ours | {"sma_20": '{"sma_20": 1.5}', "theirs": "{}"}
        row = connection.execute(sa.text("SELECT * FROM daily_indicators WHERE indicator_type = 'sma_20'")).one()
        assert (row.metadata, row.expiration_date.day, row.bar_time) == ({"by": "them"}, 1, None)

        longer = analysis_of("A", 301)
        store(connection, longer)
        assert shown(connection) == expected(connection, longer) | {"theirs": "{}"}


def test_a_value_of_which_we_have_none_yet_stays_until_we_have(engine: sa.Engine) -> None:
    row = {"symbol": "A", "indicator": "sma_200", "value": '{"sma_200": 7}', "metadata": None}
    with engine.begin() as connection:
        connection.execute(INSERT, row)
        store(connection, analysis_of("A", 150))
        assert shown(connection)["sma_200"] == '{"sma_200": 7}'
        store(connection, analysis_of("A", 200))
        assert shown(connection)["sma_200"] != '{"sma_200": 7}'


@pytest.mark.parametrize("held_by", ["us", "them"])
def test_a_second_row_of_one_indicator_is_refused_as_a_table_would(engine: sa.Engine, held_by: str) -> None:
    row = {"symbol": "A", "indicator": "rsi", "value": "{}", "metadata": None}
    with engine.begin() as connection:
        if held_by == "us":
            store(connection, analysis_of("A", 60))
        else:
            connection.execute(INSERT, row)
    with engine.connect() as connection, pytest.raises(sa.exc.IntegrityError):
        connection.execute(INSERT, row)


def test_an_updated_row_is_the_other_programs_until_the_next_analysis(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        store(connection, analysis_of("A", 300))
        ours = shown(connection)
        changed = connection.execute(
            sa.text("UPDATE daily_indicators SET expiration_date = now(), metadata = '{}' WHERE indicator_type = 'rsi'")
        )
        assert changed.rowcount == 1
        assert shown(connection) == ours
        rows = connection.execute(
            sa.text("SELECT indicator_type FROM daily_indicators WHERE expiration_date < now() + '1s'")
        )
        assert rows.scalars().all() == ["rsi"]
        connection.execute(sa.text("DELETE FROM daily_indicators"))
        assert shown(connection) == {}


def test_a_program_with_rights_to_the_relation_alone_reads_and_writes_it(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        store(connection, analysis_of("A", 60))
        ours = shown(connection)
        connection.execute(sa.text("CREATE ROLE indicators_only"))
        connection.execute(sa.text("GRANT SELECT, INSERT, DELETE ON daily_indicators TO indicators_only"))
    try:
        with engine.begin() as connection:
            connection.execute(sa.text("SET LOCAL ROLE indicators_only"))
            assert shown(connection) == ours
            connection.execute(sa.text("DELETE FROM daily_indicators WHERE indicator_type = 'rsi'"))
            connection.execute(sa.text("SET LOCAL search_path TO pg_catalog"))
            connection.execute(
                sa.text(
                    "INSERT INTO public.daily_indicators (symbol, indicator_type, value_data)"
                    " VALUES ('A', 'rsi', jsonb_build_object('rsi', 50.5))"
                )
            )
        with engine.begin() as connection:
            assert shown(connection) == ours | {"rsi": '{"rsi": 50.5}'}
    finally:
        with engine.begin() as connection:
            connection.execute(sa.text("DROP OWNED BY indicators_only"))
            connection.execute(sa.text("DROP ROLE indicators_only"))


def test_one_symbol_among_thousands_is_found_by_the_index(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        store(connection, analysis_of("A", 60))
        connection.execute(
            sa.text(
                'INSERT INTO latest_indicators SELECT symbol || n, timeframe, bar_time, layout_id, "values"'
                " FROM latest_indicators, generate_series(1, 5000) n"
            )
        )
        connection.execute(sa.text("ANALYZE latest_indicators"))
        for condition in ("symbol = 'A77'", "symbol = 'A77' AND timeframe = 'daily' AND indicator_type = 'rsi'"):
            plan = connection.execute(sa.text(f"EXPLAIN SELECT * FROM daily_indicators WHERE {condition}"))
            assert "latest_indicators_pkey" in "\n".join(plan.scalars())


@pytest.fixture
def first_version(empty_database_url: str) -> Iterator[sa.Engine]:
    """A database as the first version left it: revision 0001."""
    engine = create_engine(empty_database_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA dagster")
        config = Config()
        config.set_main_option("script_location", str(files("tickstock_pipeline.storage") / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    yield engine
    engine.dispose()


def test_an_upgrade_keeps_the_rows_of_the_first_version(first_version: sa.Engine, empty_database_url: str) -> None:
    values = [20.5, 1.25, 100.0, None, 30.5]
    rows: list[dict[str, Any]] = [
        {"indicator": "adx", "value": {"adx": 20.5, "plus_di": 1.25}, "day": "2013-05-02"},
        {"indicator": "rsi", "value": {"rsi": 100.0}, "day": "2013-05-02"},
        {"indicator": "sma_20", "value": {"sma_20": 99.0}, "day": None},
        {"indicator": "theirs", "value": {"x": [1]}, "day": None},
    ]
    with first_version.begin() as connection:
        connection.execute(
            sa.text("INSERT INTO indicator_layouts (outputs) VALUES ('{adx,plus_di,rsi,sma_200,sma_20}'), ('{}')")
        )
        connection.execute(
            sa.text(
                "INSERT INTO bar_indicators SELECT 'A', 'daily', cast(day AS timestamptz), 1, cast(:values AS float8[])"
                " FROM unnest(cast('{2013-05-01,2013-05-02}' AS text[])) day"
            ),
            {"values": values},
        )
        for row in rows:
            connection.execute(
                sa.text(
                    "INSERT INTO daily_indicators (symbol, indicator_type, value_data, calculation_timestamp, bar_time)"
                    " VALUES ('A', :indicator, :value, '2013-05-03', :day)"
                ),
                row | {"value": json.dumps(row["value"])},
            )
        connection.execute(sa.text('CREATE ROLE "first reader"'))
        connection.execute(sa.text('GRANT SELECT ON daily_indicators TO "first reader" WITH GRANT OPTION'))
        everything = sa.text(
            "SELECT symbol, indicator_type, value_data::text, calculation_timestamp, expiration_date, timeframe,"
            " metadata, bar_time FROM daily_indicators ORDER BY indicator_type"
        )
        before = connection.execute(everything).all()
    try:
        schema.upgrade(empty_database_url)
        with first_version.begin() as connection:
            connection.execute(sa.text('SET LOCAL ROLE "first reader"'))
            assert connection.execute(everything).all() == before
        with first_version.begin() as connection:
            layouts = connection.scalars(sa.text("SELECT indicators FROM indicator_layouts ORDER BY id")).all()
            assert layouts == [["adx", "adx", "rsi", "sma_200", "sma_20"], []]
            store(connection, analysis_of("A", 300))
            assert len(shown(connection)) == 18 + 1
    finally:
        with first_version.begin() as connection:
            connection.execute(sa.text('DROP OWNED BY "first reader"'))
            connection.execute(sa.text('DROP ROLE "first reader"'))
