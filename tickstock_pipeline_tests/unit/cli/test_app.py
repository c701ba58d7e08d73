"""The command as a whole: its help, its version, its errors."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
import typer.main

from tickstock_pipeline import __version__
from tickstock_pipeline.cli.app import app, main


def commands() -> Iterator[list[str]]:
    """Every command, and every subcommand, as the words that one types."""
    for name, command in typer.main.get_group(app).commands.items():
        yield [name]
        yield from ([name, below] for below in getattr(command, "commands", {}))


def ended(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    captured = capsys.readouterr()
    return end.value.code, captured.out, captured.err


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(capsys, "--version") == (0, f"{__version__}\n", "")


def test_it_can_be_run_as_a_module() -> None:
    outcome = subprocess.run(
        [sys.executable, "-m", "tickstock_pipeline", "--version"], capture_output=True, text=True, check=True
    )

    assert outcome.stdout == f"{__version__}\n"


@pytest.mark.parametrize("command", list(commands()), ids=" ".join)
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_every_command_explains_itself(command: list[str], option: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, text, _ = ended(capsys, *command, option)

    assert code == 0
    assert f"Usage: tickstock {' '.join(command)}" in text


@pytest.mark.parametrize(
    "command", ["status", "patterns", "import", "jobs", "gateway", "doctor", "env", "db upgrade", "db revision"]
)
def test_help_gives_examples_that_fit_a_terminal(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, text, _ = ended(capsys, *command.split(), "--help")

    examples = [line.strip() for line in text.partition("Examples:")[2].splitlines() if line.strip()]
    assert examples
    assert all("tickstock " in example for example in examples)


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    code, text, error = ended(capsys, "strat")

    assert (code, text) == (2, "")
    assert "No such command 'strat'" in error


@pytest.mark.parametrize("words", ["up --once --live", "monitor --watch --json", "patterns --json --csv"])
def test_options_that_contradict_each_other_are_refused_before_anything_starts(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text, problem = ended(capsys, *words.split())

    assert (code, text) == (2, "")
    assert all(option in problem for option in words.split()[1:])
