"""The ledger and the staleness of coverage, whoever writes bars and however."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SYMBOLS = ("A", "B")
# days around two turns of the year, and one in between
DAYS = [date(2012, 12, 28) + timedelta(days=n) for n in (0, 3, 4, 5)] + [date(2013, 7, 4)]
DAYS += [date(2013, 12, 31), date(2014, 1, 2)]
TABLES = {"daily": "date", "weekly": "week_ending"}
COVERAGE = [
    (symbol, timeframe, year, anchor)
    for symbol in SYMBOLS
    for timeframe in ("daily", "weekly", "monthly")
    for year, anchor in ((2012, None), (2013, datetime(2012, 12, 31, tzinfo=UTC)), (2014, None))
    if timeframe == "daily" or anchor is None
]

keys = st.tuples(st.sampled_from(SYMBOLS), st.sampled_from(DAYS))
operations = st.one_of(
    st.tuples(st.just("upsert"), st.lists(st.tuples(keys, st.integers(1, 3)), min_size=1, max_size=6)),
    st.tuples(st.just("delete"), st.lists(keys, min_size=1, max_size=4)),
    st.tuples(st.just("update"), st.tuples(st.sampled_from(SYMBOLS), st.integers(1, 3))),
    st.tuples(st.just("rewrite"), st.none()),
    st.tuples(st.just("move"), st.sampled_from((1, -1, 365))),
    st.tuples(st.just("swap"), st.none()),
    st.tuples(st.just("truncate"), st.none()),
)

Table = dict[tuple[str, date], float]


@pytest.fixture
def connection(engine: sa.Engine) -> Iterator[sa.Connection]:
    with engine.connect() as connection:
        yield connection


def instant(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def perform(connection: sa.Connection, timeframe: str, operation: str, argument: Any) -> None:
    table, key = f"ohlcv_{timeframe}", TABLES[timeframe]
    if operation == "upsert":
        rows = [{"symbol": symbol, "day": day, "price": price} for (symbol, day), price in dict(argument).items()]
        values = ", ".join(f"('{r['symbol']}', date '{r['day']}', {', '.join([str(r['price'])] * 4)}, 0)" for r in rows)
        statement = (
            f"INSERT INTO {table} (symbol, {key}, open, high, low, close, volume) VALUES {values}"
            f" ON CONFLICT (symbol, {key}) DO UPDATE SET open = excluded.open, high = excluded.high,"
            " low = excluded.low, close = excluded.close"
        )
    elif operation == "delete":
        named = ", ".join(f"('{symbol}', date '{day}')" for symbol, day in argument)
        statement = f"DELETE FROM {table} WHERE (symbol, {key}) IN ({named})"
    elif operation == "update":
        symbol, price = argument
        statement = f"UPDATE {table} SET open={price}, high={price}, low={price}, close={price} WHERE symbol='{symbol}'"
    elif operation == "rewrite":
        statement = f"UPDATE {table} SET close = close, source = 'another'"
    elif operation == "move":
        # to keys that are free, by way of a shift far enough
        statement = f"UPDATE {table} SET {key} = {key} + {argument} * 4000"
    elif operation == "swap":
        statement = f"UPDATE {table} SET symbol = symbol || 'x'"
    else:
        statement = f"TRUNCATE {table}"
    connection.execute(sa.text(statement))


def contents(connection: sa.Connection, timeframe: str) -> Table:
    rows = connection.execute(sa.text(f"SELECT symbol, {TABLES[timeframe]}, close FROM ohlcv_{timeframe}"))
    return {(symbol, day): close for symbol, day, close in rows}


def ledger(connection: sa.Connection) -> dict[tuple[str, str, int], Any]:
    rows = connection.execute(
        sa.text("SELECT symbol, timeframe, year, n_bars, first_time, last_time, revision FROM bar_ledger")
    )
    return {(row.symbol, row.timeframe, row.year): row for row in rows}


def recount(timeframe: str, table: Table) -> dict[tuple[str, str, int], tuple[int, datetime, datetime]]:
    days: dict[tuple[str, str, int], list[date]] = {}
    for symbol, day in table:
        days.setdefault((symbol, timeframe, day.year), []).append(day)
    return {group: (len(found), instant(min(found)), instant(max(found))) for group, found in days.items()}


def stale(connection: sa.Connection) -> dict[tuple[str, str, int], datetime | str | None]:
    # -infinity has no datetime
    rows = connection.execute(
        sa.text(
            "SELECT symbol, timeframe, year, CASE WHEN stale_from > '-infinity' THEN stale_from END AS since,"
            " coalesce(stale_from = '-infinity', false) AS is_all FROM analysis_coverage"
        )
    )
    return {(row.symbol, row.timeframe, row.year): "all" if row.is_all else row.since for row in rows}


@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
@given(
    history=st.lists(st.tuples(st.sampled_from(list(TABLES)), operations), min_size=1, max_size=6),
)
def test_the_ledger_equals_a_recount_and_exactly_what_is_affected_is_stale(
    connection: sa.Connection, history: list[tuple[str, tuple[str, Any]]]
) -> None:
    with connection.begin() as transaction:
        for symbol, timeframe, year, anchor in COVERAGE:
            connection.execute(
                sa.text("INSERT INTO analysis_coverage VALUES (:s, :t, :y, 'digest', :a, now(), 0, NULL)"),
                {"s": symbol, "t": timeframe, "y": year, "a": anchor},
            )
        for timeframe, (operation, argument) in history:
            before, ledger_before = contents(connection, timeframe), ledger(connection)
            connection.execute(sa.text("UPDATE analysis_coverage SET stale_from = NULL"))
            perform(connection, timeframe, operation, argument)
            after, ledger_after = contents(connection, timeframe), ledger(connection)
            changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}

            expected = recount(timeframe, after)
            for group, row in ledger_after.items():
                if group[1] == timeframe:
                    given_row = (row.n_bars, row.first_time, row.last_time)
                    assert given_row == expected.pop(group, (0, None, None))
            assert expected == {}

            if operation != "truncate":
                revised = {group for group in ledger_after if ledger_after[group] != ledger_before.get(group)}
                assert revised == {(symbol, timeframe, day.year) for symbol, day in changed}
            for group in ledger_before:
                assert ledger_after[group].revision >= ledger_before[group].revision
            check_staleness(stale(connection), timeframe, changed, operation)
        transaction.rollback()


def check_staleness(
    found: dict[tuple[str, str, int], datetime | str | None],
    timeframe: str,
    changed: set[tuple[str, date]],
    operation: str,
) -> None:
    analysed = ("daily", "weekly", "monthly") if timeframe == "daily" else (timeframe,)
    for symbol, covered, year, anchor in COVERAGE:
        since = found[symbol, covered, year]
        if operation == "truncate":
            assert (since == "all") == (covered in analysed)
            continue
        times = [instant(day) for name, day in changed if name == symbol and day.year <= year]
        affected = [time for time in times if anchor is None or anchor <= time]
        if covered not in analysed or not affected:
            assert since is None
        else:
            assert isinstance(since, datetime)
            assert min(times) <= since <= min(affected)


@pytest.mark.parametrize("timeframe", ["1min", "hourly"])
def test_an_intraday_bar_belongs_to_its_year_on_the_exchanges_clock(connection: sa.Connection, timeframe: str) -> None:
    connection.execute(
        sa.text(
            f"INSERT INTO ohlcv_{timeframe} VALUES ('A', '2014-01-01 04:59+00', 1, 1, 1, 1, 0),"
            " ('A', '2014-01-01 05:00+00', 1, 1, 1, 1, 0)"
        )
    )
    connection.execute(sa.text(f"DELETE FROM ohlcv_{timeframe} WHERE \"timestamp\" < '2014-01-01 05:00+00'"))
    rows = {group: (row.n_bars, row.last_time) for group, row in ledger(connection).items()}
    assert rows == {
        ("A", timeframe, 2013): (0, None),
        ("A", timeframe, 2014): (1, datetime(2014, 1, 1, 5, tzinfo=UTC)),
    }


def test_a_copy_by_a_foreign_program_without_rights_to_the_ledger_is_seen(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE ROLE bars_only"))
        connection.execute(sa.text("GRANT INSERT ON ohlcv_daily TO bars_only"))
    try:
        with engine.begin() as connection:
            connection.execute(sa.text("SET LOCAL ROLE bars_only"))
            connection.execute(sa.text("SET LOCAL search_path TO pg_catalog"))
            connection.execute(sa.text("INSERT INTO public.ohlcv_daily VALUES ('A', '2013-01-02', 1, 1, 1, 1, 0)"))
        with engine.connect() as connection:
            assert ledger(connection)["A", "daily", 2013].n_bars == 1
    finally:
        with engine.begin() as connection:
            connection.execute(sa.text("DROP OWNED BY bars_only"))
            connection.execute(sa.text("DROP ROLE bars_only"))


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO splits VALUES ('A', '2013-06-01', 2)",
        "UPDATE splits SET ratio = 3 WHERE symbol = 'A'",
        "UPDATE splits SET ex_date = ex_date + 1 WHERE symbol = 'A'",
        "DELETE FROM splits WHERE symbol = 'A'",
    ],
)
def test_a_split_makes_all_analysis_of_its_symbol_stale_and_no_other(connection: sa.Connection, statement: str) -> None:
    connection.execute(sa.text("INSERT INTO splits VALUES ('A', '2010-06-01', 2), ('B', '2010-06-01', 2)"))
    for table in ("1min", "daily"):
        for symbol in SYMBOLS:
            connection.execute(sa.text(f"INSERT INTO ohlcv_{table} VALUES ('{symbol}', '2013-01-02', 1, 1, 1, 1, 0)"))
    for symbol, timeframe, year, anchor in COVERAGE:
        connection.execute(
            sa.text("INSERT INTO analysis_coverage VALUES (:s, :t, :y, 'digest', :a, now(), 0, NULL)"),
            {"s": symbol, "t": timeframe, "y": year, "a": anchor},
        )
    before = ledger(connection)
    connection.execute(sa.text(statement))
    after = ledger(connection)
    assert {group[0] for group in after if after[group] != before[group]} == {"A"}
    assert sum(after[group] != before[group] for group in after) == 2
    assert all((since == "all") == (symbol == "A") for (symbol, _, _), since in stale(connection).items())


def test_a_split_written_again_changes_nothing(connection: sa.Connection) -> None:
    connection.execute(sa.text("INSERT INTO splits VALUES ('A', '2010-06-01', 2)"))
    connection.execute(sa.text("INSERT INTO ohlcv_daily VALUES ('A', '2013-01-02', 1, 1, 1, 1, 0)"))
    before = ledger(connection)
    connection.execute(sa.text("UPDATE splits SET ratio = ratio"))
    assert ledger(connection) == before
