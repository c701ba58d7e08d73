"""Universes by key, and membership through time."""

import threading
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tickstock_pipeline.errors import UniverseError
from tickstock_pipeline.market.universe import Member, Universe
from tickstock_pipeline.storage.symbols import add_symbols, read_symbols
from tickstock_pipeline.storage.tables import SECTOR_MAPPING, SYMBOLS
from tickstock_pipeline.storage.universe_tables import UNIVERSE_MEMBERS, UNIVERSES
from tickstock_pipeline.storage.universes import (
    UniverseChange,
    list_universes,
    resolve_universe,
    seed_universe,
    store_universe,
)

JANUARY, FEBRUARY, MARCH = date(2026, 1, 5), date(2026, 2, 2), date(2026, 3, 2)


def listed(*symbols: str, key: str = "sp_500") -> Universe:
    return Universe(key, tuple(Member(symbol) for symbol in symbols), source=f"{key}.csv")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "universes"
    folder.mkdir()
    (folder / "sp_500.csv").write_text("symbol\nAAPL\nMSFT\n")
    (folder / "nasdaq_100.csv").write_text("symbol\nMSFT\nGOOG\n")
    return folder


@pytest.mark.parametrize(
    ("text", "symbols"),
    [
        ("sp_500", "AAPL MSFT"),
        ("SP500", "AAPL MSFT"),
        ("sp-500", "AAPL MSFT"),
        ("S&P 500", "AAPL MSFT"),
        ("sp_500.csv", "AAPL MSFT"),
        ("SPY", "AAPL MSFT"),
        ("spy:qqq", "AAPL MSFT GOOG"),
        ("QQQ:SPY:sp_500", "MSFT GOOG AAPL"),
        ("QQQ:sp_500.csv", "MSFT GOOG AAPL"),
    ],
)
def test_a_key_may_be_written_in_many_ways(engine: sa.Engine, folder: Path, text: str, symbols: str) -> None:
    with engine.connect() as connection:
        assert resolve_universe(connection, folder, text).symbols == tuple(symbols.split())
    assert resolve_universe(None, folder, text).symbols == tuple(symbols.split())


def test_the_folder_comes_before_the_tables_and_they_before_the_package(engine: sa.Engine, folder: Path) -> None:
    with engine.begin() as connection:
        assert len(resolve_universe(connection, folder, "DIA").members) == 30
        store_universe(connection, listed("IBM", key="dow_30"), JANUARY)
        assert resolve_universe(connection, folder, "DOW30").symbols == ("IBM",)
        (folder / "dow_30.csv").write_text("symbol\nKO\n")
        assert resolve_universe(connection, folder, "DIA").symbols == ("KO",)


def test_a_universe_of_a_funds_own_name_comes_before_the_index_that_it_follows(engine: sa.Engine, folder: Path) -> None:
    (folder / "SPY.csv").write_text("symbol\nSPY\n")
    with engine.connect() as connection:
        assert resolve_universe(connection, folder, "spy").symbols == ("SPY",)


@pytest.mark.parametrize("text", ["russell_2000", "IWM", "sp_500:nosuch", "aapl'--"])
def test_an_unknown_key_is_answered_with_those_that_are_known(engine: sa.Engine, folder: Path, text: str) -> None:
    with engine.begin() as connection:
        store_universe(connection, listed("IBM", key="mine"), JANUARY)
        with pytest.raises(UniverseError, match="There is no universe") as refused:
            resolve_universe(connection, folder, text)
    for known in ("dow_30", "etf_sectors", "mine", "nasdaq_100", "sp_500", "SPY (for sp_500)", "DIA (for dow_30)"):
        assert known in refused.value.advice
    assert "IWM" not in refused.value.advice


@pytest.mark.parametrize("text", ["", ":", "SPY:", "x" * 65, "a:" * 10_000, "\0", "../../etc/passwd.csv", "é"])
def test_a_hostile_key_is_refused(engine: sa.Engine, folder: Path, text: str) -> None:
    with engine.connect() as connection, pytest.raises(UniverseError) as refused:
        resolve_universe(connection, folder, text)
    assert len(refused.value.message) < 200


