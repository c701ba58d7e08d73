"""The small tables that people and providers fill."""

from datetime import date

import sqlalchemy as sa

from tickstock_pipeline.indicators.defaults import DEFAULT_INDICATORS
from tickstock_pipeline.market.adjustment import Split
from tickstock_pipeline.patterns.defaults import DEFAULT_PATTERNS
from tickstock_pipeline.storage.definitions import read_definitions
from tickstock_pipeline.storage.splits import read_splits, write_splits
from tickstock_pipeline.storage.symbols import add_symbols, read_symbols, set_active


def test_the_seeded_definitions_are_the_defaults(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        stored = read_definitions(connection)
    assert {row.name: row for row in stored.indicators} == {row.name: row for row in DEFAULT_INDICATORS}
    assert {row.name: row for row in stored.patterns} == {row.name: row for row in DEFAULT_PATTERNS}


def test_a_row_that_cannot_run_is_named_and_the_others_run(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        for statement in (
            "UPDATE indicator_definitions SET function = 'no_such' WHERE name = 'rsi'",
            "UPDATE indicator_definitions SET instantiation_params = '[1]' WHERE name = 'atr'",
            "UPDATE indicator_definitions SET instantiation_params = '{\"period\": \"x\"}' WHERE name = 'adx'",
            "UPDATE indicator_definitions SET applicable_timeframes = '{daily,yearly}' WHERE name = 'sma_5'",
            "UPDATE pattern_definitions SET confidence_threshold = 'NaN' WHERE name = 'hammer'",
            "INSERT INTO pattern_definitions (name, display_name, category, applicable_timeframes, min_bars_required)"
            " VALUES ('theirs', 'Theirs', 'x', '{daily}', 1)",
        ):
            connection.execute(sa.text(statement))
        stored = read_definitions(connection)
    assert len(stored.indicators) == len(DEFAULT_INDICATORS) - 4
    assert len(stored.patterns) == len(DEFAULT_PATTERNS) - 1
    named = "\n".join(str(problem) for problem in stored.problems)
    assert len(stored.problems) == 6
    for name in ("rsi", "atr", "adx", "sma_5", "hammer", "theirs"):
        assert repr(name) in named


def test_symbols_keep_the_order_in_which_they_were_added(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        assert add_symbols(connection, ["B", "A", "B"]) == ["B", "A"]
    with engine.begin() as connection:
        assert add_symbols(connection, ["C", "A"]) == ["C"]
        assert read_symbols(connection) == ["B", "A", "C"]
        set_active(connection, ["A"], False)
        assert read_symbols(connection) == ["B", "C"]
        assert add_symbols(connection, ["A"]) == []
        assert read_symbols(connection) == ["B", "A", "C"]
        assert add_symbols(connection, []) == []


def test_splits_are_read_back_oldest_first_and_written_once(engine: sa.Engine) -> None:
    late, early = Split("A", date(2014, 6, 9), 7.0), Split("A", date(2005, 2, 28), 2.0)
    with engine.begin() as connection:
        assert write_splits(connection, [late, early], "test") == 2
        assert write_splits(connection, [late, early], "test") == 0
        assert write_splits(connection, [Split("A", late.ex_date, 7.5)], "test") == 1
        assert write_splits(connection, [], "test") == 0
        assert read_splits(connection, ["A", "B"]) == {"A": (early, Split("A", late.ex_date, 7.5)), "B": ()}


def test_a_split_that_another_provider_dates_a_day_apart_is_the_same_split(engine: sa.Engine) -> None:
    known = Split("A", date(2014, 6, 9), 7.0)
    with engine.begin() as connection:
        write_splits(connection, [known], "one")
        assert write_splits(connection, [Split("A", date(2014, 6, 6), 7.0)], "another") == 0
        other_ratio, years_later = Split("A", date(2014, 6, 10), 2.0), Split("A", date(2020, 8, 31), 7.0)
        assert write_splits(connection, [other_ratio, years_later], "another") == 2
        assert read_splits(connection, ["A"]) == {"A": (known, other_ratio, years_later)}
