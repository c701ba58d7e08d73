"""Universe files: what is read, what is reported, and that nothing else happens, whatever the bytes."""

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickstock_pipeline.errors import UniverseError
from tickstock_pipeline.market.symbol import normalise_symbol
from tickstock_pipeline.market.universe import LineProblem, Member, Universe
from tickstock_pipeline.market.universe_csv import MAX_BYTES, parse_universe


def parsed(content: str | bytes) -> Universe:
    data = content if isinstance(content, bytes) else content.encode()
    return parse_universe(data, key="test", file="test.csv")


def reported(universe: Universe) -> list[tuple[int, str]]:
    return [(problem.line, problem.reason) for problem in universe.problems]


def test_the_known_columns_are_read_and_the_others_ignored() -> None:
    universe = parsed("Rank,Symbol,Name,Weight,Sector,Industry\n1,BRK.B,Berkshire,1.7,Financials,Insurance\n")

    assert universe.members == (Member("BRK.B", "Berkshire", "Financials", "Insurance"),)
    assert (universe.key, universe.source, universe.problems) == ("test", "test.csv", ())


@pytest.mark.parametrize(
    "content",
    [
        "symbol\nAAPL\nMSFT\n",
        "\ufeffsymbol\nAAPL\nMSFT\n",
        "SYMBOL\r\nAAPL\r\nMSFT\r\n",
        "symbol\rAAPL\rMSFT",
        "Ticker\naapl\nmsft",
        "\n\n \nsymbol\n\nAAPL\n ,  \nMSFT\n\n",
        "# members of a list\nsymbol\n#AAPL comes first\nAAPL\n  # it's \"quoted\nMSFT\n",
        ' "symbol" , name\n "AAPL" , Apple\n\u00a0MSFT\t,Microsoft\n',
        "symbol;name\nAAPL;a, b\nMSFT;c\n",
        "symbol\tname\nAAPL\ta, b\nMSFT\tc\n",
        "symbol|name\nAAPL|a\nMSFT|b\n",
        'name,symbol\n"a ""quoted"" name, and\na second line",AAPL\nb,MSFT\n',
        "ticker,symbol\nX,AAPL\nY,MSFT\n",
    ],
)
def test_files_as_people_and_programs_write_them_are_read(content: str) -> None:
    universe = parsed(content)

    assert universe.symbols == ("AAPL", "MSFT")
    assert universe.problems == ()


def test_headers_of_published_lists_of_members_are_known() -> None:
    universe = parsed("Symbol,Security,GICS Sector,GICS Sub-Industry\nMMM,3M,Industrials,Industrial Conglomerates\n")
    assert universe.members == (Member("MMM", "3M", "Industrials", "Industrial Conglomerates"),)


def test_each_bad_line_is_reported_and_costs_no_other() -> None:
    universe = parsed(
        "symbol,name\n"
        "AAPL,Apple\n"
        "'; DROP TABLE symbols; --,SQL\n"
        "../../etc/passwd,path\n"
        "A\x00B,control\n"
        f"{'A' * 21},long\n"
        ",nameless\n"
        "aapl,again\n"
        "# comment\n"
        "\n"
        "MSFT,Microsoft\n"
        f"IBM,{'x' * 201}\n"
        "SP\N{CYRILLIC CAPITAL LETTER U}\n"
        "GOOG\n"
    )

    assert universe.symbols == ("AAPL", "MSFT", "GOOG")
    assert [problem.line for problem in universe.problems] == [3, 4, 5, 6, 7, 8, 12, 13]
    reasons = dict(reported(universe))
    assert "is not a symbol" in reasons[3]
    assert r"'A\x00B'" in reasons[5]
    assert reasons[7] == "the symbol is missing"
    assert reasons[8] == "AAPL is on line 2 already"
    assert reasons[12] == "the name is longer than 200 characters"
    assert all(problem.text.isprintable() and len(problem.text) < 50 for problem in universe.problems)


def test_a_quote_that_is_never_closed_costs_its_own_line_only() -> None:
    universe = parsed('symbol,name\nAAPL,"Apple\nMSFT,"Microsoft"\nIBM,IBM\n"GOOG,Google\n')

    assert universe.symbols == ("MSFT", "IBM")
    assert universe.problems == (
        LineProblem(2, 'AAPL,"Apple', "a quote is opened and not closed", "test.csv"),
        LineProblem(5, '"GOOG,Google', "a quote is opened and not closed", "test.csv"),
    )