def test_a_broken_file_is_said_instead_of_looking_elsewhere(engine: sa.Engine, folder: Path) -> None:
    (folder / "sp_500.csv").write_bytes(b"symbol\n\xff\n")
    with engine.begin() as connection:
        store_universe(connection, listed("IBM"), JANUARY)
        with pytest.raises(UniverseError, match="is not UTF-8"):
            resolve_universe(connection, folder, "SPY")
        (found,) = [row for row in list_universes(connection, folder) if row.key == "sp_500"]
    assert (found.n_symbols, found.stored_as_of) == (None, JANUARY)
    assert "is not UTF-8" in found.fault


def test_a_newer_list_ends_and_begins_memberships_and_keeps_what_was(engine: sa.Engine, tmp_path: Path) -> None:
    with engine.begin() as connection:
        first = store_universe(connection, listed("A", "B", "C"), JANUARY)
        second = store_universe(connection, listed("D", "C", "A"), FEBRUARY)
        third = store_universe(connection, listed("B", "C", "D"), MARCH)

        def members(on: date | None) -> tuple[str, ...]:
            return resolve_universe(connection, tmp_path, "sp_500", on=on).symbols

        assert first == UniverseChange(joined=("A", "B", "C"))
        assert second == UniverseChange(joined=("D",), left=("B",), unchanged=("C", "A"))
        assert third == UniverseChange(joined=("B",), left=("A",), unchanged=("C", "D"))
        assert members(None) == ("B", "C", "D")
        assert set(members(JANUARY)) == set(members(FEBRUARY - timedelta(1))) == {"A", "B", "C"}
        assert set(members(FEBRUARY)) == {"A", "C", "D"}
        assert members(MARCH) == members(date(2030, 1, 1)) == ("B", "C", "D")
        rows = connection.execute(
            sa.select(UNIVERSE_MEMBERS.c.joined_on, UNIVERSE_MEMBERS.c.left_on)
            .where(UNIVERSE_MEMBERS.c.symbol == "B")
            .order_by(UNIVERSE_MEMBERS.c.joined_on)
        )
        assert [tuple(row) for row in rows] == [(JANUARY, FEBRUARY), (MARCH, None)]


def test_who_was_a_member_before_the_first_list_is_not_known(engine: sa.Engine, folder: Path) -> None:
    with engine.begin() as connection:
        store_universe(connection, listed("A"), FEBRUARY)
        for text in ("sp_500", "SPY", "sp_500.csv"):
            assert resolve_universe(connection, folder, text, on=FEBRUARY).symbols == ("A",)
            with pytest.raises(UniverseError, match="its first list is of 2026-02-02"):
                resolve_universe(connection, folder, text, on=JANUARY)
        with pytest.raises(UniverseError, match="There is no universe"):
            resolve_universe(connection, folder, "nasdaq_100", on=FEBRUARY)


def test_a_second_list_of_one_date_corrects_the_first_and_leaves_no_trace_of_it(
    engine: sa.Engine, tmp_path: Path
) -> None:
    with engine.begin() as connection:
        store_universe(connection, listed("A", "B"), JANUARY)
        store_universe(connection, listed("A", "TYPO"), FEBRUARY)
        change = store_universe(connection, listed("A", "B", "C"), FEBRUARY)
        rows = connection.execute(
            sa.select(UNIVERSE_MEMBERS.c["symbol", "joined_on", "left_on"]).order_by(UNIVERSE_MEMBERS.c.symbol)
        )
        assert [tuple(row) for row in rows] == [("A", JANUARY, None), ("B", JANUARY, None), ("C", FEBRUARY, None)]
    assert change == UniverseChange(joined=("B", "C"), left=("TYPO",), unchanged=("A",))


def test_an_older_list_is_refused_and_changes_nothing(engine: sa.Engine, tmp_path: Path) -> None:
    with engine.begin() as connection:
        store_universe(connection, listed("A"), FEBRUARY)
        with pytest.raises(UniverseError, match="as of 2026-02-02; one of 2026-01-05 comes too late"):
            store_universe(connection, listed("B"), JANUARY)
        with pytest.raises(UniverseError, match="would have no member"):
            store_universe(connection, listed(), MARCH)
        assert resolve_universe(connection, tmp_path, "sp_500").symbols == ("A",)


def test_another_spelling_of_the_key_is_the_same_universe(engine: sa.Engine, tmp_path: Path) -> None:
    with engine.begin() as connection:
        store_universe(connection, listed("A"), JANUARY)
        assert store_universe(connection, listed("A", key="sp500"), FEBRUARY).unchanged == ("A",)
        assert connection.scalars(sa.select(UNIVERSES.c.key)).all() == ["sp_500"]
        assert resolve_universe(connection, tmp_path, "SP500").key == "sp_500"


