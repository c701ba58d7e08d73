"""``tickstock feed`` as a process, and what ``tickstock status`` shows of it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tickstock_pipeline.market.bar import Bars
from tickstock_pipeline.market.timeframe import Timeframe
from tickstock_pipeline.messaging.bar_stream import BAR_FIELD, shard_of
from tickstock_pipeline.messaging.channels import FEED_STATE, FEED_TURN, bar_stream
from tickstock_pipeline.messaging.connection import connect
from tickstock_pipeline.replay.server import ReplayServer
from tickstock_pipeline.replay.source import MemorySource
from tickstock_pipeline.settings import Settings
from tickstock_pipeline.storage.symbols import add_symbols

Run = Callable[..., Any]

KEY = "s3cr3t-key"


@pytest.fixture
def server() -> Iterator[ReplayServer]:
    price = np.full(3, 10.0)
    time_ = np.array(["2013-02-25T14:30", "2013-02-25T14:31", "2013-02-25T14:32"], "datetime64[us]")
    bars = Bars("AAPL", Timeframe.MINUTE, time_, price, price, price, price, np.ones(3, np.int64))
    with ReplayServer(MemorySource([bars]), api_key=KEY) as found:
        yield found


@pytest.fixture
def variables(settings: Settings, server: ReplayServer, tmp_path: Path) -> dict[str, str]:
    """The environment of a feed from the local provider."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TICKSTOCK_")}
    return {
        **kept,
        **settings.child_environment(),
        "TICKSTOCK_POLYGON_API_KEY": KEY,
        "TICKSTOCK_POLYGON_URL": server.url,
        "TICKSTOCK_POLYGON_STREAM_URL": server.websocket_url,
        "TICKSTOCK_POLYGON_CALLS_PER_MINUTE": "0",
        "TICKSTOCK_LOG_LEVEL": "DEBUG",
        "TICKSTOCK_LIVE_STAND_IN": "none",
    }


def started(variables: dict[str, str], folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "tickstock_pipeline", "feed", *arguments],
        env={**variables, "PYTHONPATH": str(Path(__file__).parents[3])},
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def test_it_feeds_the_registered_symbols_shows_in_status_and_ends_when_asked(
    variables: dict[str, str], server: ReplayServer, configured: Run, engine: Any, tmp_path: Path, redis_url: str
) -> None:
    with engine.begin() as connection:
        add_symbols(connection, ["AAPL"])
    process = started(variables, tmp_path)
    try:
        assert server.stream.wait_for_subscribers(timeout=30)
        server.stream.play(date(2013, 2, 25), date(2013, 2, 25)).wait(20)
        with connect(redis_url) as client:
            stream = bar_stream(shard_of("AAPL", 16))
            deadline = time.monotonic() + 20
            while client.xlen(stream) < 3 or client.hget(FEED_STATE, "bars") != b"3":
                assert time.monotonic() < deadline
                time.sleep(0.02)
            assert BAR_FIELD in client.xrange(stream)[0][1]
        shown, document = configured("status"), configured("status", "--json").json()
    finally:
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=20)

    lines = [" ".join(line.split()) for line in shown.stdout.splitlines()]
    assert "Feed polygon" in lines
    assert any(line.startswith("Connected since ") for line in lines)
    assert "Bars 3 sent, 0 of them filled in, 0 refused" in lines
    assert document["live"]["symbols"] == "1"
    assert document["live"]["market"] in {"pre", "regular", "post", "closed"}
    assert process.returncode == 0
    assert "Stopped after 3 bars." in output
    assert KEY not in output
    assert configured("status", "--json").json()["live"] is None


def test_one_that_another_has_taken_over_from_stands_by_and_feeds_again_after_it(
    variables: dict[str, str], server: ReplayServer, tmp_path: Path, redis_url: str
) -> None:
    process = started(variables, tmp_path, "--symbols", "AAPL")
    try:
        assert server.stream.wait_for_subscribers(timeout=30)
        with connect(redis_url) as client:
            client.set(FEED_TURN, "another feed's", px=2_000)
        deadline = time.monotonic() + 20
        while server.stream.n_clients:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert server.stream.wait_for_subscribers(timeout=20)
        assert process.poll() is None
    finally:
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=20)

    assert process.returncode == 0
    assert "Another feed has taken over" in output
    assert "It stands by from here on." in output
    assert output.count("Stopped after 0 bars.") == 1


def test_a_wrong_key_ends_it_with_what_to_do(variables: dict[str, str], tmp_path: Path) -> None:
    process = started({**variables, "TICKSTOCK_POLYGON_API_KEY": "another"}, tmp_path, "--symbols", "aapl")
    output, _ = process.communicate(timeout=30)

    assert process.returncode == 1
    assert "refuses the API key" in output
    assert "TICKSTOCK_POLYGON_API_KEY" in output
    assert "another" not in output
    assert "Traceback" not in output


def test_without_a_source_it_says_how_to_get_one(configured: Run) -> None:
    outcome = configured("feed", "--symbols", "AAPL")

    assert outcome.exit_code == 1
    assert "No source of live bars is configured." in outcome.stderr
    assert "TICKSTOCK_POLYGON_API_KEY" in outcome.stderr
    assert "tickstock replay" in outcome.stderr


def test_without_a_key_polygon_is_refused_by_name(configured: Run) -> None:
    outcome = configured("feed", "--source", "polygon", "--symbols", "AAPL")

    assert outcome.exit_code == 1
    assert "TICKSTOCK_POLYGON_API_KEY is not set" in outcome.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--symbols", "no symbol"), "is not a symbol"),
        (("--symbols", "A", "--universe", "SPY"), "not both"),
        (("--universe", "nothing_like_it"), "There is no universe"),
        (("--source", "ftp"), "'ftp' is not one of"),
    ],
)
def test_what_it_cannot_do_is_said(configured: Run, arguments: tuple[str, ...], reason: str) -> None:
    outcome = configured("feed", *arguments)

    assert outcome.exit_code in {1, 2}
    assert reason in outcome.stderr
