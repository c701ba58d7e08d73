"""docs/patterns.md: every pattern, every parameter and a picture of each."""

import re
from pathlib import Path

import pytest

from tickstock_pipeline.patterns.defaults import DEFAULT_PATTERNS
from tickstock_pipeline.patterns.definition import PatternDefinition
from tickstock_pipeline.patterns.registry import FUNCTIONS

DOCS = Path(__file__).parents[3] / "docs"
PATTERNS = (DOCS / "patterns.md").read_text(encoding="utf-8")
SECTIONS = {part.split("`", 1)[0]: part for part in PATTERNS.split("\n### `")[1:]}


def test_each_pattern_has_a_section_() -> None:
    assert sorted(SECTIONS) == sorted(row.name for row in DEFAULT_PATTERNS) == sorted(FUNCTIONS)


@pytest.mark.parametrize("row", DEFAULT_PATTERNS, ids=lambda row: row.name)
def test_a_section_shows_a_picture_that_exists(row: PatternDefinition) -> None:
    assert re.findall(r"!\[.*?\]\((.*?)\)", SECTIONS[row.name]) == [f"pictures/{row.name}.svg"]
    assert (DOCS / "pictures" / f"{row.name}.svg").read_text(encoding="utf-8").startswith("<svg")


@pytest.mark.parametrize("row", DEFAULT_PATTERNS, ids=lambda row: row.name)
def test_each_parameter_is_explained(row: PatternDefinition) -> None:
    for name in row.parameters:
        assert f"`{name}`" in PATTERNS or f"`{name} ·" in PATTERNS or f" {name} ·" in PATTERNS, name