def test_a_union_is_stored_part_by_part(engine: sa.Engine, folder: Path) -> None:
    with engine.begin() as connection:
        change = store_universe(connection, resolve_universe(connection, folder, "SPY:QQQ"), JANUARY)
        assert change == UniverseChange(joined=("AAPL", "MSFT", "GOOG"))
        assert connection.scalars(sa.select(UNIVERSES.c.key).order_by("key")).all() == ["nasdaq_100", "sp_500"]
        found = resolve_universe(connection, folder, "SPY:QQQ", on=JANUARY)
        assert found.symbols == ("AAPL", "MSFT", "GOOG")


def test_what_comes_from_the_tables_is_not_stored_again(engine: sa.Engine, tmp_path: Path) -> None:
    with engine.begin() as connection:
        store_universe(connection, listed("A"), JANUARY)
        stale = resolve_universe(connection, tmp_path, "sp_500")
        store_universe(connection, listed("B"), FEBRUARY)
        assert store_universe(connection, stale, MARCH) == UniverseChange(unchanged=("A",))
        assert resolve_universe(connection, tmp_path, "sp_500").symbols == ("B",)


def test_names_and_sectors_follow_the_list_and_nothing_else_is_touched(engine: sa.Engine) -> None:
    described = Universe("u", (Member("A", "Alpha", "Energy", "Oil"), Member("B", "Beta", "", "Gas"), Member("C")))
    with engine.begin() as connection:
        add_symbols(connection, ["A", "C"])
        connection.execute(
            sa.insert(SECTOR_MAPPING),
            [
                {"symbol": "A", "sector_name": "Old", "industry": "Old", "rs_score": 1.5, "is_sector_leader": True},
                {"symbol": "B", "sector_name": "Theirs", "industry": None, "rs_score": 2, "is_sector_leader": False},
                {"symbol": "C", "sector_name": "Theirs", "industry": "T", "rs_score": 3, "is_sector_leader": True},
            ],
        )
        connection.execute(sa.update(SYMBOLS).where(SYMBOLS.c.symbol == "C").values(name="Known"))
        store_universe(connection, described, JANUARY)
        columns = SECTOR_MAPPING.c["symbol", "sector_name", "industry", "rs_score", "is_sector_leader"]
        rows = connection.execute(sa.select(columns).order_by(columns.symbol)).all()
        assert [tuple(row) for row in rows] == [
            ("A", "Energy", "Oil", 1.5, True),
            ("B", "Theirs", "Gas", 2, False),
            ("C", "Theirs", "T", 3, True),
        ]
        names = sa.select(SYMBOLS.c.symbol, SYMBOLS.c.name).order_by(SYMBOLS.c.position)
        assert connection.execute(names).all() == [("A", "Alpha"), ("C", "Known")]
        assert add_symbols(connection, ["B"]) == ["B"]
        assert connection.execute(names).all() == [("A", "Alpha"), ("C", "Known"), ("B", "Beta")]


def test_storing_the_same_again_writes_no_row_anew(engine: sa.Engine, folder: Path) -> None:
    universe = resolve_universe(None, folder, "dow_30")
    queries = [
        sa.text("SELECT ctid::text, xmin::text, * FROM universe_members ORDER BY symbol"),
        sa.text("SELECT ctid::text, xmin::text, * FROM sector_mapping ORDER BY symbol"),
        sa.text("SELECT ctid::text, xmin::text, * FROM symbols ORDER BY symbol"),
    ]
    with engine.begin() as connection:
        seed_universe(connection, universe, JANUARY)
    with engine.begin() as connection:
        before = [connection.execute(query).all() for query in queries]
        change, registered = seed_universe(connection, universe, FEBRUARY)
        assert (change.joined, change.left, registered) == ((), (), [])
        assert [connection.execute(query).all() for query in queries] == before


def test_seeding_registers_the_members_in_order_and_one_that_left_stays_registered(
    engine: sa.Engine, tmp_path: Path
) -> None:
    with engine.begin() as connection:
        assert seed_universe(connection, listed("C", "A"), JANUARY) == (UniverseChange(("C", "A")), ["C", "A"])
        change, registered = seed_universe(connection, listed("B", "C"), FEBRUARY)
        assert (change, registered) == (UniverseChange(("B",), ("A",), ("C",)), ["B"])
        assert read_symbols(connection) == ["C", "A", "B"]


