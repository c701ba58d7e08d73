"""What is a symbol, and that every symbol can be a partition key."""

import pytest
from dagster import DynamicPartitionsDefinition
from dagster._core.definitions.partitions.utils.base import raise_error_on_invalid_partition_key_substring
from dagster._core.definitions.partitions.utils.multi import INVALID_STATIC_PARTITIONS_KEY_CHARACTERS
from hypothesis import given
from hypothesis import strategies as st

from tickstock_pipeline.market.symbol import normalise_symbol


@pytest.mark.parametrize(
    ("text", "symbol"),
    [
        ("AAPL", "AAPL"),
        (" brk.b\n", "BRK.B"),
        ("BF-B", "BF-B"),
        ("^gspc", "^GSPC"),
        ("EURUSD=X", "EURUSD=X"),
        ("BTC/USD", "BTC/USD"),
        ("0700.HK", "0700.HK"),
        ("A" * 20, "A" * 20),
    ],
)
def test_symbol_is_upper_case_without_the_blanks_around_it(text: str, symbol: str) -> None:
    assert normalise_symbol(text) == symbol


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "A" * 21,
        "A B",
        "A|B",
        "A,B",
        "A\tB",
        "A\x00",
        "A...B",
        ".A",
        "-A",
        "^",
        "^^A",
        "ß",
        "\N{LATIN SMALL LETTER DOTLESS I}bm",
        "A\nB",
        "[A]",
        "\N{FULLWIDTH LATIN CAPITAL LETTER A}",
    ],
)
def test_text_that_cannot_be_a_symbol_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="is not a symbol"):
        normalise_symbol(text)


@given(st.text(alphabet=st.characters(max_codepoint=0x17F), max_size=24))
def test_every_symbol_is_a_partition_key_that_dagster_takes(text: str) -> None:
    try:
        symbol = normalise_symbol(text)
    except ValueError:
        return
    assert normalise_symbol(symbol) == symbol
    assert not INVALID_STATIC_PARTITIONS_KEY_CHARACTERS & set(symbol)
    raise_error_on_invalid_partition_key_substring([symbol])
    assert DynamicPartitionsDefinition(name="symbols").build_add_request([symbol]).partition_keys == [symbol]