def test_a_field_beyond_any_reason_costs_its_own_line_only() -> None:
    universe = parsed(f"symbol,name\nAAPL,{'x' * 200_000}\nMSFT,{'y' * 200_000}\nIBM\n{'Z' * 200_000}\n")

    assert universe.symbols == ("IBM",)
    assert [problem.line for problem in universe.problems] == [2, 3, 5]
    assert all(len(problem.reason) < 200 for problem in universe.problems)


def test_names_are_one_line_without_what_cannot_be_seen() -> None:
    universe = parsed('symbol,name\nAAPL,"  Apple\n Inc.\t\x07\u200b"\n')
    assert universe.members == (Member("AAPL", "Apple Inc."),)


def test_a_file_of_bad_lines_alone_has_problems_and_no_member() -> None:
    universe = parsed("symbol\n?\n!\n")
    assert (universe.members, len(universe.problems)) == ((), 2)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf \n", "is empty"),
        (b"symbol\nAAPL\nNestl\xe9\n", "is not UTF-8: line 3 has the byte 0xe9"),
        ("symbol\nAAPL\n".encode("utf-16"), "is not UTF-8"),
        ("symbol\nAAPL\n".encode("utf-16-le"), "has no column symbol"),
        (b"AAPL\nMSFT\n", "has no column symbol; its first line has 'AAPL'"),
        (b'"symbol\nAAPL\n', "has no column symbol; its first line has no names of columns"),
        (b"# nothing but this\n", "has no column symbol"),
        (b"symbol,name\n# nothing below\n\n", "has a header and not one symbol"),
        (b"symbol\n" + b"?\n" * 10_001, "more than 10,000 lines cannot be used"),
        (b"symbol\n" + b"A" * MAX_BYTES, "is larger than 4 MiB"),
        (b"\x89PNG\r\n\x1a\n\x00", "is not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_used_as_a_whole_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(UniverseError) as refused:
        parsed(content)

    assert refused.value.message.startswith("test.csv")
    assert words in refused.value.message
    assert refused.value.advice


symbols = st.from_regex(r"\^?[A-Za-z0-9][A-Za-z0-9./^=-]{0,18}", fullmatch=True).filter(lambda text: "..." not in text)
names = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=20) | st.sampled_from(
    ['a "b" c', "a, b; c\td|e", 'two\nlines, "quoted"\r\nthree', "# no comment", "'", '"', ""]
)
dialects: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "delimiter": st.sampled_from(",;\t|"),
        "lineterminator": st.sampled_from(["\n", "\r\n", "\r"]),
        "quoting": st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    }
)
noise = st.lists(st.sampled_from(["", "  ", "# comment", '#"', " # it's, one", "#;|"]), max_size=2)


@given(
    st.lists(st.tuples(symbols, names, noise), min_size=1, max_size=20),
    dialects,
    st.permutations(["symbol", "name", "Extra"]).filter(lambda columns: columns[0] != "name"),
    st.booleans(),
    st.sampled_from(["", " ", "  "]),
)
def test_what_a_csv_writer_wrote_is_read_back_in_order_and_once(
    rows: list[tuple[str, str, list[str]]], dialect: dict[str, Any], columns: list[str], has_mark: bool, blanks: str
) -> None:
    written = io.StringIO(newline="")
    writer = csv.writer(written, **dialect)
    writer.writerow([name.upper() for name in columns])
    for symbol, name, lines in rows:
        for line in lines:
            written.write(line + dialect["lineterminator"])
        cells = {"symbol": f"{blanks}{symbol}{blanks}", "name": name, "Extra": "1"}
        writer.writerow([cells[column] for column in columns])

    universe = parsed(written.getvalue().encode("utf-8-sig" if has_mark else "utf-8"))

    first: dict[str, str] = {}
    for symbol, name, _ in rows:
        label = "".join(character for character in " ".join(name.split()) if character.isprintable()).strip()
        first.setdefault(normalise_symbol(symbol), label)
    assert {member.symbol: member.name for member in universe.members} == first
    assert universe.symbols == tuple(first)
    assert len(universe.problems) == len(rows) - len(first)


fragments = st.sampled_from([b"symbol", b"AAPL", b"msft", b",", b";", b'"', b"\n", b"\r", b"#", b" ", b"\x00", b"\xff"])


@given(st.binary(max_size=200) | st.lists(fragments, max_size=40).map(b"".join), st.booleans())
def test_arbitrary_bytes_give_a_universe_or_a_universe_error(data: bytes, has_header: bool) -> None:
    try:
        universe = parsed(b"symbol,name\n" + data if has_header else data)
    except UniverseError:
        return
    assert len(set(universe.symbols)) == len(universe.symbols)
    assert [normalise_symbol(symbol) for symbol in universe.symbols] == list(universe.symbols)
    assert universe.members or universe.problems