def test_a_list_shows_where_each_universe_comes_from(engine: sa.Engine, folder: Path) -> None:
    (folder / "sp_500.csv").write_text("symbol\nAAPL\n?\n")
    with engine.begin() as connection:
        store_universe(connection, listed("A", key="mine"), JANUARY)
        store_universe(connection, listed("A", key="dow30"), FEBRUARY)
        rows = {row.key: row for row in list_universes(connection, folder)}
    assert list(rows) == ["dow30", "etf_sectors", "mine", "nasdaq_100", "sp_500"]
    assert [(row.source, row.file, row.n_symbols, row.stored_as_of) for row in rows.values()] == [
        ("database", "", 1, FEBRUARY),
        ("package", "etf_sectors.csv", 15, None),
        ("database", "", 1, JANUARY),
        ("folder", "nasdaq_100.csv", 2, None),
        ("folder", "sp_500.csv", 1, None),
    ]
    assert rows["sp_500"].n_problems == 1
    assert rows["dow30"].funds == ("DIA",)
    assert [row.key for row in list_universes(None, folder)] == ["dow_30", "etf_sectors", "nasdaq_100", "sp_500"]


def test_foreign_writers_cannot_break_a_rule(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        store_universe(connection, listed("A"), JANUARY)
    member = "INSERT INTO universe_members (universe, symbol, joined_on, left_on, position) VALUES "
    universe = "INSERT INTO universes (key, first_as_of, as_of) VALUES "
    for statement in (
        member + "('sp_500', 'A', '2026-02-02', NULL, 1)",
        member + "('sp_500', 'B', '2026-02-02', '2026-02-02', 1)",
        member + "('nosuch', 'B', '2026-02-02', NULL, 1)",
        universe + "('SP 500', '2026-01-05', '2026-01-05')",
        universe + "('sp500', '2026-01-05', '2026-01-05')",
        universe + "('x', '2026-01-06', '2026-01-05')",
    ):
        with engine.connect() as connection, pytest.raises(sa.exc.IntegrityError):
            connection.execute(sa.text(statement))


def test_many_that_store_at_once_wait_for_each_other_and_none_fails(engine: sa.Engine, tmp_path: Path) -> None:
    errors: list[Exception] = []
    together = threading.Barrier(4)

    def work(store: Callable[[sa.Connection], object]) -> None:
        together.wait()
        try:
            for _ in range(5):
                with engine.begin() as connection:
                    store(connection)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test fails with it
            errors.append(error)

    first, second = listed("A", "B", "C"), listed("C", "B", "D", key="other")
    threads = [
        threading.Thread(target=work, args=[store])
        for store in (
            lambda connection: seed_universe(connection, first, JANUARY),
            lambda connection: seed_universe(connection, second, JANUARY),
            lambda connection: store_universe(connection, listed("B", "D", "A"), JANUARY),
            lambda connection: add_symbols(connection, ["D", "C", "E"]),
        )
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with engine.connect() as connection:
        assert set(read_symbols(connection)) == set("ABCDE")
        assert set(resolve_universe(connection, tmp_path, "sp_500").symbols) in ({"A", "B", "C"}, {"A", "B", "D"})


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.lists(st.sampled_from("ABCDE"), min_size=1, max_size=5, unique=True)),
        min_size=1,
        max_size=8,
    )
)
def test_the_members_of_any_date_are_those_of_the_last_list_before_it(
    engine: sa.Engine, tmp_path: Path, versions: list[tuple[int, list[str]]]
) -> None:
    day = JANUARY
    last_of: dict[date, list[str]] = {}
    with engine.connect() as connection:
        for days_later, symbols in versions:
            day += timedelta(days_later)
            store_universe(connection, listed(*symbols), day)
            last_of[day] = symbols
        for on in (min(last_of) + timedelta(days) for days in range((day - min(last_of)).days + 2)):
            found = resolve_universe(connection, tmp_path, "sp_500", on=on).symbols
            assert set(found) == set(last_of[max(date for date in last_of if date <= on)])
            assert len(found) == len(set(found))
        assert resolve_universe(connection, tmp_path, "sp_500").symbols == tuple(symbols)
        connection.rollback()
