"""The command line, run as its users run it, in a folder of its own."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tickstock_pipeline.cli.app import main


class Outcome(NamedTuple):
    """What a command left behind."""

    exit_code: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        return json.loads(self.stdout)


Tickstock = Callable[..., Outcome]


@pytest.fixture
def tickstock(
    clean_environment: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Tickstock:
    """Runs ``tickstock ARGUMENTS`` to its end, without any setting but those that the test makes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TICKSTOCK_HOME", str(tmp_path / "state"))

    def run(*arguments: str) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        captured = capsys.readouterr()
        code = ended.value.code
        assert code is None or isinstance(code, int)
        return Outcome(code or 0, captured.out, _unwrapped(captured.err))

    return run


@pytest.fixture
def configured(tickstock: Tickstock, database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Tickstock:
    """The same, with the test's database and Redis configured by their URLs."""
    monkeypatch.setenv("TICKSTOCK_DATABASE_URL", database_url)
    monkeypatch.setenv("TICKSTOCK_REDIS_URL", redis_url)
    return tickstock


def _unwrapped(text: str) -> str:
    """Without the frame of the error panel and the line breaks in it."""
    return " ".join(text.replace("│", " ").split())
