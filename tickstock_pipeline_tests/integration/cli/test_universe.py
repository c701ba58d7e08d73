"""``tickstock universe``: lists of symbols, with and without a database."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tickstock_pipeline.cli.app import main
from tickstock_pipeline.market.universe import Member, Universe
from tickstock_pipeline.storage.symbols import read_symbols
from tickstock_pipeline.storage.universes import resolve_universe, store_universe

Run = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The universe folder of the commands' state directory."""
    folder = tmp_path / "state" / "universes"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("command", ["list", "show", "load", "check"])
def test_help_gives_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["universe", command, "--help"])
    text = capsys.readouterr().out
    examples = [line.strip() for line in text.partition("Examples:")[2].splitlines() if line.strip()]
    assert examples
    assert all(example.startswith(f"tickstock universe {command}") for example in examples)


def test_without_a_database_files_are_listed_and_it_is_said(tickstock: Run, folder: Path) -> None:
    (folder / "sp_500.csv").write_text("symbol\nAAPL\n")

    outcome = tickstock("universe", "list")

    assert outcome.exit_code == 0
    assert outcome.stderr == "No database: universes that are stored are not shown."
    rows = [line.split() for line in outcome.stdout.splitlines()]
    assert ["dow_30", "30", "package:", "dow_30.csv", "DIA"] in rows
    assert ["sp_500", "1", "folder:", "sp_500.csv", "SPY,", "VOO,", "IVV"] in rows


def test_the_list_has_the_fault_of_a_broken_file_and_the_date_of_a_stored_one(
    configured: Run, folder: Path, engine: sa.Engine
) -> None:
    (folder / "broken.csv").write_bytes(b"\xff")
    with engine.begin() as connection:
        store_universe(connection, Universe("mine", (Member("A"),)), date(2026, 1, 5))

    assert "broken.csv is not UTF-8" in configured("universe", "list").stdout
    rows = {row["key"]: row for row in configured("universe", "list", "--json").json()}
    assert rows["mine"] == {
        "key": "mine",
        "source": "database",
        "file": "",
        "n_symbols": 1,
        "n_problems": 0,
        "stored_as_of": "2026-01-05",
        "funds": [],
        "fault": "",
    }
    assert rows["broken"]["n_symbols"] is None


def test_members_are_shown_in_the_order_of_the_list(tickstock: Run, folder: Path) -> None:
    (folder / "mine.csv").write_text("symbol,name,sector\nMSFT,[red]Microsoft,Tech\nAAPL,Apple\n?\n")

    outcome = tickstock("universe", "show", "MINE")

    rows = [line.split() for line in outcome.stdout.splitlines()]
    assert rows.index(["MSFT", "[red]Microsoft", "Tech"]) < rows.index(["AAPL", "Apple"])
    assert "Lines that are not used: 1" in outcome.stderr
    shown = tickstock("universe", "show", "mine:DIA", "--json").json()
    assert shown["key"] == "mine:dow_30"
    assert shown["members"][0] == {"symbol": "MSFT", "name": "[red]Microsoft", "sector": "Tech", "industry": ""}
    assert len(shown["members"]) == 30
    assert [problem["line"] for problem in shown["problems"]] == [4]


def test_an_unknown_key_is_answered_with_the_known_ones(tickstock: Run) -> None:
    outcome = tickstock("universe", "show", "nosuch")

    assert (outcome.exit_code, outcome.stdout) == (1, "")
    assert "There is no universe 'nosuch'." in outcome.stderr
    assert "dow_30, etf_sectors, DIA (for dow_30)" in outcome.stderr


