"""``tickstock replay`` as a person or script runs it."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tickstock_pipeline.cli.app import main

_COMMAND = [sys.executable, "-m", "tickstock_pipeline", "replay", "--port", "0"]


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as end:
        main(["replay", "--port", "0", *arguments])
    assert end.value.code != 0
    return " ".join(re.sub(r"[│╭╰─╮╯]", " ", capsys.readouterr().err).split())


@contextmanager
def running(tmp_path: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """The command, and the variables that it prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TICKSTOCK_")}
    process = subprocess.Popen(
        [*_COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
        env={**environment, "TICKSTOCK_HOME": str(tmp_path)},
    )
    try:
        assert process.stdout is not None
        variables = {}
        for line in process.stdout:
            name, _, value = line.removeprefix("export ").strip().partition("=")
            variables[name] = value
            if name == "TICKSTOCK_YAHOO_URL":
                break
        yield process, variables
    finally:
        process.kill()
        process.communicate()


def test_it_serves_says_how_to_be_reached_and_stops_when_told(tmp_path: Path) -> None:
    with running(tmp_path, "--faults", "html", "--rate", "1") as (process, variables):
        url = variables["TICKSTOCK_POLYGON_URL"]
        answer = httpx.get(f"{url}/v1/marketstatus/now", params={"apiKey": variables["TICKSTOCK_POLYGON_API_KEY"]})
        assert answer.text.startswith("<!DOCTYPE html>")
        assert httpx.get(f"{url}/_replay/requests").json()["count"] == 1
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=10)

    assert process.returncode == 0
    assert "Stopped after 1 requests and 0 events." in said


def test_it_plays_sessions_and_exits(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    arguments = ["--from", "2012-11-23", "--symbols", "ibm,AAPL", "--speed", "0", "--no-wait", "--once"]
    with running(tmp_path, *arguments, "--log", str(log)) as (process, _):
        _, said = process.communicate(timeout=30)

    assert process.returncode == 0
    assert "210/210 minutes" in said
    assert "Played: 420 events." in said
    assert len(log.read_text(encoding="utf-8").splitlines()) == 420


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--symbols", "NOPE"], "no symbol 'NOPE'. What to do: It has: AAPL, FB, GOOG, IBM, MSFT."),
        (["--symbols", "a b"], "is not a symbol"),
        (["--from", "2013-02-30"], "does not match the formats '%Y-%m-%d'"),
        (["--to", "2013-02-28"], "give the first date too"),
        (["--from", "2013-02-28", "--to", "2013-02-27"], "2013-02-27 is before 2013-02-28"),
        (["--from", "2013-02-23", "--to", "2013-02-24"], "the exchange does not trade between"),
        (["--from", "2014-01-06"], "there are bars from 2000-03-01 to 2013-03-01, none between"),
        (["--faults", "429,earthquake"], "'earthquake' is none of 429, quota"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reason in refused(capsys, *arguments)


def test_a_taken_port_is_named_with_its_holder(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        said = refused(capsys, "--port", str(port))

    assert f"Port {port} on 127.0.0.1, wanted for the replay server, is in use" in said
    assert "set --port to another port" in said
