"""Keys of universes, and unions."""

import pytest

from tickstock_pipeline.errors import UniverseError
from tickstock_pipeline.market.universe import (
    LineProblem,
    Member,
    Universe,
    folded,
    shown,
    split_union,
    union,
    universe_key,
)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("sp_500", "sp_500"),
        (" SP-500 ", "sp_500"),
        ("S&P 500", "s_p_500"),
        ("SP500", "sp500"),
        ("dow_30.v2", "dow_30_v2"),
        ("__a__b__", "a_b"),
    ],
)
def test_a_key_is_lower_case_words_joined_by_underscores(text: str, key: str) -> None:
    assert universe_key(text) == key
    assert universe_key(key) == key


@pytest.mark.parametrize(
    "text", ["", "  ", "../..", "\0", "k" * 65, "sp_500\N{FULLWIDTH DIGIT ONE}", "dow\N{KELVIN SIGN}"]
)
def test_what_cannot_be_a_key_is_refused(text: str) -> None:
    with pytest.raises(UniverseError, match="is not the key of a universe"):
        universe_key(text)


def test_case_and_separators_make_no_difference_between_keys() -> None:
    assert len({folded(text) for text in ("sp_500", "SP500", "S&P 500", "sp-5-00")}) == 1


def test_a_union_names_each_key_once_and_in_order() -> None:
    assert split_union("SPY: QQQ :SPY") == ["SPY", "QQQ"]
    assert split_union("SPY") == ["SPY"]


@pytest.mark.parametrize("text", ["", ":", "SPY:", ":SPY", "SPY::QQQ", " : "])
def test_a_union_with_a_blank_part_is_refused(text: str) -> None:
    with pytest.raises(UniverseError, match="names no universe"):
        split_union(text)


def test_a_union_keeps_the_order_and_describes_a_symbol_as_its_first_part_does() -> None:
    problem = LineProblem(3, "?", "is wrong", "b.csv")
    first = Universe("a", (Member("X", "first"), Member("Y")))
    second = Universe("b", (Member("Z"), Member("X", "second")), (problem,))

    joined = union([first, second])

    assert joined.key == "a:b"
    assert joined.members == (Member("X", "first"), Member("Y"), Member("Z"))
    assert joined.problems == (problem,)
    assert joined.parts == (first, second)


def test_a_union_of_two_spellings_of_one_universe_is_that_universe() -> None:
    universe = Universe("sp_500", (Member("X"),))
    assert union([universe, Universe("sp500", (Member("X"),))]) == universe
    assert union([universe]) == universe


def test_a_problem_says_where_it_is() -> None:
    assert str(LineProblem(7, "?", "the symbol is missing", "a.csv")) == "a.csv, line 7: the symbol is missing"
    assert str(LineProblem(7, "?", "the symbol is missing")) == "line 7: the symbol is missing"


def test_text_of_a_stranger_is_clipped_and_escaped_where_it_is_quoted() -> None:
    assert shown("\x1b[31m\0\n") == r"'\x1b[31m\x00\n'"
    assert len(shown("x" * 10**6)) < 70