def test_a_list_is_stored_and_a_newer_one_changes_it(configured: Run, tmp_path: Path, engine: sa.Engine) -> None:
    (tmp_path / "list.csv").write_text("symbol\nA\nB\n?\n")
    first = configured("universe", "load", "list.csv", "--key", "sp-500", "--as-of", "2026-01-05")
    (tmp_path / "list.csv").write_text("symbol\nC\nB\n")
    second = configured("universe", "load", str(tmp_path / "list.csv"), "--key", "sp_500", "--as-of", "2026-02-02")

    assert first.exit_code == second.exit_code == 0
    assert first.stdout.splitlines() == ["Stored universe sp_500 as of 2026-01-05. Symbols: 2.", "Joined: 2 (A, B)."]
    assert "Lines that are not used: 1" in first.stderr
    assert second.stdout.splitlines()[1:] == ["Joined: 1 (C).", "Left: 1 (A)."]
    on = [
        [member["symbol"] for member in configured("universe", "show", "SPY", *option, "--json").json()["members"]]
        for option in ([], ["--on", "2026-01-05"])
    ]
    assert on == [["C", "B"], ["A", "B"]]
    with engine.connect() as connection:
        assert read_symbols(connection) == []


def test_symbols_are_registered_where_it_is_asked_for(configured: Run, engine: sa.Engine) -> None:
    outcome = configured("universe", "load", "dow_30.csv", "--register", "--json")

    result = outcome.json()
    assert result["registered"] == result["joined"]
    assert (result["key"], result["left"], result["unchanged"]) == ("dow_30", [], [])
    with engine.connect() as connection:
        assert read_symbols(connection) == result["registered"]
        stored = resolve_universe(connection, Path("nowhere"), "DIA", on=date.fromisoformat(result["as_of"]))
        assert stored.key == "dow_30"
        names = connection.scalar(sa.text("SELECT count(*) FROM symbols WHERE name IS NOT NULL"))
    assert names == 30


def test_nothing_is_stored_of_a_list_that_comes_too_late(configured: Run, engine: sa.Engine) -> None:
    configured("universe", "load", "dow_30.csv", "--as-of", "2026-02-02")
    outcome = configured("universe", "load", "dow_30.csv", "--as-of", "2026-01-05", "--register")

    assert outcome.exit_code == 1
    assert "comes too late" in outcome.stderr
    with engine.connect() as connection:
        assert read_symbols(connection) == []


def test_loading_needs_a_database(tickstock: Run) -> None:
    outcome = tickstock("universe", "load", "dow_30.csv")
    assert outcome.exit_code == 1
    assert "tickstock up" in outcome.stderr


def test_a_check_prints_every_line_that_is_not_used(tickstock: Run, tmp_path: Path) -> None:
    bad = [f"bad {number}" for number in range(300)]
    (tmp_path / "list.csv").write_text("\n".join(["symbol", "AAPL", *bad, "MSFT"]))

    outcome = tickstock("universe", "check", "list.csv")

    assert outcome.exit_code == 1
    assert all(f"'bad {number}' is not a symbol" in outcome.stdout for number in range(300))
    assert outcome.stdout.splitlines()[-1] == "Symbols: 2, lines that are not used: 300."
    assert len(tickstock("universe", "check", "list.csv", "--json").json()["problems"]) == 300


def test_a_check_prints_every_line_also_where_none_can_be_used(tickstock: Run, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("symbol\n?\n!\n")
    outcome = tickstock("universe", "check", "list.csv")
    assert outcome.exit_code == 1
    assert outcome.stdout.splitlines()[-1] == "Symbols: 0, lines that are not used: 2."


def test_a_check_of_a_good_file_says_so(tickstock: Run) -> None:
    outcome = tickstock("universe", "check", "etf_sectors.csv")
    assert (outcome.exit_code, outcome.stdout) == (0, "Symbols: 15, lines that are not used: 0.\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check", "nosuch.csv"], "There is no universe file 'nosuch.csv'"),
        (["check", "../nosuch.csv"], "cannot be read: No such file or directory"),
        (["check", "/dev/null"], "is no regular file"),
        (["check", "."], "directory"),
        (["show", "../x.csv"], "is not the name of a universe file"),
    ],
)
def test_a_file_that_cannot_be_read_is_said(tickstock: Run, arguments: list[str], words: str) -> None:
    outcome = tickstock("universe", *arguments)
    assert outcome.exit_code == 1
    assert words in outcome.stderr


def test_an_older_schema_is_said(tickstock: Run, empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKSTOCK_DATABASE_URL", empty_database_url)
    outcome = tickstock("universe", "list")
    assert outcome.exit_code == 1
    assert "tickstock db upgrade" in outcome.stderr
