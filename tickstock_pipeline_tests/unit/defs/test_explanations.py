"""What the UI says of assets is what the documentation says, and what it links to exists."""

import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import dagster as dg
import pytest

from tickstock_pipeline.definitions import defs
from tickstock_pipeline.defs.explanations import INDICATOR_FORMULAS, PATTERN_RULES
from tickstock_pipeline.indicators.defaults import DEFAULT_INDICATORS
from tickstock_pipeline.patterns.defaults import DEFAULT_PATTERNS
from tickstock_pipeline.storage.tables import METADATA

DOCS = Path(__file__).parents[3] / "docs"
GRAPH = defs.resolve_asset_graph()
# in an order that is the same in each process that collects the tests
ASSETS = {
    name: GRAPH.get(dg.AssetKey(name)) for name in sorted(key.to_user_string() for key in GRAPH.get_all_asset_keys())
}
ONE_LINE = 75
"""Characters of a description that the catalog shows."""


def test_each_indicator_that_is_enabled_from_the_start_has_its_documented_formula():
    documented = (DOCS / "indicators.md").read_text(encoding="utf-8").replace("\N{MINUS SIGN}", "-")

    assert set(INDICATOR_FORMULAS) == {row.function for row in DEFAULT_INDICATORS if row.enabled}
    for formula in INDICATOR_FORMULAS.values():
        assert f"| {formula} |" in documented


def test_each_pattern_that_is_enabled_from_the_start_has_its_documented_rule():
    documented = (DOCS / "patterns.md").read_text(encoding="utf-8")

    assert set(PATTERN_RULES) == {row.name for row in DEFAULT_PATTERNS if row.enabled}
    for name, rule in PATTERN_RULES.items():
        assert f"### `{name}`\n\n{rule}\n" in documented


@pytest.mark.parametrize("name", ASSETS)
def test_an_asset_shows_the_columns_of_its_table(name):
    metadata = ASSETS[name].metadata
    table = METADATA.tables[metadata["dagster/table_name"].removeprefix("public.")]

    shown = metadata["dagster/column_schema"].columns

    assert [column.name for column in shown] == [column.name for column in table.columns]
    assert all(column.description for column in shown)
    assert [column.constraints.nullable for column in shown] == [column.nullable for column in table.columns]


@pytest.mark.parametrize("name", [name for name, asset in ASSETS.items() if asset.parent_keys])
def test_the_lineage_of_columns_names_columns_that_exist(name):
    metadata = ASSETS[name].metadata
    columns = {column.name for column in metadata["dagster/column_schema"].columns}

    lineage = metadata["dagster/column_lineage"].deps_by_column

    assert set(lineage) <= columns
    for dependency in (one for found in lineage.values() for one in found):
        assert dependency.asset_key in ASSETS[name].parent_keys
        parent = GRAPH.get(dependency.asset_key).metadata["dagster/column_schema"]
        assert dependency.column_name in {column.name for column in parent.columns}


@pytest.mark.parametrize("name", ASSETS)
def test_an_asset_leads_to_the_checks_that_tell_how_it_stands(name):
    links = re.findall(r"\]\((/[^)]+)\)", ASSETS[name].description)

    assert links
    for link in links:
        asset = urlsplit(link).path.removeprefix("/assets/")
        check = parse_qs(urlsplit(link).query)["checkDetail"][0]
        assert dg.AssetCheckKey(dg.AssetKey(asset), check) in GRAPH.asset_check_keys


def test_the_catalog_can_tell_assets_apart_by_the_line_that_it_shows():
    lines = [asset.description[:ONE_LINE] for asset in ASSETS.values()]

    assert len(set(lines)) == len(lines)
