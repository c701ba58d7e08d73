"""Rules of the code base that can be checked by reading it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from tickstock_pipeline.cli.app import app
from tickstock_pipeline.settings import Settings

PROJECT = Path(__file__).parents[2]
PACKAGE = PROJECT / "tickstock_pipeline"
MODULES = sorted(PACKAGE.rglob("*.py"))
LONGEST_MODULE = 500


def module_name(module: Path) -> str:
    return str(module.relative_to(PACKAGE))


def documentation() -> str:
    files = [*PROJECT.glob("README.md"), *sorted((PROJECT / "docs").rglob("*.md"))]
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def commands() -> Iterator[str]:
    """Every command as it is typed."""
    for name, command in typer.main.get_group(app).commands.items():
        subcommands = getattr(command, "commands", None)
        yield from (f"tickstock {name} {below}" for below in subcommands) if subcommands else [f"tickstock {name}"]


@pytest.mark.parametrize("module", MODULES, ids=module_name)
def test_no_module_is_longer_than_can_be_read(module: Path) -> None:
    assert len(module.read_text(encoding="utf-8").splitlines()) <= LONGEST_MODULE


@pytest.mark.parametrize("module", MODULES, ids=module_name)
def test_modules_and_what_they_offer_are_documented(module: Path) -> None:
    tree = ast.parse(module.read_text(encoding="utf-8"))
    undocumented = [] if ast.get_docstring(tree) or not tree.body else ["the module itself"]
    undocumented += [
        node.name
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]

    assert undocumented == []


@pytest.mark.parametrize("module", [path for path in MODULES if path.name == "__init__.py"], ids=module_name)
def test_packages_hold_no_logic_and_export_nothing(module: Path) -> None:
    tree = ast.parse(module.read_text(encoding="utf-8"))

    assert not [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom, ast.FunctionDef))]


def test_only_the_settings_read_the_environment() -> None:
    readers = {
        module_name(module)
        for module in MODULES
        if re.search(r"\bos\.(environ\b|getenv\()", module.read_text(encoding="utf-8"))
    }

    # These hand the whole environment on to a child process.
    assert readers <= {"runtime/cluster.py", "runtime/up.py"}


@pytest.mark.parametrize("command", list(commands()))
def test_every_command_is_in_the_documentation(command: str) -> None:
    assert command in documentation()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_in_the_documentation(name: str) -> None:
    assert f"TICKSTOCK_{name.upper()}" in documentation()


def test_the_documentation_names_no_setting_that_does_not_exist() -> None:
    known = {f"TICKSTOCK_{name.upper()}" for name in Settings.model_fields}

    assert set(re.findall(r"TICKSTOCK_[A-Z_]*[A-Z]", documentation())) <= known


def test_the_documentation_names_no_command_that_does_not_exist() -> None:
    known = {command.split()[1] for command in commands()}

    assert set(re.findall(r"`tickstock ([a-z-]+)", documentation())) <= known
