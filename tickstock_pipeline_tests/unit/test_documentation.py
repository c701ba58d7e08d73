"""README, docs and `--help`: every command is one that the program takes, every link and picture leads somewhere."""

import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from tickstock_pipeline.cli.app import app
from tickstock_pipeline.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
PICTURE = re.compile(r"!\[([^\]]*)\]\(([^)\s]+)\)")
LARGEST_PICTURE = 120_000


def code(page: Path) -> Iterator[str]:
    """What is set as code: lines of blocks, and what is in the text between backquotes."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    for block in blocks:
        yield from block.replace("\\\n", " ").splitlines()
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))


def commands(lines: Iterable[str]) -> Iterator[list[str]]:
    """The arguments of each `tickstock …`."""
    for line in lines:
        words = re.search(r'(?:^|(?<=[\s("]))tickstock (?=[a-z-])(.*)$', re.sub(r'"?\$\((.*?)\)"?', r"\1", line))
        if words is None or line.startswith((" ", "#")):
            continue
        lexer = shlex.shlex(words[1], posix=True, punctuation_chars=True)
        lexer.wordchars += ":,|$…"
        arguments: list[str] = []
        for word in lexer:
            if not word.strip("&|;<>"):
                break  # another program's
            arguments.append(word)
        yield arguments


def examples(group: TyperGroup, name: str = "tickstock") -> Iterator[tuple[str, str]]:
    """What `--help` of each command shows below its options."""
    for command in group.commands.values():
        whole = f"{name} {command.name}"
        if isinstance(command, TyperGroup):
            yield from examples(command, whole)
        else:
            yield whole, command.epilog or ""


PROGRAM = typer.main.get_command(app)
EXAMPLES = dict(examples(PROGRAM))
COMMANDS = sorted(
    {(page.relative_to(ROOT).as_posix(), *words) for page in PAGES for words in commands(code(page))}
    | {(f"{name} --help", *words) for name, shown in EXAMPLES.items() for words in commands(shown.splitlines())}
)


def test_the_pages_have_commands() -> None:
    assert len(COMMANDS) > 100


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_command_shows_examples_of_itself(name: str) -> None:
    assert any(line.startswith(name) for line in EXAMPLES[name].splitlines())


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_of_the_documentation_is_one_that_the_program_takes(command: tuple[str, ...]) -> None:
    group = PROGRAM
    arguments = list(command[1:])
    context = group.make_context("tickstock", [], resilient_parsing=True)
    while isinstance(group, TyperGroup):
        if not arguments:
            return  # `tickstock db` names the group
        name = arguments.pop(0)
        found = group.get_command(context, name)
        assert found is not None, f"there is no command {name}"
        group = found
        context = group.make_context(name, [], parent=context, resilient_parsing=True)
    if not arguments:
        return  # named, not called: what it requires may be left out
    group.make_context(name, arguments, parent=context.parent)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name) if name else page
        assert file.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in headings(file), f"{page.name} links to {target}"


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings."""
    lines = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_picture_has_words_and_is_small(page: Path) -> None:
    for words, target in PICTURE.findall(page.read_text(encoding="utf-8")):
        assert words, f"{target} has no words for those who do not see it"
        assert (page.parent / target).stat().st_size <= LARGEST_PICTURE


def test_every_screenshot_is_shown() -> None:
    shown = {target for page in PAGES for _, target in PICTURE.findall(page.read_text(encoding="utf-8"))}

    for picture in (ROOT / "docs" / "pictures").iterdir():
        assert f"pictures/{picture.name}" in shown


def test_every_setting_that_a_page_names_exists() -> None:
    known = {f"TICKSTOCK_{name.upper()}" for name in Settings.model_fields}

    for page in PAGES:
        for name in re.findall(r"\bTICKSTOCK_[A-Z0-9_]+", page.read_text(encoding="utf-8")):
            assert name in known, f"{page.name} names {name}"


def test_every_page_is_found_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    for page in (ROOT / "docs").glob("*.md"):
        assert f"docs/{page.name}" in readme
