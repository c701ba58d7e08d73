"""The universe folder: which names reach the file system, and what is read there."""

import os
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickstock_pipeline.errors import UniverseError
from tickstock_pipeline.market.universe import Member
from tickstock_pipeline.storage.universe_files import (
    file_of_key,
    folder_files,
    packaged_files,
    read_any_file,
    read_universe_file,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A universe folder with one file, and a file beside it that must never be read."""
    (tmp_path / "outside.csv").write_text("symbol\nSECRET\n")
    folder = tmp_path / "universes"
    folder.mkdir()
    (folder / "sp_500.csv").write_text("symbol\nAAPL\nMSFT\n")
    return folder


def test_a_file_of_the_folder_is_read_under_the_key_of_its_name(folder: Path) -> None:
    universe = read_universe_file(folder, "sp_500.csv")
    assert (universe.key, universe.symbols, universe.source) == ("sp_500", ("AAPL", "MSFT"), "sp_500.csv")


def test_a_packaged_file_stands_in_until_the_folder_has_one_of_its_name(folder: Path) -> None:
    assert len(read_universe_file(folder, "dow_30.csv").members) == 30
    (folder / "dow_30.csv").write_text("symbol\nAAPL\n")
    assert read_universe_file(folder, "dow_30.csv").symbols == ("AAPL",)


def test_a_folder_need_not_exist(tmp_path: Path) -> None:
    assert folder_files(tmp_path / "nowhere") == []
    assert len(read_universe_file(tmp_path / "nowhere", "etf_sectors.csv").members) == 15


HOSTILE = [
    "",
    ".csv",
    "..csv",
    "../outside.csv",
    "..\\outside.csv",
    "./sp_500.csv",
    "universes/../../outside.csv",
    "/etc/passwd",
    "/etc/passwd\0.csv",
    "sp_500.csv\0",
    "sp_500.csv\n",
    "sp_500",
    "sp_500.csv/",
    "~/outside.csv",
    "$HOME.csv",
    "C:outside.csv",
    "file:outside.csv",
    "%2e%2e%2foutside.csv",
    "-rf.csv",
    "\N{FULLWIDTH FULL STOP}.csv",
    "a" * 1_000_000 + ".csv",
    "\x1b[31m.csv",
    "'; DROP TABLE universes; --.csv",
]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_name_that_is_not_bare_is_refused_before_the_file_system_is_asked(folder: Path, name: str) -> None:
    with pytest.raises(UniverseError, match="is not the name of a universe file") as refused:
        read_universe_file(folder, name)

    assert "sp_500.csv" in refused.value.advice
    assert "dow_30.csv" in refused.value.advice
    assert len(refused.value.message) < 200
    assert refused.value.message.isprintable()
    assert str(folder) not in str(refused.value)


@given(st.text(max_size=30) | st.text("./\\~:a\0", max_size=12).map(lambda text: f"{text}.csv"))
def test_no_name_at_all_reads_anything_but_a_file_of_the_folder(name: str) -> None:
    with pytest.raises(UniverseError):
        read_universe_file(Path("/nonexistent"), name)


def test_a_file_that_is_not_there_is_named_with_those_that_are(folder: Path) -> None:
    with pytest.raises(UniverseError, match=r"There is no universe file 'sp_400\.csv'") as refused:
        read_universe_file(folder, "sp_400.csv")
    assert "The universe files are: sp_500.csv, dow_30.csv, etf_sectors.csv." in refused.value.advice


def test_of_very_many_files_some_are_named(folder: Path) -> None:
    for number in range(100):
        (folder / f"list_{number}.csv").write_text("symbol\nAAPL\n")
    with pytest.raises(UniverseError) as refused:
        read_universe_file(folder, "nosuch.csv")
    assert "and 73 others" in refused.value.advice


@pytest.mark.parametrize("target", ["../outside.csv", "/etc/passwd", "link.csv"])
def test_a_link_that_leads_out_of_the_folder_or_nowhere_is_refused(folder: Path, target: str) -> None:
    (folder / "link.csv").symlink_to(target)

    with pytest.raises(UniverseError):
        read_universe_file(folder, "link.csv")
    assert folder_files(folder) == ["sp_500.csv"]


def test_a_link_within_the_folder_is_followed_also_where_the_folder_is_a_link(folder: Path, tmp_path: Path) -> None:
    # as Kubernetes mounts a ConfigMap
    (folder / "..2026_03").mkdir()
    (folder / "..2026_03" / "list.csv").write_text("symbol\nIBM\n")
    (folder / "..data").symlink_to("..2026_03")
    (folder / "list.csv").symlink_to("..data/list.csv")
    (tmp_path / "mounted").symlink_to(folder)

    assert read_universe_file(tmp_path / "mounted", "list.csv").symbols == ("IBM",)
    assert folder_files(tmp_path / "mounted") == ["list.csv", "sp_500.csv"]


def test_a_folder_on_the_way_out_is_no_way(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "a.csv").write_text("symbol\nSECRET\n")
    (folder / "a.csv").symlink_to("../secrets/a.csv")
    with pytest.raises(UniverseError, match="leads out of the universe folder"):
        read_universe_file(folder, "a.csv")


def test_what_is_no_regular_file_is_refused_at_once(folder: Path) -> None:
    os.mkfifo(folder / "pipe.csv")
    (folder / "folder.csv").mkdir()

    for name in ("pipe.csv", "folder.csv"):
        with pytest.raises(UniverseError, match=name):
            read_universe_file(folder, name)
    assert folder_files(folder) == ["sp_500.csv"]


def test_a_device_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UniverseError, match="is no regular file"):
        read_any_file(tmp_path, "/dev/zero")


def test_a_file_larger_than_the_limit_is_not_read_whole(folder: Path) -> None:
    with (folder / "huge.csv").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(UniverseError, match="larger than 4 MiB"):
        read_universe_file(folder, "huge.csv")


def test_a_file_without_a_usable_line_is_refused_with_the_first_reason(folder: Path) -> None:
    (folder / "bad.csv").write_text("symbol\na b\n")
    with pytest.raises(UniverseError, match=r"bad\.csv has no line that can be used; bad\.csv, line 2: 'a b' is not"):
        read_universe_file(folder, "bad.csv")


def test_a_folder_that_is_a_file_is_named_by_its_setting(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UniverseError) as refused:
        folder_files(tmp_path / "file")
    assert "TICKSTOCK_UNIVERSE_DIR" in refused.value.advice


def test_people_may_read_any_file_and_name_its_universe(folder: Path, tmp_path: Path) -> None:
    assert read_any_file(folder, str(tmp_path / "outside.csv")).key == "outside"
    assert read_any_file(folder, str(tmp_path / "outside.csv"), "SP-500").key == "sp_500"
    assert read_any_file(folder, "sp_500.csv").symbols == ("AAPL", "MSFT")
    assert len(read_any_file(folder, "dow_30.csv").members) == 30
    for name in ("nosuch.csv", "../nosuch.csv", "/etc/a\0b", str(tmp_path)):
        with pytest.raises(UniverseError):
            read_any_file(folder, name)


def test_a_key_finds_its_file_in_any_spelling() -> None:
    assert file_of_key(["SP-500.csv", "dow_30.csv"], "sp_500") == "SP-500.csv"
    assert file_of_key(["SP500.csv", "sp_500.csv"], "sp_500") == "sp_500.csv"
    assert file_of_key(["dow_30.csv"], "sp_500") is None
    with pytest.raises(UniverseError, match=r"fits several universe files: SP-500\.csv, SP500\.csv"):
        file_of_key(["SP-500.csv", "SP500.csv"], "sp_500")


def test_the_packaged_files_are_whole(tmp_path: Path) -> None:
    assert packaged_files() == ["dow_30.csv", "etf_sectors.csv"]
    for name in packaged_files():
        universe = read_universe_file(tmp_path, name)
        assert universe.problems == ()
        assert all(member.name and member.industry for member in universe.members)
    assert (files("tickstock_pipeline.storage") / "universe_seeds").is_dir()


def test_the_packaged_funds_cover_each_sector_of_the_packaged_stocks(tmp_path: Path) -> None:
    funds = read_universe_file(tmp_path, "etf_sectors.csv").members
    sectors = [fund.sector for fund in funds if fund.sector]

    assert len(sectors) == len(set(sectors)) == 11
    assert {member.sector for member in read_universe_file(tmp_path, "dow_30.csv").members} <= set(sectors)
    assert {"SPY", "QQQ", "DIA", "IWM"} <= {fund.symbol for fund in funds}
    assert Member("XLK", "Technology Select Sector SPDR Fund", "Information Technology", "Sector ETF") in funds
