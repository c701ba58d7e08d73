"""docs/indicators.md: every row that is enabled from the start, its function, and a picture of it."""

import re
from pathlib import Path

import pytest

from tickstock_pipeline.indicators.defaults import DEFAULT_INDICATORS
from tickstock_pipeline.indicators.definition import IndicatorDefinition
from tickstock_pipeline.indicators.registry import FUNCTIONS

DOCS = Path(__file__).parents[3] / "docs"
INDICATORS = (DOCS / "indicators.md").read_text(encoding="utf-8")
SECTIONS = {part.split("`", 1)[0]: part.split("\n## ", 1)[0] for part in INDICATORS.split("\n### `")[1:]}


def test_each_indicator_function_has_a_section() -> None:
    assert sorted(SECTIONS) == sorted(FUNCTIONS)


@pytest.mark.parametrize("function", sorted(FUNCTIONS))
def test_a_section_says_when_there_is_a_first_value_and_shows_a_picture_that_exists(function: str) -> None:
    assert "First value" in SECTIONS[function]
    assert re.findall(r"!\[.*?\]\((.*?)\)", SECTIONS[function]) == [f"pictures/{function}.svg"]


@pytest.mark.parametrize("row", DEFAULT_INDICATORS, ids=lambda row: row.name)
def test_a_picture_names_all_outputs_of_a_row(row: IndicatorDefinition) -> None:
    outputs, function = row.outputs, row.function
    picture = (DOCS / "pictures" / f"{function}.svg").read_text(encoding="utf-8")
    assert picture.startswith("<svg")
    for output in outputs:
        assert f">{output}</tspan>" in picture
